"""A full disk, a real one: training goes on, what was saved stays, and there is an end to it."""

import errno
import os
import shutil
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from running import await_that, bits, command, events, leaves, logged, made_up_state, names, train

from srgan_jax.__main__ import main
from srgan_jax.errors import UserError
from srgan_jax.training import writers
from srgan_jax.training.checkpoint import Checkpoints
from srgan_jax.training.writers import Writer

QUICK = ("log.tensorboard=False", "checkpoint.every=2", "validation.every=2")


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


def test_a_disk_filled_during_a_save_and_still_full_at_the_next(small_disk, warned):
    workdir = small_disk / "run"
    checkpoints = Checkpoints(workdir)
    for step in (2, 4):
        checkpoints.save(step, made_up_state(step), {}, {"psnr_y": -step})
    checkpoints.restore(made_up_state(0))  # waits for the save
    fill(small_disk, 4_000_000)  # enough to begin

    def spoil() -> None:
        await_that(lambda: list((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")), every=0.0005)
        fill(small_disk, 50_000)

    filler = threading.Thread(target=spoil)
    filler.start()
    checkpoints.save(6, made_up_state(6), {}, None)
    filler.join()
    checkpoints.save(8, made_up_state(8), {}, None)
    assert "not saved at step 6 (No space left on device); training goes on" in warned[0]
    assert "not saved at step 8 (" in warned[1] and "MB are free, it needs" in warned[1]
    assert names(workdir / "checkpoints") == ["2", "4"]
    with pytest.raises(UserError, match=f"{workdir}/checkpoints: 3 saves in a row failed, .* goes on from step 4"):
        checkpoints.save(10, made_up_state(10), {}, None)
    with pytest.raises(UserError, match="the last save failed .*step 10.* make room there"):
        checkpoints.close()

    make_room(small_disk)
    with closing(Checkpoints(workdir)) as checkpoints:
        assert bits(checkpoints.restore(made_up_state(0))[0]) == bits(made_up_state(4))
        checkpoints.save(12, made_up_state(12), {}, None)
    assert names(workdir / "checkpoints") == ["12", "2", "4"]  # 2 is the best


def test_figures_and_pictures_that_find_no_room_are_warned_of(small_disk, warned):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    with closing(Writer(small_disk, step=0, tensorboard=True)) as writer:
        writer.scalars(1, {"psnr_y": 1.0})
        fill(small_disk, 0)
        for step in range(2, 5):
            writer.scalars(step, {f"{i:03}" * 100: 0.1 for i in range(200)})  # more than the files' last pages take
            writer.image(step, "validation", noise)
        places = ("metrics.jsonl", "tensorboard", "validation", "tensorboard: validation")
        assert warned == [f"warning: {place}: no room for step {step}" for step in range(2, 5) for place in places]
        make_room(small_disk)
        writer.scalars(5, {"psnr_y": 5.0})
    assert logged(small_disk, "psnr_y") == {1: 1.0, 5: 5.0}
    assert not list((small_disk / "validation").iterdir())
    assert events(small_disk, "psnr_y") == {1: 1.0, 5: 5.0}


def test_a_quota_that_is_used_up_is_a_full_disk(tmp_path, warned, monkeypatch):
    def none(path, image):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))  # no quota can be set here

    monkeypatch.setattr(writers, "write_png", none)
    with closing(Writer(tmp_path, step=0, tensorboard=False)) as writer:
        writer.image(1, "validation", np.zeros((8, 8, 3), np.uint8))
    assert warned == ["warning: validation: no room for step 1"]


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
        assert names(workdir / "checkpoints") == ["2", "4"]
    fill(small_disk, 0)
    assert main(command("tiny_gan", workdir, *QUICK, "steps=20")) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == "srgan train: No space left on device; make room and give the same command again"
    make_room(small_disk)
    train("tiny_gan", workdir, *QUICK, "steps=10")
    ours, theirs = leaves(workdir), leaves(tmp_path / "straight")
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs)
