"""A picture through a generator, by any factor, a band of rows at a time."""

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Num

from srgan_jax.errors import UserError, of_memory
from srgan_jax.inference.ensemble import EIGHT, averaged, deepened, returned, turned
from srgan_jax.inference.fold import fold
from srgan_jax.inference.tiles import Enlarge, Span, auto_tile, even, make_enlarge, padded, spans
from srgan_jax.models.extent import reach
from srgan_jax.ops.bicubic import imresize_bands

Band = Num[np.ndarray, "n w c"]
Rows = Callable[[int, int], Band]
Progress = Callable[[int, int], None]

FARTHEST = 72  # LR pixels that a halo has at most, unless more are asked for: what an SRResNet of 32 blocks sees
LARGEST = 64  # times as wide and high, which is far beyond what a network can make something of
NOTHING = "the network is one from image to image, which enlarges nothing; use srgan translate"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Enlarger:
    """A generator and how it goes over a picture; see make_enlarger."""

    network: nn.Module
    copies: list[Any]  # the variables, on each device
    enlarge: Enlarge
    tile: int | None
    halo: int
    batch: int
    ensemble: bool

    def bands(self, rows: Rows, size: tuple[int, int], scale: float | None, progress: Progress) -> Iterator[Band]:
        """The picture of `size` (height, width), `scale` times as large, in bands from its top; see output_size.

        rows(top, bottom) -> [n, w, c] is asked for every row once, in order; make_enlarge says what they may be. What
        the network's own factor leaves is MATLAB's bicubic. progress(done, all) counts tiles; what it raises comes out.

        Raises:
          MemoryError: memory does for neither a tile nor for half of one.
        """
        own = self.network.scale
        bands = self._with_less_memory(in_order(rows), size, progress)
        if scale is None or scale == own:
            return bands
        sizes = (size[0] * own, size[1] * own), output_size(*size, scale)
        return resized(bands, *sizes, scale / own)

    def _with_less_memory(self, window: Rows, size: tuple[int, int], progress: Progress) -> Iterator[Band]:
        """All tiles are alike: if memory does for the first it does for the others."""
        tile = max(size) if self.tile == 0 else self.tile
        first = deepened(window(0, 1)) if self.ensemble else window(0, 1)
        if tile is None:
            devices = len(self.copies)
            tile = auto_tile(self.enlarge, self.copies[0], size, first, self.halo, self.batch, devices)
        half = min(tile, max(size)) // 2
        sides = [tile, half] if half > 2 * self.halo else [tile]
        for side in sides:
            bands = self._tiled(window, size, side, progress)
            try:
                head = next(bands)
                break
            except (MemoryError, jax.errors.JaxRuntimeError) as error:
                if not of_memory(error):
                    raise
                if side == sides[-1]:
                    raise MemoryError(f"not enough for tiles of {side} pixels") from error
                log.warning("tiles of %d pixels need more memory than there is: trying %d", side, half)
        yield head
        yield from bands

    def _tiled(self, window: Rows, size: tuple[int, int], tile: int, progress: Progress) -> Iterator[Band]:
        tiles = [even(length, tile, self.halo) for length in size]
        down, across = (spans(length, side, self.halo) for length, side in zip(size, tiles, strict=True))
        shape = padded(size[0], tiles[0]), padded(size[1], tiles[1])
        own, done = self.network.scale, 0
        for vertical in down:
            source = window(vertical.start, vertical.stop)
            height, top = vertical.last - vertical.first, vertical.first - vertical.start
            band = np.empty((height * own, size[1] * own, source.shape[-1]), source.dtype)
            for horizontal, sr in self._row(source, across, shape):
                width, left = horizontal.last - horizontal.first, horizontal.first - horizontal.start
                kept = sr[top * own : (top + height) * own, left * own : (left + width) * own]
                band[:, horizontal.first * own : horizontal.last * own] = kept
                done += 1
                progress(done, len(down) * len(across))
            yield band

    def _row(self, source: Band, across: list[Span], shape: tuple[int, int]) -> Iterator[tuple[Span, Band]]:
        if not self.ensemble:
            return ((span, sr) for span, _, sr in self._enlarged(source, across, shape, EIGHT[:1]))
        return averaged(self._enlarged(deepened(source), across, shape, EIGHT), source.dtype)

    def _enlarged(
        self, source: Band, across: list[Span], shape: tuple[int, int], ways: range
    ) -> Iterator[tuple[Span, int, Band]]:
        """Each tile of a row of them by each way; one batch waits for each device while another's result is used."""
        batch, own = min(self.batch, len(across)), self.network.scale
        running: deque[tuple[list[Span], int, jax.Array]] = deque()

        def collected() -> Iterator[tuple[Span, int, Band]]:
            group, way, results = running.popleft()
            for span, sr in zip(group, np.asarray(results), strict=False):  # the last batch has tiles over
                size = source.shape[0] * own, (span.stop - span.start) * own
                height, width = size[::-1] if way % 2 else size
                yield span, way, returned(sr[:height, :width], way)

        groups = [across[index : index + batch] for index in range(0, len(across), batch)]
        for number, (group, way) in enumerate(product(groups, ways)):
            cuts = [turned(source[:, span.start : span.stop], way) for span in group]
            tiles, sizes = stacked(cuts, shape[::-1] if way % 2 else shape, batch)
            running.append((group, way, self.enlarge(self.copies[number % len(self.copies)], tiles, sizes)))
            if len(running) > len(self.copies):
                yield from collected()
        while running:
            yield from collected()


