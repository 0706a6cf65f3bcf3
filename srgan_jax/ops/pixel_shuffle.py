"""Channels to space: the sub-pixel layer of Shi et al. 2016."""

import jax.numpy as jnp
from jaxtyping import Array, Float

# where, in the last axis, an order keeps (channel, dy, dx)
ORDERS = {"torch": ("c", "dy", "dx"), "tf": ("dy", "dx", "c")}


def pixel_shuffle(x: Float[Array, "b h w crr"], factor: int, order: str = "torch") -> Float[Array, "b hr wr c"]:
    """`factor` times as high and wide, with channels / factor**2.

    order: how the channels are read, "torch" (c, dy, dx) as PixelShuffle does, or "tf" (dy, dx, c) as depth_to_space.

    Raises:
      ValueError: an unknown order, or channels that do not divide.
    """
    b, h, w, channels = x.shape
    if order not in ORDERS or channels % factor**2:
        raise ValueError(f"cannot shuffle {channels} channels by {factor} in order {order!r}")
    c = channels // factor**2
    names = ORDERS[order]
    sizes = {"c": c, "dy": factor, "dx": factor}
    x = x.reshape(b, h, w, *(sizes[name] for name in names))
    dy, dx, last = (3 + names.index(name) for name in ("dy", "dx", "c"))
    return jnp.transpose(x, (0, 1, dy, 2, dx, last)).reshape(b, h * factor, w * factor, c)
