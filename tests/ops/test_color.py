"""Luma by its definition, and levels from signed values."""

import jax
import jax.numpy as jnp
import numpy as np

from srgan_jax.ops.color import colour_drift, luma, rgb_to_y, signed_to_levels


def test_y_of_known_colours():
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    np.testing.assert_allclose(rgb_to_y(colours), [16, 235, 81.481, 144.553, 40.966])


def test_y_is_float64_of_the_image_size():
    y = rgb_to_y(np.zeros((4, 5, 3), np.uint8))
    assert y.shape == (4, 5) and y.dtype == np.float64


def test_luma_of_levels_is_exact_and_its_halves_are_rounded_up():
    rgb = np.random.default_rng(0).integers(0, 256, (1 << 16, 3))
    exact = (rgb @ [299, 587, 114] + 500) // 1000
    np.testing.assert_array_equal(jnp.floor(jax.jit(luma)(rgb.astype(np.float32)) + 0.5), exact)


def test_every_level_survives_the_signed_range():
    all_levels = np.arange(256, dtype=np.uint8)
    signed = jnp.asarray(all_levels, jnp.float32) / 127.5 - 1
    np.testing.assert_array_equal(signed_to_levels(signed), all_levels)


def test_signed_values_are_rounded_and_clipped():
    x = jnp.array([-5.0, -1.0, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 0.0, 1.0, 7.0])
    out = signed_to_levels(x)
    assert out.dtype == jnp.uint8
    np.testing.assert_array_equal(out, [0, 0, 0, 1, 128, 255, 255])


def test_colour_drift_is_the_shift_in_levels_and_blind_to_detail():
    hr = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 32, 48, 3)), jnp.float32)
    checkers = jnp.where(np.indices((32, 48)).sum(0) % 2, 0.5, -0.5)[..., None]
    assert float(colour_drift(hr + checkers, hr)) < 1e-3
    shift = jnp.array([2, -4, 0]) / 127.5
    np.testing.assert_allclose(colour_drift(hr + shift, hr), 2.0, rtol=1e-3)


def test_colour_drift_of_sizes_that_blocks_do_not_divide():
    hr = jnp.zeros((1, 20, 9, 3))
    sr = (hr + 1 / 127.5).at[:, 16:].set(1.0)  # beyond the last whole block
    np.testing.assert_allclose(colour_drift(sr, hr), 1.0, rtol=1e-4)
