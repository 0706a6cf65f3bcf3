"""Photographs that the store could not take: mended since, or on a disk that fails."""

import errno

import pytest
from test_store import assert_equal, folder, save, stored

from srgan_jax.data import store
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


def test_a_disk_that_fails_names_the_photograph(photographs, tmp_path):
    source, _ = folder(photographs)
    read = source.read

    def failing(index):
        if source.names[index] == "b.png":
            raise OSError(errno.EIO, "Input/output error")
        return read(index)

    source.read = failing
    with pytest.raises(UserError, match=r"^b.png: cannot be read \(Input/output error\)"):
        store.prepare(source, tmp_path / "store", "field")
