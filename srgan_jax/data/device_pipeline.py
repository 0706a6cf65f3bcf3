"""Crops cut on the accelerator: photographs are decoded once, kept there as equal uint8 tiles, and cut inside jit."""

import logging
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8, UInt32

from srgan_jax.data.sources import Source
from srgan_jax.errors import UserError

log = logging.getLogger(__name__)


class Tiles(NamedTuple):
    """All photographs, cut up. A photograph smaller than a tile fills its top left corner."""

    pixels: UInt8[Array | np.ndarray, "n tile tile 3"]
    sizes: Int[Array | np.ndarray, "n 2"]  # filled height and width


def make_tiles(source: Source, *, tile: int) -> Tiles:
    """Decodes the whole source. Tiles cover each photograph evenly and overlap where its side is no multiple.

    Raises:
      UserError: fewer bytes of memory than the tiles need, or no readable photograph.
    """
    pieces, sizes = [], []
    for image in source.usable():
        for top in _starts(image.shape[0], tile):
            for left in _starts(image.shape[1], tile):
                piece = image[top : top + tile, left : left + tile]
                sizes.append(piece.shape[:2])
                pieces.append(np.pad(piece, [(0, tile - piece.shape[0]), (0, tile - piece.shape[1]), (0, 0)]))
    if not pieces:
        raise UserError("config.data: not one photograph can be read")
    try:
        pixels = np.stack(pieces)
    except MemoryError as error:
        raise UserError("config.data.pipeline='device': not enough memory; use host") from error
    log.info("device pipeline: %d tiles of %d pixels, %.0f MB", len(pixels), tile, pixels.nbytes / 1e6)
    return Tiles(pixels, np.array(sizes, np.int32))


def _starts(side: int, tile: int) -> list[int]:
    count = -(-side // tile)
    return [round(i * (side - tile) / (count - 1)) for i in range(count)] if count > 1 else [0]


def crops_at(tiles: Tiles, *, seed: int, batch: Array, batch_size: int, crop: int) -> UInt8[Array, "b crop crop 3"]:
    """Batch number `batch` (may be traced): a function of (seed, batch) and the position in the batch alone.

    Every tile is visited once per epoch, in an order that each epoch draws anew.
    """
    count = tiles.pixels.shape[0]
    order, places = (jax.random.fold_in(jax.random.key(seed), purpose) for purpose in (1, 2))

    def cut(position: Array) -> Array:
        # epoch and place of sample number batch * batch_size + position, without its overflowing 32 bits
        whole, rest = jnp.divmod(batch, count)
        extra, place = jnp.divmod(rest * (batch_size % count) + position, count)
        epoch = whole * batch_size + rest * (batch_size // count) + extra
        index = permute(place, count, jax.random.bits(jax.random.fold_in(order, epoch), (4,)))
        sample = jax.random.fold_in(jax.random.fold_in(places, batch), position)
        corner = jax.random.randint(sample, (2,), 0, tiles.sizes[index] - crop + 1)
        return jax.lax.dynamic_slice(tiles.pixels, (index, *corner, 0), (1, crop, crop, 3))[0]

    return jax.vmap(cut)(jnp.arange(batch_size))


def permute(place: Array, count: int, keys: UInt32[Array, "4"]) -> Array:
    """A random bijection of 0..count-1, computed for one place: no shuffled list is kept or sorted.

    A four-round Feistel network permutes the next power of four; places beyond `count` are sent round again.
    """
    half = max((count - 1).bit_length() + 1, 2) // 2
    mask = jnp.uint32(2**half - 1)

    def shuffle(x: Array) -> Array:
        left, right = x >> half, x & mask
        for key in keys:
            mixed = (right ^ key) * jnp.uint32(0x9E3779B1)
            mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(0x85EBCA77)
            left, right = right, left ^ ((mixed ^ (mixed >> 13)) & mask)
        return (left << half) | right

    inside = jax.lax.while_loop(lambda x: x >= count, shuffle, shuffle(place.astype(jnp.uint32)))
    return inside.astype(jnp.int32)
