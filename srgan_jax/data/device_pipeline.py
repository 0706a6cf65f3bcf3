"""Crops cut on the accelerator: photographs are decoded once, kept there as equal uint8 tiles, and cut inside jit."""

import logging
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8, UInt32

from srgan_jax.data.source import Source
from srgan_jax.errors import UserError

ROUNDS = 16  # of the shuffle; by chi-square 12 do, 8 do not

log = logging.getLogger(__name__)


class Tiles(NamedTuple):
    """All photographs, cut up. A photograph smaller than a tile fills its top left corner."""

    pixels: UInt8[Array | np.ndarray, "n tile tile c"]
    sizes: Int[Array | np.ndarray, "n 2"]  # filled height and width


def make_tiles(source: Source, *, tile: int) -> Tiles:
    """Decodes the whole source. Tiles cover each photograph evenly and overlap where its side is no multiple.

    Raises:
      UserError: fewer bytes of memory than the tiles need.
    """
    try:
        pieces = [
            image[top : top + tile, left : left + tile]
            for image in source.usable()
            for top in _starts(image.shape[0], tile)
            for left in _starts(image.shape[1], tile)
        ]
        pixels = np.zeros((len(pieces), tile, tile, source.channels), np.uint8)
    except MemoryError as error:
        raise UserError("config.data.pipeline='device': not enough memory; use host") from error
    for place, piece in zip(pixels, pieces, strict=True):
        place[: piece.shape[0], : piece.shape[1]] = piece
    log.info("device pipeline: %d tiles of %d pixels, %.0f MB", len(pixels), tile, pixels.nbytes / 1e6)
    return Tiles(pixels, np.array([piece.shape[:2] for piece in pieces], np.int32))


def tiles_bytes(sizes: list[tuple[int, int]], tile: int, channels: int = 3) -> int:
    """Memory of the tiles of photographs of these heights and widths."""
    return (
        sum(len(_starts(height, tile)) * len(_starts(width, tile)) for height, width in sizes) * tile * tile * channels
    )


def free_memory() -> int | None:
    """Bytes free on the accelerator that has least, None where there is none that counts (on the CPU)."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    free = [s["bytes_limit"] - s["bytes_in_use"] for s in stats if s and "bytes_limit" in s]
    return min(free, default=None)


def _starts(side: int, tile: int) -> list[int]:
    count = -(-side // tile)
    return [round(i * (side - tile) / (count - 1)) for i in range(count)] if count > 1 else [0]


def crops_at(
    tiles: Tiles, *, seed: int, batch: Array, batch_size: int, crop: int, places: Int[Array, " b"]
) -> UInt8[Array, "b crop crop c"]:
    """The crops at these places of batch number `batch` (may be traced): a function of (seed, batch, place) alone.

    Every tile is visited once per epoch, in an order that each epoch draws anew.
    """
    count = tiles.pixels.shape[0]
    order, corners = (jax.random.fold_in(jax.random.key(seed), purpose) for purpose in (1, 2))

    def cut(position: Array) -> Array:
        # epoch and place of sample number batch * batch_size + position, without its overflowing 32 bits
        whole, rest = jnp.divmod(batch, count)
        extra, place = jnp.divmod(rest * (batch_size % count) + position, count)
        epoch = whole * batch_size + rest * (batch_size // count) + extra
        drawn = jax.random.bits(jax.random.fold_in(order, epoch), (ROUNDS, 2))
        index = permute(place, count, drawn) if count > 1 else 0  # of which jaxlib 0.10 to 0.12 can compile no more
        sample = jax.random.fold_in(jax.random.fold_in(corners, batch), position)
        corner = jax.random.randint(sample, (2,), 0, tiles.sizes[index] - crop + 1)
        return jax.lax.dynamic_slice(tiles.pixels, (index, *corner, 0), (1, crop, crop, tiles.pixels.shape[-1]))[0]

    return jax.vmap(cut)(places)


def permute(place: Array, count: int, keys: UInt32[Array, "rounds 2"]) -> Array:
    """A random bijection of 0..count-1, computed for one place: no shuffled list is kept or sorted.

    The swap-or-not shuffle (Hoang, Morris, Rogaway 2012): each round pairs the places off and swaps some of the pairs.
    Its length is fixed: a loop that ends when the data say so would stop an accelerator to ask the host.
    """
    x = place.astype(jnp.uint32)
    for pairing, swapping in keys:
        shift = pairing % jnp.uint32(count)
        partner = jnp.where(shift >= x, shift - x, shift + jnp.uint32(count) - x)
        mixed = (jnp.maximum(x, partner) ^ swapping) * jnp.uint32(0x9E3779B1)
        mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(0x85EBCA77)
        x = jnp.where((mixed ^ (mixed >> 13)) & 1 == 1, partner, x)
    return x.astype(jnp.int32)
