"""Photographs that break when they are decoded, or change while they are in use: what stands in, what ends training."""

from pathlib import Path

import numpy as np
import pytest

from srgan_jax.data.images import BrokenImage, read_image
from srgan_jax.data.source import Source
from srgan_jax.data.sources import folder_source
from srgan_jax.errors import UserError


def folder(path, **options):
    return folder_source(path, 16, "config.data.path", **options)


def spoil(path: Path) -> None:
    """Leaves the header whole: what is wrong shows only when the photograph is decoded."""
    path.write_bytes(path.read_bytes()[:-200])


def test_others_stand_in_for_what_breaks_when_decoded(photographs, caplog):
    for name in "bce":
        spoil(photographs / f"{name}.png")
    source = folder(photographs)
    assert len(source) == 5
    good = {name: read_image(photographs / f"{name}.png").tobytes() for name in "ad"}
    for _ in range(2):
        found = [source.photograph(index).tobytes() for index in range(5)]
        assert (found[0], found[3]) == (good["a"], good["d"]) and set(found) == set(good.values())
    assert sorted(record.getMessage().split(":")[0] for record in caplog.records) == [
        "skipped b.png",
        "skipped c.png",
        "skipped e.png",
    ]


def test_no_photograph_stands_in_for_a_whole_row_of_broken_ones():
    def read(index):
        if index % 100 >= 10:
            raise BrokenImage("cut off")
        return np.full((1, 1, 3), index // 100 * 10 + index % 100, np.uint8)

    source = Source([str(index) for index in range(1000)], read, "", 1)
    counts = np.bincount([source.photograph(index)[0, 0, 0] for index in range(1000)])
    assert len(counts) == 100 and counts.max() < 30 and counts.min() > 0  # each is drawn 9 times, on average


def test_a_photograph_that_changes_after_it_was_listed_ends_training_and_is_not_passed_over(photographs):
    for change in (Path.unlink, lambda path: path.write_bytes(path.with_name("b.png").read_bytes())):
        source = folder(photographs)
        kept = (photographs / "a.png").read_bytes()
        change(photographs / "a.png")
        with pytest.raises(UserError, match=r"a\.png: changed, or went, since it was listed"):
            source.photograph(0)
        (photographs / "a.png").write_bytes(kept)
        np.testing.assert_array_equal(source.photograph(0), read_image(photographs / "a.png"))


def test_the_stand_in_does_not_depend_on_what_was_read_before(photographs):
    spoil(photographs / "b.png")
    forwards, backwards = folder(photographs), folder(photographs, cache_mb=10)
    there = [forwards.photograph(i) for i in range(5)]
    back = [backwards.photograph(i) for i in reversed(range(5))][::-1]
    for one, other in zip(there, back, strict=True):
        np.testing.assert_array_equal(one, other)


def test_all_broken_is_an_error(photographs):
    for path in photographs.iterdir():
        spoil(path)
    source = folder(photographs)
    for index in (3, 0):
        with pytest.raises(UserError, match="none of the 5 photographs can be "):
            source.photograph(index)
