"""Every file of the newest checkpoint, damaged in four ways: never wrong weights, always a line where one was moved."""

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest
from running import assert_same_bits, bits, made_up_state, train

from srgan_jax.errors import UserError
from srgan_jax.training import saved_step
from srgan_jax.training.checkpoint import Checkpoints
from srgan_jax.training.trained import load_generator

FIELDS = ("checkpoint.every=2", "validation.every=2", "log.tensorboard=False")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def one_bit_flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x80  # text with it is no UTF-8
    path.write_bytes(content)


def removed(path: Path) -> None:
    path.unlink()


DAMAGES: tuple[Callable[[Path], None], ...] = (truncated, zeroed, one_bit_flipped, removed)


def restored(workdir: Path) -> list[bytes]:
    with closing(Checkpoints(workdir)) as checkpoints:
        return bits(checkpoints.restore(made_up_state(0))[0])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("damage") / "run"
    train("tiny_gan", workdir, *FIELDS, "steps=4")
    return workdir


def newest_files(workdir: Path) -> list[Path]:
    """Of the newest checkpoint, below the workdir."""
    return sorted(p.relative_to(workdir) for p in (workdir / "checkpoints" / "4").rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (MemoryError(), MemoryError),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), PermissionError),
        (ValueError("error opening file [OS error 24: EMFILE Too many open files]"), OSError),  # tensorstore's words
    ],
)
def test_a_fault_of_the_machine_puts_no_checkpoint_away(trained, monkeypatch, fault, kind):
    def digest_leaves(tree):
        raise fault

    monkeypatch.setattr(saved_step, "digest_leaves", digest_leaves)
    with pytest.raises(kind):
        restored(trained)
    assert not (trained / "quarantine").exists()


@pytest.mark.slow
def test_every_file_damaged_in_every_way(trained, tmp_path, warned):
    true, fell_back, refused = {}, set(), set()
    copy = tmp_path / "run"
    for step in (4, 2):
        shutil.copytree(trained / "checkpoints" / str(step), copy / "checkpoints" / str(step))
        shutil.copy(trained / "config.json", copy)
        generator = load_generator(copy, field="--checkpoint", which="latest")
        true[step] = restored(copy), bits(generator.variables)
        shutil.rmtree(copy)
    assert true[4][0] != true[2][0] and true[4][1] != true[2][1]

    files = newest_files(trained)
    for file, damage in product(files, DAMAGES):
        what = f"{file} {damage.__name__}"
        shutil.copytree(trained, copy)
        damage(copy / file)
        try:  # the network alone: not every file matters to it, and it moves nothing
            assert bits(load_generator(copy, field="--checkpoint", which="latest").variables) == true[4][1], what
        except UserError as error:
            refused.add((file, damage))
            assert "checkpoints/4: damaged (" in str(error) and "to use step 2" in str(error), what
            assert "\n" not in str(error), what
        assert not (copy / "quarantine").exists()
        warned.clear()
        state = restored(copy)
        if (copy / "quarantine").exists():
            fell_back.add((file, damage))
            assert state == true[2][0] and (copy / "quarantine" / "4").is_dir(), what
            assert len(warned) == 1 and warned[0].startswith("warning: checkpoint 4 is damaged ("), what
        else:
            assert state == true[4][0] and not warned, what
        shutil.rmtree(copy)
    tried = len(files) * len(DAMAGES)
    print(
        f"\n{len(files)} files x {len(DAMAGES)} damages: {len(fell_back)} fell back to the older checkpoint, the other"
    )
    print(
        f"{tried - len(fell_back)} restored what was saved; {len(refused)} refused as a generator; none gave other bits"
    )
    # what is read in any case; of Orbax's other files the number varies, and most are left over from writing
    step = Path("checkpoints", "4")
    tree = {file for file in files if file.parent in (step / "state", step / "state" / "d")}
    tree -= {step / "state" / "commit_success.txt"}
    records = {step / name for name in ("digests/metadata", "meta/metadata", "metrics/metrics")}
    assert len(tree) >= 3 and fell_back >= set(product(tree | records, DAMAGES))
    assert refused >= set(product(tree | {step / "digests/metadata"}, DAMAGES))
    # Orbax spreads the arrays over files as its threads happen to run: in the largest every byte is of one, but which
    # half of which file holds the generator's varies
    data = {file for file in files if file.parent.parent.name == "ocdbt.process_0"}
    assert fell_back >= set(product([max(data, key=lambda file: (trained / file).stat().st_size)], DAMAGES))
    assert any(refused >= set(product([file], (zeroed, removed))) for file in data)


def test_training_goes_on_from_the_newest_good_step(trained, tmp_path, capsys):
    """In its largest file: the arrays. The run ends as if nothing had been."""
    shutil.copytree(trained, tmp_path / "run")
    files = (tmp_path / "run" / file for file in newest_files(trained))
    one_bit_flipped(max(files, key=lambda path: path.stat().st_size))
    capsys.readouterr()
    train("tiny_gan", tmp_path / "run", *FIELDS, "steps=4")
    err = capsys.readouterr().err
    assert "from step 2 to 4" in err and "Traceback" not in err
    assert err.count("warning: checkpoint 4 is damaged (") == 1 and str(tmp_path / "run" / "quarantine" / "4") in err
    assert_same_bits(tmp_path / "run", trained)
