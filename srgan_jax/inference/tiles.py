"""A picture of any size in tiles of one shape, so that one compiled program and bounded memory do for it."""

import math
import os
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from srgan_jax.data.device_pipeline import free_memory
from srgan_jax.inference.programs import bounded
from srgan_jax.models.extent import SKIP, apply_within
from srgan_jax.ops.conv import compiler_options

SMALL = 128  # a picture that fits into a square of this side is taken whole, whatever memory there is
EDGE = 1 / 4  # by which alpha differs within two pixels, from which on it is an edge
HALOS = 24  # of these a tile is at most wide: beyond that the halos cost less than a fifth of the work
SHARE = 4  # of the free memory, a quarter may go to tiles

STEP = 64  # that tiles differ by, so that free memory, which is never twice the same, asks for few programs

Enlarge = Any  # jitted: see make_enlarge
_bytes: dict[tuple[Any, int, Any], float] = {}  # for each pixel of a picture, by what enlarges it and how


class Span(NamedTuple):
    """Along one side: a tile reads [start, stop) of the picture and gives the output of [first, last)."""

    start: int
    stop: int
    first: int
    last: int


def spans(length: int, tile: int, halo: int) -> list[Span]:
    """Tiles of `tile` pixels over `length`, each giving what is `halo` or more from an edge that is not the picture's.

    Raises ValueError for a tile that is all halo.
    """
    if length > tile and tile <= 2 * halo:
        raise ValueError(f"a tile of {tile} has nothing left between halos of {halo}")
    found: list[Span] = []
    while not found or found[-1].last < length:
        first = found[-1].last if found else 0
        start = max(min(first - halo, length - tile), 0)  # the last one ends where the picture does
        stop = min(start + tile, length)
        found.append(Span(start, stop, first, length if stop == length else stop - halo))
    return found


