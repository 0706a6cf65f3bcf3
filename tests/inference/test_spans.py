"""How a side is divided into tiles."""

import pytest

from srgan_jax.inference.tiles import even, padded, spans


@pytest.mark.parametrize("length", [1, 40, 41, 59, 60, 61, 1000])
@pytest.mark.parametrize("tile", [40, 60])
def test_spans_cover_each_pixel_once(length, tile):
    found = spans(length, tile, 10)
    assert [s.first for s in found] == [0, *(s.last for s in found[:-1])] and found[-1].last == length
    for s in found:
        assert s.stop - s.start <= tile and s.first < s.last
        assert s.start == max(min(s.first - 10, length - tile), 0) and s.stop in (length, s.last + 10)
        assert s.stop - s.start == min(length, tile)
    assert len(found) == 1 or length > tile


@pytest.mark.parametrize(("tile", "halo"), [(864, 36), (480, 20), (100, 47)])
def test_tiles_are_even_where_the_last_would_mostly_repeat(tile, halo):
    assert [even(length, 864, 36) for length in (864, 900, 1000, 1656, 1657, 10**5)] == [864, 512, 576, 864, 640, 864]
    for length in range(1, 3 * tile):
        side = even(length, tile, halo)
        assert side <= tile and len(spans(length, side, halo)) == len(spans(length, tile, halo))
        assert side == tile or side % 64 == 0 and length > tile


def test_sizes_share_programs():
    made = [padded(n, 2000) for n in range(1, 1025)]
    assert len({side for n, side in enumerate(made, 1) if side != n}) <= 32 and made.count(1024) > 100
    assert all(n == side or n + 2 <= side < max(n + 18, 1.25 * n + 3) for n, side in enumerate(made, 1))
    assert padded(40, 41) == 40 and padded(100, 64) == 64
    assert len({padded(n, 480) for n in range(256, 481)}) == 6  # and not one for each that is nearly a tile
