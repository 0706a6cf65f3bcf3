"""Forms of a convolution that XLA:CPU is fast at; each equals lax's but for rounding, and is linear in x and kernel.

A form is a function of (x, kernel, n) that convolves NHWC with HWIO; what n is, the form says.
"""

from collections.abc import Callable
from functools import reduce
from itertools import product

import jax
import jax.numpy as jnp
from jax import Array

from srgan_jax.ops.pixel_shuffle import pixel_shuffle

Form = Callable[[Array, Array, int], Array]
Padding = tuple[tuple[int, int], tuple[int, int]]

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
NO_PADDING = ((0, 0), (0, 0))


def conv(x: Array, kernel: Array, padding: Padding, stride: int = 1, before: bool = False) -> Array:
    """before: x is padded by an operation of its own, kept from XLA, which may put it back into the convolution.

    Eigen is slow to pad where few channels are innermost: x's, or for the kernel's gradient the images of a batch.
    """
    if before:
        x, padding = jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), *padding, (0, 0)))), NO_PADDING
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=DIMENSIONS)


def same(x: Array, kernel: Array, stride: int, before: bool = False) -> Array:
    """lax's own, zero-padded by (k - 1) // 2 on every side; `before` as in conv."""
    pad = ((kernel.shape[0] - 1) // 2,) * 2
    return conv(x, kernel, (pad, pad), stride, before)


def shuffled(x: Array, kernel: Array, factor: int) -> Array:
    """lax's own of pixel_shuffle(x, factor)."""
    return same(pixel_shuffle(x, factor), kernel, 1)


def winograd(x: Array, kernel: Array, stride: int, turned: bool = False) -> Array:
    """3x3, `stride` 1, by Winograd's F(2x2, 3x3) (Lavin & Gray 2016): 16 products of matrices where there were 36.

    In float32, even of bfloat16. turned: with the kernel that the input's gradient takes, turned by half and with its
    channels exchanged.
    """
    b, h, w, c = x.shape
    taps = [_taps(row) for row in _taps(kernel.astype(jnp.float32))]
    if turned:  # which changes places with which follows from _taps
        taps = [[taps[i][j] for j in (3, 1, 2, 0)] for i in (3, 1, 2, 0)]
    # h % 2 is what is added to 1, in words by which a symbolic h is known to become even
    even = [(1, 1 + 2 * ((side + 1) // 2) - side) for side in (h, w)]
    x = jnp.pad(x.astype(jnp.float32), ((0, 0), *even, (0, 0)))
    each = "tnc,tdc->tnd" if turned else "tnc,tcd->tnd"
    m = []
    for rows, kernels in zip(_spread(x, 1), taps, strict=True):  # 4 products in one, or programs are slow to load
        tiles = jnp.stack(_spread(rows, 2))
        four = jnp.einsum(each, tiles.reshape(4, -1, c), jnp.stack(kernels))
        m.append(jnp.stack(_gather([*four.reshape(*tiles.shape[:4], -1)]), 3))
    y = jnp.stack(_gather(m), 2)
    return y.reshape(b, 2 * tiles.shape[2], 2 * tiles.shape[3], -1)[:, :h, :w].astype(kernel.dtype)


def _taps(k: Array) -> list[Array]:
    return [k[0], (k[0] + k[1] + k[2]) / 2, (k[0] - k[1] + k[2]) / 2, k[2]]


def _spread(x: Array, axis: int) -> list[Array]:
    """Of every 4 pixels that 2 of the output see: the parts that the 4 taps meet."""
    a, b, c, d = (jax.lax.slice_in_dim(x, i, x.shape[axis] - 2 + i - i % 2, 2, axis) for i in range(4))
    return [a - c, b + c, c - b, b - d]


def _gather(m: list[Array]) -> list[Array]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def in_phases(x: Array, kernel: Array, stride: int) -> Array:
    """Pixels `stride` apart meet the same taps: the sum of a convolution without a stride for each phase of x."""
    size, pad = kernel.shape[0], (kernel.shape[0] - 1) // 2
    h, w = ((side + 2 * pad - size) // stride + 1 for side in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), *[(pad, pad)] * 2, (0, 0)))
    phases = product(range(min(stride, size)), repeat=2)
    parts = (conv(x[:, i::stride, j::stride], kernel[i::stride, j::stride], NO_PADDING) for i, j in phases)
    return reduce(jnp.add, (part[:, :h, :w] for part in parts))


def on_small_grid(x: Array, kernel: Array, factor: int, before: bool = False) -> Array:
    """The same without shuffling x: d * factor**2 channels on the small grid, which are shuffled instead.

    They and the kernel's rows all become output channels of one convolution along rows, so that it has many; the rows
    are put in their places afterwards. In float32: of bfloat16's the sum would be rounded between its terms. `before`
    as in conv.
    """
    first, last, small = _small_kernel(kernel.astype(jnp.float32), factor)
    rows, columns, c, d = small.shape
    along = small.transpose(1, 2, 0, 3).reshape(1, columns, c, rows * d)
    y = conv(x.astype(jnp.float32), along, ((0, 0), (first, last)), 1, before)
    b, h, w, _ = y.shape
    y = jnp.pad(y.reshape(b, h, w, rows, d), ((0, 0), (first, last), (0, 0), (0, 0), (0, 0)))
    total = reduce(jnp.add, (y[:, i : i + h, :, i] for i in range(rows)))
    return pixel_shuffle(total, factor).astype(x.dtype)


def _small_kernel(kernel: Array, factor: int) -> tuple[int, int, Array]:
    """(taps before the centre, after it, [n, n, c * f * f, d * f * f]): the kernel between unshuffled images.

    The output at phase p of a small pixel has its taps p places further on than that at phase 0.
    """
    size, _, c, d = kernel.shape
    reach = size // 2
    before, after = -(-reach // factor), (factor - 1 + reach) // factor
    n = before + 1 + after
    first = factor * before - reach

    def phases(kernel: Array, axis: int) -> Array:
        """`axis` padded to n * factor, once for each phase of the output, on a new last axis."""
        widths = [[(0, 0)] * kernel.ndim for _ in range(factor)]
        for phase in range(factor):
            widths[phase][axis] = (first + phase, n * factor - size - first - phase)
        return jnp.stack([jnp.pad(kernel, width) for width in widths], axis=-1)

    spread = phases(phases(kernel, 0), 1).reshape(n, factor, n, factor, c, d, factor, factor)
    return before, after, spread.transpose(0, 2, 4, 1, 3, 5, 6, 7).reshape(n, n, c * factor**2, d * factor**2)
