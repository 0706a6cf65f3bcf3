"""Bicubic resizing as MATLAB's imresize does it: the LR files of Set5 and Set14 in circulation, to the bit.

Keys' cubic with a = -0.5; when shrinking, the kernel is widened by the factor (antialiasing) and its weights are
normalised. The vertical pass comes first and its result is rounded and clipped to 8 bits before the horizontal one.
Beyond the border pixels are mirrored ("symmetric": MATLAB today, DIV2K) or repeated ("clamp": old MATLAB, which made
those LR files).

In-graph, levels equal imresize's at the factors 2 to 5, 7 and 8. At 6, where sums may be halves of parts that neither
float32 nor float64 holds, single values differ by 1.
"""

import math
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, UInt8

ROWS = 64  # computed at a time where a picture comes in bands: float64 of more would be large
PADDING = {"symmetric": "symmetric", "clamp": "edge"}  # our boundaries by numpy's names


def imresize(
    image: UInt8[np.ndarray, "h w *c"], *, scale: float, boundary: str = "symmetric"
) -> UInt8[np.ndarray, "H W *c"]:
    """Any scale up or down, in float64, for files; a side of n becomes ceil(n * scale).

    Raises:
      ValueError: an unknown boundary.
    """
    if boundary not in PADDING:
        raise ValueError(f"boundary is {boundary!r}; choose one of {', '.join(PADDING)}")
    if scale == 1:
        return image
    for axis in (0, 1):
        size = image.shape[axis]
        image = _resample(image, axis, *_table(size, math.ceil(size * scale), scale, boundary))
    return image


def imresize_bands(
    bands: Iterable[Num[np.ndarray, "n w c"]], size: tuple[int, int], shape: tuple[int, int], scale: float
) -> Iterator[Num[np.ndarray, "m W c"]]:
    """imresize of a picture of `size` that comes as bands of rows, to `shape`, as bands of rows; boundary "symmetric".

    Integers of any width are rounded and clipped as uint8 is there, floating point is neither. Holds few rows.
    """
    (indices, weights), columns = (_table(n, m, scale, "symmetric") for n, m in zip(size, shape, strict=True))
    lowest = np.minimum.accumulate(indices.min(axis=1)[::-1])[::-1]  # of the rows that this and later outputs need
    highest = np.maximum.accumulate(indices.max(axis=1))
    first, done, held = 0, 0, None
    for band in bands:
        held = band if held is None else np.concatenate([held, band])
        ready = int(np.searchsorted(highest, first + len(held)))
        for start in range(done, ready, ROWS):
            part = slice(start, min(start + ROWS, ready))
            rows = held[lowest[start] - first : highest[part][-1] + 1 - first]
            yield _resample(_resample(rows, 0, indices[part] - lowest[start], weights[part]), 1, *columns)
        done = ready
        if done < len(lowest):
            held, first = held[lowest[done] - first :], int(lowest[done])


def downscale(x: Float[Array, "... h w c"], factor: int, *, boundary: str = "symmetric") -> Float[Array, "... H W c"]:
    """Levels 0..255 to rounded levels, 1/factor as high and wide, as imresize. In-graph, for training.

    A whole factor gives every output the same taps, so each pass is a sum of strided slices: no matrix product,
    and so none of an accelerator's reduced precision.

    Raises:
      ValueError: a side that is not a multiple of the factor.
    """
    if x.shape[-3] % factor or x.shape[-2] % factor:
        raise ValueError(f"{x.shape[-3]}x{x.shape[-2]} is not a multiple of {factor}")
    first, weights = _taps((factor - 1) / 2, 1 / factor)
    for axis in (x.ndim - 3, x.ndim - 2):
        length = x.shape[axis] // factor
        padded = _pad(x, axis, 2 * factor, boundary)
        start = first + 2 * factor
        slices = [_slice(padded, axis, start + tap, length, factor) for tap in range(len(weights))]
        x = _round(_weighted(slices, weights), jnp)
    return x


