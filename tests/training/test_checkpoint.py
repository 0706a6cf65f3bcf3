"""Saving and restoring: verified, replaced, on a full disk, after a kill, by two processes at once."""

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from running import command, leaves, made_up_state, train

from srgan_jax import __version__
from srgan_jax.__main__ import main, without_echoes
from srgan_jax.errors import UserError
from srgan_jax.training.checkpoint import Checkpoints
from srgan_jax.training.state import GanState
from srgan_jax.training.trained import load_generator

QUICK = ("log.tensorboard=False", "checkpoint.every=2", "validation.every=2")


@pytest.fixture(autouse=True)
def as_at_the_command_line(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", without_echoes)


@pytest.fixture
def state() -> GanState:
    return at(0)


@pytest.fixture
def warnings(caplog, monkeypatch):
    """The lines that were warned of, each of one line."""
    monkeypatch.setattr(logging.getLogger("srgan_jax"), "propagate", True)
    caplog.set_level(logging.WARNING, logger="srgan_jax")

    def texts() -> list[str]:
        found = [record.getMessage() for record in caplog.records if record.name.startswith("srgan_jax")]
        assert all(text.startswith("warning: ") and "\n" not in text for text in found)
        return found

    return texts


def at(step: int) -> GanState:
    """Another state at each step."""
    return jax.tree.map(jnp.asarray, made_up_state(step))


def assert_equal(a: GanState, b: GanState) -> None:
    assert all(x.tobytes() == y.tobytes() for x, y in zip(*map(jax.tree.leaves, jax.device_get((a, b))), strict=True))


def folders(workdir: Path, name: str = "checkpoints") -> list[str]:
    return sorted(path.name for path in (workdir / name).iterdir())


def test_a_damaged_step_is_put_away_beside_an_earlier_one_and_its_number_used_again(tmp_path, state, warnings):
    with closing(Checkpoints(tmp_path)) as checkpoints:
        for step in (2, 4):
            checkpoints.save(step, at(step), {"n": step}, {"psnr_y": float(step)})
    (tmp_path / "quarantine" / "6").mkdir(parents=True)
    (tmp_path / "checkpoints" / "6").mkdir()  # Orbax takes it for the latest
    (tmp_path / "checkpoints" / "4" / "meta" / "metadata").write_text('{"n": 5}')
    with closing(Checkpoints(tmp_path)) as checkpoints:
        restored, meta = checkpoints.restore(state)
        assert_equal(restored, at(2))
        assert meta == {"n": 2} and folders(tmp_path, "quarantine") == ["4", "6", "6-1"]
        assert "checkpoint 6 is damaged (it holds no state)" in warnings()[0]
        assert "checkpoint 4 is damaged (the digest of meta differs)" in warnings()[1] and len(warnings()) == 2
        checkpoints.save(4, at(4), {"n": 4}, {"psnr_y": 1.0})
    assert folders(tmp_path) == ["2", "4"]
    with closing(Checkpoints(tmp_path)) as checkpoints:
        assert_equal(checkpoints.restore(state)[0], at(4))


def test_none_good_stops_now_and_at_the_next_start(tmp_path, state, warnings):
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(2, state, {}, None)
    for path in (tmp_path / "checkpoints" / "2" / "state").rglob("d/*"):
        path.write_bytes(bytes(path.stat().st_size))
    with closing(Checkpoints(tmp_path)) as checkpoints, pytest.raises(UserError, match="no good checkpoint is left"):
        checkpoints.restore(state)
    assert len(warnings()) == 1
    with pytest.raises(UserError, match=f"{tmp_path}/quarantine"):
        Checkpoints(tmp_path)


def test_one_without_digests_is_restored_with_a_warning(tmp_path, state, warnings):
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(2, at(2), {}, None)
    shutil.rmtree(tmp_path / "checkpoints" / "2" / "digests")
    with closing(Checkpoints(tmp_path)) as checkpoints:
        assert_equal(checkpoints.restore(state)[0], at(2))
    assert "without digests: it could not be verified" in warnings()[0] and len(warnings()) == 1


def test_another_network_is_no_damage(tmp_path, state, warnings):
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(2, state, {}, None)
        with pytest.raises(UserError, match="arrays of another network"):
            checkpoints.restore(state.replace(d=None))
    assert folders(tmp_path) == ["2"] and not warnings()


def test_a_checkpoint_says_what_made_it_and_a_damaged_one_is_not_used_for_results(tmp_path):
    train("tiny", tmp_path / "run", *QUICK, "steps=4")
    meta = json.loads((tmp_path / "run" / "checkpoints" / "4" / "meta" / "metadata").read_text())
    assert meta["config"]["steps"] == 4 and meta["config"]["generator"]["features"] == 8
    assert meta["code"]["srgan_jax"] == __version__ and meta["code"].keys() >= {"commit", "jax", "device"}

    for path in (tmp_path / "run" / "checkpoints" / "4" / "state").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"checkpoints/4: damaged \(state: .*; step 2 is there: move this one away"):
        load_generator(tmp_path / "run", field="--checkpoint", which="latest")
    assert folders(tmp_path / "run") == ["2", "4"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 40 MB that is mounted for the test."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system of limited size cannot be mounted here: needs root and CAP_SYS_ADMIN")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path, leave: int) -> None:
    """In a file of its own each time: removing them makes room again."""
    with (disk / f"filler{len(list(disk.iterdir()))}").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - leave)


