"""Channels to space: the sub-pixel layer of Shi et al. 2016."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def pixel_shuffle(x: Float[Array, "b h w crr"], factor: int) -> Float[Array, "b hr wr c"]:
    """`factor` times as high and wide, with channels / factor**2, read (c, dy, dx) as torch's PixelShuffle does.

    Raises:
      ValueError: channels that do not divide.
    """
    b, h, w, channels = x.shape
    if channels % factor**2:
        raise ValueError(f"cannot shuffle {channels} channels by {factor}")
    x = x.reshape(b, h, w, channels // factor**2, factor, factor)
    return jnp.transpose(x, (0, 1, 4, 2, 5, 3)).reshape(b, h * factor, w * factor, -1)
