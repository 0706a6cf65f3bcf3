"""From HR crops to what the networks see, inside jit: flips and turns, the LR image, value ranges."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from srgan_jax.ops.bicubic import downscale


def augment(images: UInt8[Array, "b s s 3"], position: Int[Array, " b"], key: Key[Array, ""]) -> Array:
    """One of the 8 flips and quarter turns for each image, drawn from (key, its position in the global batch)."""
    draw = jax.vmap(lambda place: jax.random.bits(jax.random.fold_in(key, place)))(position)
    for bit, turned in enumerate((lambda x: x[:, ::-1], lambda x: x[:, :, ::-1], lambda x: x.swapaxes(1, 2))):
        chosen = (draw >> bit) & 1 == 1
        images = jnp.where(chosen[:, None, None, None], turned(images), images)
    return images


def prepare(
    hr: UInt8[Array, "b s s 3"], *, scale: int, boundary: str
) -> tuple[Float[Array, "b l l 3"], Float[Array, "b s s 3"]]:
    """(LR in [0, 1] by MATLAB bicubic, rounded to 8 bits as a file would be; HR in [-1, 1])."""
    levels = hr.astype(jnp.float32)
    return downscale(levels, scale, boundary=boundary) / 255, levels / 127.5 - 1
