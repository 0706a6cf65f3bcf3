"""Earlier outputs of the generator, for a discriminator that shall not forget them (Shrivastava et al. 2017)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


class Pool(NamedTuple):
    """images: what D was to see, in [-1, 1]; the first `filled` of them are there."""

    images: Float[Array, "n s s c"]
    filled: Int[Array, ""]


def empty(size: int, side: int, channels: int) -> Pool:
    return Pool(jnp.zeros((size, side, side, channels)), jnp.zeros((), jnp.int32))


def through(
    pool: Pool,
    images: Float[Array, "b s s c"],
    position: Int[Array, " b"],
    key: Key[Array, ""],
    axis_name: str | None,
) -> tuple[Float[Array, "b s s c"], Pool]:
    """(what D sees, the new pool). Until it is full each image is kept; then half of them change with a kept one.

    Images go through in the order of the global batch, or of its part; position, key: as in data.prepare.augment.
    axis_name: the axis that the batch is divided over; each device keeps the whole pool.
    """
    every, places = images, position
    if axis_name:
        every, places = (jax.lax.all_gather(x, axis_name, tiled=True) for x in (images, position))
    size = len(pool.images)

    def one(pool: Pool, this: tuple[Array, Array]) -> tuple[Pool, Array]:
        image, place = this
        draw = jax.random.bits(jax.random.fold_in(key, place), (2,))
        filling = pool.filled < size
        slot = jnp.where(filling, pool.filled, (draw[0] % size).astype(jnp.int32))
        kept = pool.images[slot]
        swap = ~filling & (draw[1] % 2 == 1)
        images = pool.images.at[slot].set(jnp.where(filling | swap, image, kept))
        return Pool(images, pool.filled + filling), jnp.where(swap, kept, image)

    pool, seen = jax.lax.scan(one, pool, (every.astype(jnp.float32), places))
    if axis_name:
        seen = jax.lax.dynamic_slice_in_dim(seen, jax.lax.axis_index(axis_name) * len(images), len(images))
    return seen, pool
