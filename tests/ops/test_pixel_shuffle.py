"""Pixel shuffle against loops that spell out each order."""

import jax.numpy as jnp
import numpy as np
import pytest

from srgan_jax.ops.pixel_shuffle import pixel_shuffle


def by_hand(x, r, channel):
    b, h, w, channels = x.shape
    c = channels // r**2
    out = np.zeros((b, h * r, w * r, c), x.dtype)
    for i, j, dy, dx, k in np.ndindex(h, w, r, r, c):
        out[:, i * r + dy, j * r + dx, k] = x[:, i, j, channel(k, dy, dx, r, c)]
    return out


CHANNEL = {
    "torch": lambda k, dy, dx, r, c: (k * r + dy) * r + dx,  # torch.nn.PixelShuffle
    "tf": lambda k, dy, dx, r, c: (dy * r + dx) * c + k,  # tf.nn.depth_to_space
}


@pytest.mark.parametrize("order", ["torch", "tf"])
@pytest.mark.parametrize(("factor", "channels"), [(2, 3), (3, 2), (4, 1), (1, 5)])
def test_equals_the_loops(order, factor, channels):
    x = np.arange(2 * 3 * 4 * channels * factor**2, dtype=np.float32).reshape(2, 3, 4, -1)
    np.testing.assert_array_equal(
        pixel_shuffle(jnp.asarray(x), factor, order=order), by_hand(x, factor, CHANNEL[order])
    )


def test_torch_order_by_hand():
    x = jnp.arange(8.0).reshape(1, 1, 1, 8)
    out = pixel_shuffle(x, 2)
    np.testing.assert_array_equal(out[0, :, :, 0], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(out[0, :, :, 1], [[4, 5], [6, 7]])


@pytest.mark.parametrize(("channels", "order"), [(8, "keras"), (7, "torch"), (2, "tf")])
def test_refuses(channels, order):
    with pytest.raises(ValueError, match=f"cannot shuffle {channels} channels by 2 in order '{order}'"):
        pixel_shuffle(jnp.zeros((1, 2, 2, channels)), 2, order=order)
