"""Image quality, each figure with its convention. Host side, float64."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Num, UInt8

from srgan_jax.ops.color import rgb_to_y

# Stands beside every figure: two figures can be compared only if this is the same for both.
CONVENTION = {
    "images": "rounded to uint8 before measuring",
    "border": "removed on every side, `border` pixels",
    "l1": "mean |difference| over all RGB values, in units of the full range",
    "psnr_y": "dB, peak 255, on Y of BT.601 studio range (16..235), not rounded; of grey HR files Y is 0..255",
    "psnr_rgb": "dB, peak 255, over all RGB values",
    "ssim_wang": "Wang 2004 on that Y: 11x11 Gaussian, sigma 1.5, K .01/.03, whole windows only",
    "ssim_daala": "daala dump_ssim on that Y: sigma = height * 1.5/256, windows cut at the border and renormalised",
}
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(a: Num[np.ndarray, "*n"], b: Num[np.ndarray, "*n"], *, peak: float = 255.0) -> float:
    """10 log10(peak^2 / mean squared error), in dB; inf for equal images.

    Raises:
      ValueError: shapes differ, or the images are empty.
    """
    _same_shape(a, b)
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def to_json(result: Any, indent: int | None = None) -> str:
    """Strict JSON of whatever holds figures; one that is not finite, as PSNR of equal images, becomes null."""

    def strict(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: strict(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [strict(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(strict(result), indent=indent, allow_nan=False)


def from_json(text: str) -> Any:
    """What `to_json` wrote: a PSNR of null is inf again. Raises ValueError for what is no JSON."""
    return json.loads(
        text, object_hook=lambda d: {k: math.inf if v is None and "psnr" in k else v for k, v in d.items()}
    )


def ssim_wang(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> float:
    """Structural similarity of Wang et al. 2004 on levels 0..255, at most 1.

    Raises:
      ValueError: shapes differ, or a side is shorter than the 11-pixel window.
    """
    _same_shape(a, b)
    if min(a.shape) < 11:
        raise ValueError(f"SSIM needs at least 11x11 pixels, not {a.shape[1]}x{a.shape[0]}")
    kernel = _gaussian(5, 1.5)
    return float(np.mean(_ssim(a, b, lambda x: _filter(x, kernel / kernel.sum()))))


def ssim_daala(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> float:
    """SSIM as the daala codec's dump_ssim reports it, which the SRGAN paper used; reads above Wang's.

    The Gaussian grows with the image: sigma = height * 1.5/256. A window at the border is cut and renormalised, and
    counts by what is left of it.

    Raises:
      ValueError: shapes differ, or an image is empty.
    """
    _same_shape(a, b)
    kernel = _daala_kernel(*a.shape)
    radius = len(kernel) // 2

    def blur(x: np.ndarray) -> np.ndarray:
        return _filter(np.pad(x, radius), kernel)

    mass = blur(np.ones(a.shape))
    return float(np.sum(_ssim(a, b, lambda x: blur(x) / mass) * mass) / mass.sum())


def border(scale: int) -> int:
    """Pixels of each side that figures leave out: as many as the scale, none of a picture that was not enlarged."""
    return scale if scale > 1 else 0


def figures(
    sr: UInt8[np.ndarray, "h w 3"], hr: UInt8[np.ndarray, "h w 3"], *, scale: int, grey: bool = False
) -> dict[str, float]:
    """As the field compares: enlarged pictures without their border; translated ones whole, and by L1 too.

    grey: HR is of one channel, whose levels are Y as they are, as in the field's MATLAB code.

    Raises:
      ValueError: shapes differ, or less than 11x11 pixels are left.
    """
    _same_shape(sr, hr)
    l1 = {} if scale > 1 else {"l1": float(np.mean(np.abs(sr.astype(np.float64) - hr)) / 255)}
    inner = slice(border(scale), -border(scale) or None)
    sr, hr = sr[inner, inner], hr[inner, inner]
    sr_y, hr_y = (rgb_to_y(x, studio=not grey) for x in (sr, hr))
    return l1 | {
        "psnr_y": psnr(sr_y, hr_y),
        "psnr_rgb": psnr(sr, hr),
        "ssim_wang": ssim_wang(sr_y, hr_y),
        "ssim_daala": ssim_daala(sr_y, hr_y),
    }


def _same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"the images differ in shape: {a.shape} and {b.shape}")
    if a.size == 0:
        raise ValueError(f"the images are empty: {a.shape}")


def _gaussian(radius: int, sigma: float) -> np.ndarray:
    return np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)


def _daala_kernel(height: int, width: int) -> np.ndarray:
    """dump_ssim's Gaussian in 256ths: whole numbers that sum to 256, cut where they would round to 0."""
    sigma = height * 1.5 / 256
    cut = np.sqrt(np.pi / 2) * sigma / 256
    radius = int(sigma * np.sqrt(-2 * np.log(cut))) if cut < 1 else 0
    radius = min(radius, height - 1, width - 1)
    kernel = np.floor(_gaussian(radius, sigma) / (np.sqrt(2 * np.pi) * sigma) * 256 + 0.5)
    kernel[radius] += 256 - kernel.sum()
    return kernel


def _filter(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlation along both axes, whole windows only."""
    for axis in (0, 1):
        x = np.lib.stride_tricks.sliding_window_view(x, len(kernel), axis) @ kernel
    return x


def _ssim(a: np.ndarray, b: np.ndarray, blur: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The similarity of each window, from its local means, variances and covariance."""
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return luminance * (2 * covariance + C2) / (var_a + var_b + C2)