def even(length: int, tile: int, halo: int) -> int:
    """At most `tile`: that of as many tiles over `length`, but of which the last repeats little of the one before."""
    count = len(spans(length, tile, halo))
    least = -(-(length - 2 * halo) // count) + 2 * halo
    return min(-(-least // STEP) * STEP, tile) if count > 1 else tile


def padded(length: int, tile: int) -> int:
    """What one tile over `length` is made: at most a quarter or 17 more, so that sizes share programs.

    Not by less than a skip sees: it would take what mirrors the picture for the picture, and mirror that.
    """
    step = max(16, 1 << max((length - 1).bit_length() - 3, 0))
    if length % step == 0 or length + SKIP > tile:
        return min(length, tile)
    return min(-(-(length + SKIP) // step) * step, tile)


@cache
def make_enlarge(network: nn.Module) -> Enlarge:
    """enlarge(variables, tiles[b, h, w, c], sizes[b, 2]) -> [b, H, W, c], `network.scale` times as large.

    c: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA. dtype: uint8 and uint16 in levels, float32 in [0, 1]; the output has it.
    sizes: the part of each tile that is picture; the rest mirrors it. Colour goes through the network times its alpha,
    so that what is hidden cannot bleed into what shows; so does alpha, for edges less sharp than the colour's would
    show as dark rims. Grey goes in three times and is the mean.
    """

    def applied(variables: Any, x: jax.Array, sizes: jax.Array) -> jax.Array:
        sr = apply_within(network, variables, jnp.broadcast_to(x, (*x.shape[:-1], 3)), sizes)
        sr = jnp.clip((sr + 1) / 2, 0, 1)
        return jnp.mean(sr, axis=-1, keepdims=True) if x.shape[-1] == 1 else sr

    def around(x: jax.Array, start: float, reduce: Any) -> jax.Array:
        """`reduce` over the 5x5 pixels around each, as large as SR."""
        found = jax.lax.reduce_window(x, start, reduce, (1, 5, 5, 1), (1, 1, 1, 1), "SAME")
        return found.repeat(network.scale, axis=1).repeat(network.scale, axis=2)

    def cut_out(colour: jax.Array, alpha: jax.Array, sr: jax.Array, sr_alpha: jax.Array) -> jax.Array:
        """SR's colour and alpha, of which `sr` is the product.

        Alpha that is one number all around stays that number. Beside an EDGE of it, where both ring, but not alike, no
        colour is but between those that show around.
        """
        least, most = around(alpha, 1.0, jax.lax.min), around(alpha, 0.0, jax.lax.max)
        sr_alpha = jnp.where(least == most, least, sr_alpha)
        sr = jnp.minimum(sr / jnp.maximum(sr_alpha, 1e-6), 1)
        low = around(jnp.where(alpha > 0, colour, 1), 1.0, jax.lax.min)
        high = around(jnp.where(alpha > 0, colour, 0), 0.0, jax.lax.max)
        sr = jnp.where(most - least > EDGE, jnp.clip(sr, low, high), sr)
        return jnp.concatenate([jnp.where(sr_alpha > 0, sr, 0), sr_alpha], axis=-1)

    @partial(jax.jit, compiler_options=compiler_options())
    def enlarge(variables: Any, tiles: jax.Array, sizes: jax.Array) -> jax.Array:
        levels = np.issubdtype(tiles.dtype, np.integer)
        top = np.iinfo(tiles.dtype).max if levels else 1
        unit = tiles.astype(jnp.float32) / top
        colours = 3 if unit.shape[-1] > 2 else 1
        colour, alpha = unit[..., :colours], unit[..., colours:]
        if alpha.shape[-1]:
            sr = cut_out(colour, alpha, *(applied(variables, x, sizes) for x in (colour * alpha, alpha)))
        else:
            sr = applied(variables, colour, sizes)
        return (jnp.floor(sr * top + 0.5) if levels else sr).astype(tiles.dtype)

    return bounded(enlarge)


def auto_tile(
    enlarge: Enlarge, variables: Any, size: tuple[int, int], row: np.ndarray, halo: int, batch: int, devices: int
) -> int:
    """Side of the tiles for a picture of `size` made of such rows: what pays, and a quarter of the memory holds.

    That is `batch` tiles at once on each device; devices that have no memory of their own share the machine's.
    """
    if max(size) <= SMALL:
        return SMALL
    kind, most = (enlarge, row.shape[-1], row.dtype), max(HALOS * halo, SMALL)
    if kind not in _bytes:
        # on a CPU what will run, if memory does: compiled once; an accelerator may be too small to compile that for
        whole = jax.default_backend() == "cpu"
        shape = [padded(side, even(side, most, halo)) if whole else SMALL for side in size]
        tiles = jax.ShapeDtypeStruct((1, *shape, row.shape[-1]), row.dtype)
        needs = enlarge.lower(variables, tiles, jax.ShapeDtypeStruct((1, 2), np.int32)).compile().memory_analysis()
        _bytes[kind] = (needs.temp_size_in_bytes + needs.output_size_in_bytes) / math.prod(shape)
    free = free_memory() or host_memory() / devices
    held = math.isqrt(int(free / SHARE / batch / _bytes[kind]))
    return max(min(most, held // STEP * STEP), 2 * halo + 32, SMALL)


def host_memory(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes that can be had on this machine, or in the container or job that this is, by its cgroups (v2)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    group = root
    with suppress(OSError, StopIteration):  # a job of SLURM's, say, has its limit below the root
        group /= next(line[4:] for line in own.read_text().splitlines() if line.startswith("0::/"))
    for folder in (group, *group.parents[: len(group.parts) - len(root.parts)]):
        with suppress(OSError, ValueError, KeyError):  # no limit
            limit, used = (int((folder / f"memory.{name}").read_text()) for name in ("max", "current"))
            counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            used -= int(counts["inactive_file"])  # read from files, and dropped when memory is asked for
            free = min(free, limit - used)
    return max(free, 0)
