"""Bicubic resizing against the LR files in circulation, and the in-graph versions against the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from srgan_jax.ops.bicubic import PADDING, downscale, imresize, upscale

FACTORS = (2, 3, 4, 5, 7, 8)
BOUNDARIES = tuple(PADDING)


def random_image(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def levels(image):
    return jnp.asarray(image, jnp.float32)


def rgb(path):
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize(("name", "count"), [("set5", 5), ("set14", 14)])
def test_reproduces_the_lr_files_in_circulation(data_dir, name, count):
    files = sorted((data_dir / name / "HR").iterdir())
    assert len(files) == count
    for file in files:
        expected = rgb(data_dir / name / "LRx4" / file.name)
        lr = imresize(rgb(file), scale=0.25, boundary="clamp")
        assert lr.shape == expected.shape
        assert np.count_nonzero(lr != expected) == 0, file.name


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("factor", FACTORS)
def test_downscale_equals_imresize(factor, boundary):
    hr = random_image(2, 9 * factor, 14 * factor, 3)
    lr = jax.jit(lambda x: downscale(x, factor, boundary=boundary))(levels(hr))
    for actual, image in zip(np.asarray(lr), hr, strict=True):
        np.testing.assert_array_equal(actual, imresize(image, scale=1 / factor, boundary=boundary))


def test_halves_round_up_where_the_order_of_the_sum_matters():
    # These 32 rows give 246.5, but summed top to bottom in float32 they pass 256, lose a bit and give 246.
    rows = [237, 238, 251, 228, 246, 250, 250, 251, 241, 255, 251, 249, 244, 252, 255, 245]
    rows += [250, 225, 250, 243, 254, 251, 231, 232, 252, 236, 247, 249, 249, 239, 234, 241]
    hr = np.tile(np.pad(np.array(rows, np.uint8), 4)[:, None, None], (1, 8, 1))
    assert imresize(hr, scale=1 / 8)[2] == 247
    assert jax.jit(lambda x: downscale(x, 8))(levels(hr))[2] == 247


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("factor", FACTORS)
def test_upscale_of_levels_equals_imresize(factor, boundary):
    lr = random_image(2, 13, 18, 3)
    sr = jax.jit(lambda x: upscale(x, factor, boundary=boundary, levels=True))(levels(lr))
    for actual, image in zip(np.asarray(sr), lr, strict=True):
        np.testing.assert_array_equal(actual, imresize(image, scale=factor, boundary=boundary))


def test_at_factor_6_single_values_differ_by_1():
    hr, lr = random_image(720, 720, 3), random_image(120, 120, 3)
    pairs = [(jax.jit(lambda x: downscale(x, 6))(levels(hr)), imresize(hr, scale=1 / 6))]
    pairs += [(jax.jit(lambda x: upscale(x, 6, levels=True))(levels(lr)), imresize(lr, scale=6))]
    for actual, expected in pairs:
        apart = np.abs(np.asarray(actual) - expected)
        assert apart.max() <= 1 and apart.mean() < 1e-3


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_tiny_images(side, factor, boundary):
    small, large = random_image(side, 1, 3), random_image(side * factor, factor, 3)
    up = jax.jit(lambda x: upscale(x, factor, boundary=boundary, levels=True))(levels(small))
    down = jax.jit(lambda x: downscale(x, factor, boundary=boundary))(levels(large))
    np.testing.assert_array_equal(up, imresize(small, scale=factor, boundary=boundary))
    np.testing.assert_array_equal(down, imresize(large, scale=1 / factor, boundary=boundary))


@pytest.mark.parametrize(("scale", "shape"), [(0.25, (5, 6)), (2.5, (43, 58)), (1 / 3, (6, 8)), (4, (68, 92))])
def test_sides_are_rounded_up(scale, shape):
    assert imresize(random_image(17, 23, 3), scale=scale).shape == (*shape, 3)


def test_channels_are_independent_and_optional():
    image = random_image(12, 16, 3)
    each = [imresize(image[..., c], scale=2.5) for c in range(3)]
    np.testing.assert_array_equal(imresize(image, scale=2.5), np.stack(each, -1))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("scale", [0.3, 0.25, 1, 2.5, 3])
def test_a_constant_stays_constant(scale, boundary):
    resized = imresize(np.full((11, 13, 3), 200, np.uint8), scale=scale, boundary=boundary)
    assert (resized == 200).all()


def test_a_ramp_is_continued_linearly_between_the_borders():
    ramp = np.tile(np.arange(40, 120, 4, dtype=np.uint8), (8, 1))
    inner = imresize(ramp, scale=2)[8, 8:-8].astype(int)
    np.testing.assert_array_equal(np.diff(inner), 2)


def test_upscale_leaves_the_range_alone_without_levels():
    x = jnp.array(np.random.default_rng(0).normal(size=(5, 6, 2)), jnp.float32)
    up = upscale(x, 2)
    assert up.min() < 0
    np.testing.assert_allclose(upscale(x * 3 + 1, 2), up * 3 + 1, atol=1e-5)


def test_gradient_through_upscale():
    x = jnp.ones((2, 4, 5, 3))
    gradient = jax.grad(lambda x: upscale(x, 4).sum())(x)
    assert jnp.isfinite(gradient).all()
    np.testing.assert_allclose(gradient.sum(), 2 * 16 * 20 * 3, rtol=1e-5)  # the weights of each output sum to 1


def test_gradient_through_downscale_is_zero():  # rounding: LR images are data, nothing is trained through them
    gradient = jax.grad(lambda x: downscale(x, 2).sum())(jnp.full((4, 4, 3), 100.0))
    assert (gradient == 0).all()


def test_imresize_refuses_an_unknown_boundary():
    with pytest.raises(ValueError, match="boundary is 'wrap'; choose one of symmetric, clamp"):
        imresize(random_image(4, 4, 3), scale=2, boundary="wrap")


def test_downscale_refuses_a_side_that_is_no_multiple():
    with pytest.raises(ValueError, match="6x8 is not a multiple of 4"):
        downscale(jnp.zeros((6, 8, 3)), 4)