def make_room(disk: Path) -> None:
    for path in disk.glob("filler*"):
        path.unlink()


def test_a_disk_filled_during_a_save_and_still_full_at_the_next(small_disk, state, warnings):
    workdir = small_disk / "run"
    checkpoints = Checkpoints(workdir)
    for step in (2, 4):
        checkpoints.save(step, at(step), {}, {"psnr_y": -step})
    checkpoints.restore(state)  # waits for the save
    fill(small_disk, 4_000_000)  # enough to begin

    def spoil() -> None:
        while not list((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")):
            time.sleep(0.0005)
        fill(small_disk, 50_000)

    filler = threading.Thread(target=spoil)
    filler.start()
    checkpoints.save(6, at(6), {}, None)
    filler.join()
    checkpoints.save(8, at(8), {}, None)
    assert "not saved at step 6 (No space left on device); training goes on" in warnings()[0]
    assert "not saved at step 8 (" in warnings()[1] and "MB are free, it needs" in warnings()[1]
    assert folders(workdir) == ["2", "4"]
    with pytest.raises(UserError, match=f"{workdir}/checkpoints: 3 saves in a row failed, .* goes on from step 4"):
        checkpoints.save(10, at(10), {}, None)
    with pytest.raises(UserError, match="the last save failed .*step 10.* make room there"):
        checkpoints.close()

    make_room(small_disk)
    with closing(Checkpoints(workdir)) as checkpoints:
        assert_equal(checkpoints.restore(state)[0], at(4))
        checkpoints.save(12, at(12), {}, None)
    assert folders(workdir) == ["12", "2", "4"]  # 2 is the best


@pytest.mark.slow
def test_training_on_a_full_disk_goes_on_gives_up_and_goes_on_again(small_disk, tmp_path, capsys):
    train("tiny_gan", tmp_path / "straight", *QUICK, "steps=10")
    workdir = small_disk / "run"
    train("tiny_gan", workdir, *QUICK, "steps=4")
    fill(small_disk, 1_000_000)
    capsys.readouterr()
    ends = ((6, "the last save failed (step 6: ", 1), (20, "3 saves in a row failed, the last at step 10: ", 2))
    for steps, said, warned in ends:
        assert main(command("tiny_gan", workdir, *QUICK, f"steps={steps}")) == 2
        err = capsys.readouterr().err
        assert err.count("warning: not saved at step ") == warned and "Traceback" not in err
        line = err.splitlines()[-1]
        assert line.startswith(f"srgan train: {workdir}/checkpoints: ") and said in line
        assert line.endswith("give the same command again, which goes on from step 4")
        assert folders(workdir) == ["2", "4"]
    make_room(small_disk)
    train("tiny_gan", workdir, *QUICK, "steps=10")
    ours, theirs = leaves(workdir), leaves(tmp_path / "straight")
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs)