def upscale(
    x: Float[Array, "... h w c"], factor: int, *, boundary: str = "symmetric", levels: bool = False
) -> Float[Array, "... H W c"]:
    """`factor` times as high and wide, in-graph and differentiable, for values of any range.

    With `levels`, values are levels 0..255 and are rounded as imresize rounds them.
    """
    for axis in (x.ndim - 3, x.ndim - 2):
        length = x.shape[axis]
        padded = _pad(x, axis, 2, boundary)
        phases = []
        for phase in range(factor):
            first, weights = _taps((phase + 0.5) / factor - 0.5, 1.0)
            slices = [_slice(padded, axis, first + 2 + tap, length, 1) for tap in range(len(weights))]
            phases.append(_weighted(slices, weights))
        x = jnp.stack(phases, axis=axis + 1)
        x = x.reshape(*x.shape[:axis], length * factor, *x.shape[axis + 2 :])
        x = _round(x, jnp) if levels else x
    return x


def _resample(x: np.ndarray, axis: int, indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums along the axis, by a table of _table's, in float64; of x's dtype."""
    along = [-1 if each == axis else 1 for each in range(x.ndim)]
    full, total = x.astype(np.float64), np.zeros(())
    for tap in np.flatnonzero(weights.any(axis=0)):
        total = total + full.take(indices[:, tap], axis) * weights[:, tap].reshape(along)
    if np.issubdtype(x.dtype, np.integer):
        total = _round(total, np, np.iinfo(x.dtype).max)
    return total.astype(x.dtype)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys 1981, a = -0.5."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _table(size: int, length: int, factor: float, boundary: str) -> tuple[np.ndarray, np.ndarray]:
    """For each of `length` outputs the indices it reads and their weights, [length, taps]."""
    shrink = min(factor, 1.0)
    centre = (np.arange(length) + 0.5) / factor - 0.5
    indices = np.floor(centre - 2 / shrink).astype(int)[:, None] + np.arange(math.ceil(4 / shrink) + 2)
    weights = _cubic((centre[:, None] - indices) * shrink)
    weights /= weights.sum(axis=1, keepdims=True)
    if boundary == "clamp":
        return indices.clip(0, size - 1), weights
    mirrored = indices % (2 * size)
    return np.where(mirrored < size, mirrored, 2 * size - 1 - mirrored), weights


def _taps(centre: float, shrink: float) -> tuple[int, np.ndarray]:
    """(first index, weights) of the taps around `centre` that are not zero."""
    indices = np.arange(math.floor(centre - 2 / shrink), math.ceil(centre + 2 / shrink) + 1)
    weights = _cubic((centre - indices) * shrink)
    used = np.flatnonzero(weights)
    weights = weights[used[0] : used[-1] + 1]
    return int(indices[used[0]]), weights / weights.sum()


def _pad(x: Array, axis: int, width: int, boundary: str) -> Array:
    n = x.shape[axis]
    if boundary == "symmetric" and not isinstance(n, int):  # of a program for every size, which jnp.pad cannot make
        position = jnp.arange(-width, n + width) % (2 * n)
        return jnp.take(x, jnp.minimum(position, 2 * n - 1 - position), axis=axis)
    return jnp.pad(x, [(width, width) if i == axis else (0, 0) for i in range(x.ndim)], mode=PADDING[boundary])


def _slice(x: Array, axis: int, start: int, length: Any, stride: int) -> Array:
    """x[start], x[start + stride], ...: `length` of them along the axis."""
    window = [slice(None)] * x.ndim
    window[axis] = slice(start, start + (length - 1) * stride + 1, stride)
    return x[tuple(window)]


def _weighted(slices: list[Array], weights: np.ndarray) -> Array:
    """The weighted sum, lowest weights first.

    With levels and a factor of 2, 4 or 8 every product is a multiple of 2**-16 or coarser. The negative lobes first, no
    partial sum passes a final sum below 256, so float32 holds them all exactly and halves round as in float64. With
    an odd factor there are no halves, for the weights are whole multiples of factor**-4.
    """
    order = np.argsort(weights)
    total = slices[order[0]] * float(weights[order[0]])
    for tap in order[1:]:
        total = total + slices[tap] * float(weights[tap])
    return total


def _round(x: Any, xp: ModuleType, top: int = 255) -> Any:
    """To the nearest level, halves upwards, within 0..top."""
    return xp.clip(xp.floor(x + 0.5), 0, top)
