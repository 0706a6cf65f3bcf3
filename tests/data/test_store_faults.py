"""Photographs that the store could not take: mended since, on a disk that fails, or too many for its own."""

import errno
import shutil
from pathlib import Path

import pytest
from running import command
from test_store import assert_equal, cache, folder, save, stored  # noqa: F401

from configs import base
from srgan_jax.__main__ import main
from srgan_jax.data import sources, store
from srgan_jax.data.images import read_image
from srgan_jax.data.pairs import beside
from srgan_jax.errors import UserError


def test_a_photograph_that_was_mended_is_taken(photographs, tmp_path):
    """Its length and last bytes are what they were."""
    save(photographs / "c.png", side=(60, 60))
    whole = (photographs / "c.png").read_bytes()
    (photographs / "c.png").write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    broken = folder(photographs)[0]
    for _ in range(2):
        assert sum(isinstance(entry, str) for entry in store.prepare(broken, tmp_path / "store", "field").values()) == 1
    (photographs / "c.png").write_bytes(whole)
    source, decoded = folder(photographs)
    assert source.marks == broken.marks
    assert_equal(stored(source, tmp_path / "store"), photographs)
    assert set(decoded) == {"c.png"}


def test_a_disk_that_fails_ends_the_run_and_names_the_photograph(photographs, tmp_path):
    source, _ = folder(photographs)
    read = source.read

    def failing(index):
        if source.names[index] == "b.png":
            raise OSError(errno.EIO, "Input/output error")
        return read(index)

    source.read = failing
    with pytest.raises(UserError, match=r"^b.png: cannot be read \(Input/output error\)"):
        store.prepare(source, tmp_path / "store", "field")
    data = base.get_config().data
    data.update(source="folder", path=str(photographs), crop=16)
    with pytest.raises(UserError, match=r"^b.png: cannot be read \(Input/output error\)"):
        store.with_store(source, data)  # and does not do without a store


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file here that fails to be read")
@pytest.mark.parametrize("how", ["check", "prepare", "train"])
def test_a_file_that_fails_is_named(photographs, tmp_path, capsys, how):
    bad = photographs / "bad.png"
    bad.symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match="Input/output error") as caught:
        read_image(bad)
    assert caught.value.filename == bad
    fields = "data.source=folder", f"data.path={photographs}"
    train = how == "train"
    argv = command("tiny", tmp_path / "run", *fields) if train else ["data", how, str(photographs), "--crop", "16"]
    assert main(argv) == 2
    name, file, reason = capsys.readouterr().err.splitlines()[-1].split(": ")
    assert name == f"srgan {argv[0]}" and file == str(bad) and reason.startswith("Input/output error; ")


def test_a_file_that_fails_at_its_end_is_named(photographs, monkeypatch):
    class Failing:
        def sha256(self, content):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sources, "hashlib", Failing())
    with pytest.raises(OSError, match="Input/output error") as caught:
        folder(photographs)
    assert caught.value.filename == photographs / "a.png"


def test_the_room_needed_is_that_of_the_photographs_to_come(tmp_path, monkeypatch):
    (tmp_path / "pairs").mkdir()
    for name, width in (("0.png", 400), ("1.png", 40), ("2.png", 40)):
        save(tmp_path / "pairs" / name, side=(20, width))
    source = beside(folder(tmp_path / "pairs")[0], "AtoB")
    usage, need = shutil.disk_usage(tmp_path), 2 * 20 * 40 * 3  # the large one is written by then
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=need - 1))
    with pytest.raises(store.NoStore, match="too little room"):
        store.prepare(source, tmp_path / "store", "field")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=need))
    assert len(store.prepare(source, tmp_path / "store2", "field")) == 3
