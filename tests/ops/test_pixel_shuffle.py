"""Pixel shuffle against loops that spell its order out."""

import jax.numpy as jnp
import numpy as np
import pytest

from srgan_jax.ops.pixel_shuffle import pixel_shuffle


@pytest.mark.parametrize(("factor", "channels"), [(2, 3), (3, 2), (4, 1), (1, 5)])
def test_equals_the_loops(factor, channels):
    x = np.arange(2 * 3 * 4 * channels * factor**2, dtype=np.float32).reshape(2, 3, 4, -1)
    expected = np.zeros((2, 3 * factor, 4 * factor, channels), np.float32)
    for i, j, dy, dx, k in np.ndindex(3, 4, factor, factor, channels):
        expected[:, i * factor + dy, j * factor + dx, k] = x[:, i, j, (k * factor + dy) * factor + dx]
    np.testing.assert_array_equal(pixel_shuffle(jnp.asarray(x), factor), expected)


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="cannot shuffle 7 channels by 2"):
        pixel_shuffle(jnp.zeros((1, 2, 2, 7)), 2)
