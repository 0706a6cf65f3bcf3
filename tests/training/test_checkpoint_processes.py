"""Checkpoints of processes of their own: two that share a workdir, one that is killed."""

import signal
import sys
from contextlib import closing
from pathlib import Path

import pytest
from running import bits, made_up_state, names, specs, start_all

from srgan_jax.training.checkpoint import Checkpoints

PROCESS = """
import os, resource, signal, sys
from contextlib import closing
from pathlib import Path
import jax, logging
logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
what, workdir = sys.argv[1], Path(sys.argv[2])
sys.path.insert(0, "tests")
from configs import tiny_gan
from running import made_up_state
from srgan_jax.provenance import digest_tree
from srgan_jax.training import parallel
from srgan_jax.training.checkpoint import Checkpoints
from jax.experimental.multihost_utils import sync_global_devices

parallel.start_processes(sys.argv[3])
index, layout = jax.process_index(), parallel.make_layout(tiny_gan.get_config())

def at(step):
    return layout.replicate(made_up_state(step))

def damage(step):
    sync_global_devices("before damage")
    if index == 0:
        for path in (workdir / "checkpoints" / str(step) / "state").rglob("d/*"):
            path.write_bytes(path.read_bytes()[::-1])
    sync_global_devices("after damage")

checkpoints = Checkpoints(workdir)
checkpoints.save(2, at(2), {"n": 2}, {"psnr_y": 1.0})
if what == "kill":
    checkpoints.save(4, at(4), {"n": 4}, {"psnr_y": 1.0})
    os.kill(os.getpid(), signal.SIGKILL)
if what == "one fails":  # as if the disk were full, for the process that writes
    checkpoints.wait()
    if index == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    checkpoints.save(4, at(4), {"n": 4}, {"psnr_y": 1.0})
    checkpoints.wait()
    if index == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    checkpoints.save(6, at(6), {"n": 6}, {"psnr_y": 1.0})
if what == "damage":
    checkpoints.save(4, at(4), {"n": 4}, {"psnr_y": 1.0})
    checkpoints.wait()
    damage(4)
state, meta = checkpoints.restore(at(0))
same = digest_tree(jax.tree.leaves(state)) == digest_tree(jax.tree.leaves(at(meta["n"])))
print("restored", meta["n"], same, {len(x.sharding.device_set) for x in jax.tree.leaves(state)})
if what == "damage":
    checkpoints.save(4, at(4), {"n": 4}, {"psnr_y": 1.0})
checkpoints.close()
print("done")
"""


def processes(what: str, workdir: Path, count: int) -> list[tuple[int, str]]:
    """(exit code, output) of each."""
    ways = specs(count) if count > 1 else ["off"]
    children = start_all([[sys.executable, "-c", PROCESS, what, str(workdir), way] for way in ways], devices=2)
    outputs = [child.communicate(timeout=200)[0] for child in children]
    print(*outputs)
    return [(child.returncode, output) for child, output in zip(children, outputs, strict=True)]


@pytest.mark.slow
def test_two_processes_come_to_the_same_verdict(tmp_path):
    (code, first), (other_code, second) = processes("damage", tmp_path, 2)
    assert (code, other_code) == (0, 0)
    assert "checkpoint 4 is damaged" in first and "damaged" not in second
    assert "restored 2 True {4}\n" in first and "restored 2 True {4}\n" in second
    assert names(tmp_path / "quarantine") == ["4"] and names(tmp_path / "checkpoints") == ["2", "4"]


@pytest.mark.slow
def test_a_save_that_fails_on_one_of_two_processes_fails_on_both(tmp_path):
    (code, first), (other_code, second) = processes("one fails", tmp_path, 2)
    assert (code, other_code) == (0, 0)
    assert "warning: not saved at step 4" in first and "warning" not in second
    assert "restored 6 True {4}\n" in first and "restored 6 True {4}\n" in second
    assert names(tmp_path / "checkpoints") == ["2", "6"]


def test_what_a_kill_during_a_save_leaves_goes_away_at_the_next_start(tmp_path):
    [(code, _)] = processes("kill", tmp_path, 1)
    assert code == -signal.SIGKILL
    assert any("orbax-checkpoint-tmp" in name for name in names(tmp_path / "checkpoints"))
    with closing(Checkpoints(tmp_path)) as checkpoints:
        assert bits(checkpoints.restore(made_up_state(0))[0]) == bits(made_up_state(2))
    assert names(tmp_path / "checkpoints") == ["2"]
