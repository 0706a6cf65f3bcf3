"""Figures against scikit-image, a direct form of dump_ssim, and bicubic's published ones on Set5."""

import inspect
import math

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from srgan_jax import metrics
from srgan_jax.metrics import CONVENTION, figures, psnr, ssim_daala, ssim_wang


def planes(height, width, *, noise=20.0, seed=0):
    """A smooth plane of levels 0..255, and the same with noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    a = 128 + 60 * np.sin(rows / 5) * np.cos(columns / 7) + rng.uniform(-30, 30, (height, width))
    return a, np.clip(a + rng.normal(0, noise, a.shape), 0, 255)


def images(height, width, *, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), np.uint8)


def dump_ssim(a, b):
    """One window at a time, in the terms of its definition: nothing shared with the code under test."""
    height, width = a.shape
    sigma = height * 1.5 / 256
    cut = math.sqrt(math.pi / 2) * sigma / 256
    radius = min(math.floor(sigma * math.sqrt(-2 * math.log(cut))), min(height, width) - 1)
    side = [
        math.floor(256 / (math.sqrt(2 * math.pi) * sigma) * math.exp(-i * i / (2 * sigma**2)) + 0.5)
        for i in range(1, radius + 1)
    ]
    weight = {0: 256 - 2 * sum(side)} | {sign * (i + 1): w for i, w in enumerate(side) for sign in (-1, 1)}
    total = mass = 0.0
    for y, x in np.ndindex(height, width):
        window = [
            (weight[dy] * weight[dx], a[y + dy, x + dx], b[y + dy, x + dx])
            for dy in weight
            for dx in weight
            if 0 <= y + dy < height and 0 <= x + dx < width
        ]
        w, p, q = np.array(window).T
        mean_p, mean_q = np.average(p, weights=w), np.average(q, weights=w)
        var_p, var_q = np.average((p - mean_p) ** 2, weights=w), np.average((q - mean_q) ** 2, weights=w)
        covariance = np.average((p - mean_p) * (q - mean_q), weights=w)
        c1, c2 = 2.55**2, 7.65**2
        similarity = (2 * mean_p * mean_q + c1) / (mean_p**2 + mean_q**2 + c1)
        total += w.sum() * similarity * (2 * covariance + c2) / (var_p + var_q + c2)
        mass += w.sum()
    return total / mass


def test_psnr_by_hand():
    a = np.zeros((4, 5))
    assert psnr(a, a + 255) == 0
    assert psnr(a, a + 25.5) == pytest.approx(20)
    assert psnr(a, a + 0.1, peak=1.0) == pytest.approx(20)


def test_psnr_of_equal_images_is_infinite():
    a = np.full((3, 3), 7, np.uint8)
    assert psnr(a, a) == math.inf


def test_psnr_of_uint8_does_not_wrap_around():
    assert psnr(np.array([0], np.uint8), np.array([255], np.uint8)) == 0


@pytest.mark.parametrize("shape", [(11, 11), (12, 40), (97, 64), (256, 300)])
def test_wang_equals_scikit_image(shape):
    a, b = planes(*shape)
    convention = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    assert ssim_wang(a, b) == pytest.approx(structural_similarity(a, b, **convention), abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 9), (40, 30), (64, 80), (120, 4), (300, 9)])  # radius 0, 0, 1, 1 and 4
def test_daala_equals_its_definition(shape):
    a, b = planes(*shape)
    assert ssim_daala(a, b) == pytest.approx(dump_ssim(a, b), abs=1e-9)


def test_daala_kernel_of_256_rows_is_the_known_one():
    a = np.zeros((256, 31))
    b = a.copy()
    b[128, 15] = 200.0  # one point: the similarity of each window depends on its weight of it alone
    kernel = np.array([2, 9, 28, 55, 68, 55, 28, 9, 2]) / 256  # of daala's dump_ssim at sigma 1.5
    w = np.outer(kernel, kernel)
    mean, variance = 200 * w, 200**2 * (w - w**2)
    similarity = 2.55**2 / (mean**2 + 2.55**2) * 7.65**2 / (variance + 7.65**2)

    def mass(length):
        return np.convolve(np.ones(length), kernel, "same").sum()

    whole = mass(256) * mass(31)
    assert ssim_daala(a, b) == pytest.approx((whole - w.size + similarity.sum()) / whole, abs=1e-9)


@pytest.mark.parametrize("ssim", [ssim_wang, ssim_daala])
def test_ssim_of_equal_planes_is_one_and_falls_with_noise(ssim):
    a, b = planes(80, 60)
    assert ssim(a, a) == pytest.approx(1, abs=1e-12)
    assert ssim(a, b) == pytest.approx(ssim(b, a), abs=1e-12)
    assert 1 > ssim(a, b) > ssim(a, planes(80, 60, noise=60)[1])


def test_every_figure_is_named():
    sr, hr = images(30, 40)
    found = figures(sr, hr, scale=4)
    assert set(found) == {"psnr_y", "psnr_rgb", "ssim_wang", "ssim_daala"} <= set(CONVENTION)
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize(("scale", "border"), [(1, 0), (2, 2), (3, 3), (4, 4)])  # at 1 nothing was enlarged
def test_the_border_is_as_wide_as_the_scale_and_nothing_else_is_ignored(scale, border):
    assert metrics.border(scale) == border
    _, hr = images(24, 26)
    frame = hr.copy()
    if border:
        inside = (slice(border, -border),) * 2
        frame[...] = 255 - hr
        frame[inside] = hr[inside]
    assert figures(frame, hr, scale=scale)["psnr_y"] == math.inf
    frame[border, border] ^= 128
    assert figures(frame, hr, scale=scale)["psnr_y"] < 60


def test_the_levels_of_a_grey_picture_are_its_y():
    sr, hr = (np.repeat(x[..., :1], 3, axis=-1) for x in images(30, 40))
    grey, colour = figures(sr, hr, scale=4, grey=True), figures(sr, hr, scale=4)
    assert grey["psnr_y"] == pytest.approx(grey["psnr_rgb"], abs=1e-9)
    assert colour["psnr_y"] - grey["psnr_y"] == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)
    inner = slice(4, -4)
    planes = [x[inner, inner, 0].astype(float) for x in (sr, hr)]
    assert grey["ssim_wang"] == pytest.approx(ssim_wang(*planes), abs=1e-9) != colour["ssim_wang"]
    assert grey["ssim_daala"] == pytest.approx(ssim_daala(*planes), abs=1e-9)


# The shapes in the signatures are checked while testing, before the function is; unwrap calls the function itself.
@pytest.mark.parametrize("figure", [psnr, ssim_wang, ssim_daala])
def test_different_shapes_are_refused(figure):
    with pytest.raises(ValueError, match="differ in shape"):
        inspect.unwrap(figure)(np.zeros((20, 20)), np.zeros((20, 1)))


def test_pictures_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        inspect.unwrap(figures)(images(20, 20)[0], images(20, 24)[0], scale=4)


@pytest.mark.parametrize("side", [8, 18])
def test_too_small_for_the_window_is_refused(side):
    with pytest.raises(ValueError, match="11x11|empty"):
        figures(*images(side, 40), scale=4)