def stacked(cuts: list[Band], shape: tuple[int, int], batch: int) -> tuple[np.ndarray, np.ndarray]:
    """`batch` tiles of one shape that go on as each cut's mirror image, and the cuts' sizes; see make_enlarge."""
    tiles = np.zeros((batch, *shape, cuts[0].shape[-1]), cuts[0].dtype)
    sizes = np.ones((batch, 2), np.int32)
    for i, cut in enumerate(cuts):
        sizes[i] = cut.shape[:2]
        rest = [(0, n - m) for n, m in zip(shape, cut.shape, strict=False)]
        tiles[i] = np.pad(cut, [*rest, (0, 0)], "symmetric")
    return tiles, sizes


def resized(bands: Iterator[Band], size: tuple[int, int], shape: tuple[int, int], scale: float) -> Iterator[Band]:
    """imresize_bands, but colour goes through it times its alpha, as it does through the network."""
    first = next(bands)
    bands, dtype, colours = chain([first], bands), first.dtype, first.shape[2] - 1
    if colours not in (1, 3):  # no alpha
        yield from imresize_bands(bands, size, shape, scale)
        return
    top = np.float32(np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1)

    def multiplied(band: Band) -> Band:
        unit = band / top
        unit[..., :colours] *= unit[..., colours:]
        return unit

    for unit in imresize_bands(map(multiplied, bands), size, shape, scale):
        alpha = unit[..., colours:]  # not clipped yet: where it overshoots colour does, as much
        unit[..., :colours] = (unit[..., :colours] / np.maximum(alpha, 1e-6)).clip(0, 1) * (alpha > 0)
        unit[..., colours:] = alpha.clip(0, 1)
        yield (np.floor(unit * top + 0.5) if top > 1 else unit).astype(dtype)


def by_bicubic(image: Num[np.ndarray, "h w c"], scale: int) -> Num[np.ndarray, "H W c"]:
    """A whole picture by `resized`, to be compared with what a network makes of it."""
    height, width = image.shape[:2]
    bands = resized(iter([image]), (height, width), (height * scale, width * scale), scale)
    return np.concatenate(list(bands))


def make_enlarger(
    network: nn.Module,
    variables: Any,
    *,
    tile: int | None = None,
    halo: int | None = None,
    batch: int = 1,
    devices: int = 1,
    ensemble: bool = False,
) -> Enlarger:
    """`network` with `variables`, from which BatchNorm is folded away, ready for pictures of any size.

    tile: the most that a tile's side is, in LR pixels, halos included; None: by the free memory; 0: all at once.
    halo: LR pixels around a tile that are computed and dropped; None: as many as the network sees, by which tiles equal
        the whole, but at most FARTHEST. Fewer are faster, and may show seams.
    batch: tiles at once on a device. devices: so many of this process's.
    ensemble: the mean over the eight ways to turn and mirror each tile, which takes eight times as long.

    Raises:
      UserError: more devices than there are, or tiles that are all halo.
    """
    if network.scale == 1:
        raise UserError(NOTHING)
    there = jax.local_devices()
    if not 1 <= devices <= len(there):
        raise UserError(f"devices={devices}: this machine has {len(there)}; give a number from 1 to that")
    network, folded = fold(network, variables)
    halo = min(reach(network), FARTHEST) if halo is None else halo
    if tile and tile <= 2 * halo:
        raise UserError(f"tile={tile}: nothing is left between halos of {halo} pixels; give at least {4 * halo}")
    copies = [jax.device_put(folded, device) for device in there[:devices]]
    return Enlarger(network, copies, make_enlarge(network), tile, halo, batch, ensemble)


def output_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """ceil(side * scale), unless it is rounding that takes the product over a whole number."""
    return math.ceil(height * scale - 1e-6), math.ceil(width * scale - 1e-6)


def in_order(rows: Rows) -> Rows:
    """window(start, stop) by rows() that gives each row once: `start` never falls, rows before it are forgotten."""
    held, first = rows(0, 1), 0

    def window(start: int, stop: int) -> Band:
        nonlocal held, first
        held, first = held[start - first :], start
        if stop > first + len(held):
            held = np.concatenate([held, rows(first + len(held), stop)])
        return held[: stop - first]

    return window
