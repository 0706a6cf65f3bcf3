"""Convolution, in forms that XLA:CPU is fast at, and how XLA:CPU is told to compile it.

XLA:CPU (jaxlib 0.10) is slow where a convolution has few output channels, as a generator's last one has, slower still
in its gradients, and in the input's gradient where there is a stride. Programs for accelerators hold nothing of it.
"""

from collections.abc import Callable
from functools import cache, partial, reduce
from itertools import product
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from srgan_jax.ops.pixel_shuffle import pixel_shuffle

Form = Callable[[Array, Array, int], Array]
T = TypeVar("T")

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# Matrix products stay with the library YNNPACK, convolutions go back to Eigen, which is faster in most of them.
CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}


@cache
def compiler_options() -> dict[str, Any]:
    """For the argument of that name of jax.jit: CPU_OPTIONS on a CPU whose jaxlib knows them, else nothing."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(jnp.negative).lower(0.0).compile(compiler_options=dict(CPU_OPTIONS))
    except jax.errors.JaxRuntimeError:
        return {}
    return CPU_OPTIONS


def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"], stride: int = 1, reflect: bool = False
) -> Float[Array, "b H W d"]:
    """Cross-correlation, zero-padded by (k - 1) // 2 on every side, as torch's k3 p1 and k4 p1; one dtype for all.

    reflect: padded by what lies inside the border instead, without a stride.
    """
    if reflect:
        pad = ((kernel.shape[0] - 1) // 2,) * 2
        return _conv(jnp.pad(x, ((0, 0), pad, pad, (0, 0)), mode="reflect"), kernel, ((0, 0), (0, 0)))
    return _same(x, kernel, 1) if stride == 1 else _strided(x, kernel, stride)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _strided(x: Array, kernel: Array, stride: int) -> Array:
    return _same(x, kernel, stride)


def _strided_backward(stride: int, inputs: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = inputs

    def to_x(form: Form, kernel: Array, gradient: Array) -> Array:
        return jax.linear_transpose(lambda x: form(x, kernel, stride), x)(gradient)[0]

    (to_kernel,) = jax.linear_transpose(lambda kernel: _same(x, kernel, stride), kernel)(gradient)
    return _by_platform(to_x, _in_phases, _same, kernel, gradient), to_kernel


_strided.defvjp(lambda x, kernel, stride: (_strided(x, kernel, stride), (x, kernel)), _strided_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def transposed(x: Float[Array, "b h w c"], kernel: Float[Array, "k k d c"], stride: int) -> Float[Array, "b H W d"]:
    """What maps the output of `convolve` back to its input, `stride` times as high and wide.

    torch's ConvTranspose2d(c, d, 4, 2, 1), or (c, d, 3, 2, 1, output_padding=1). On CPUs the kernel's gradient that
    XLA derives is 10 to 100 times as slow as convolve's, which it is with x and the output's gradient exchanged.
    """
    b, h, w, _ = x.shape
    output = jax.ShapeDtypeStruct((b, stride * h, stride * w, kernel.shape[2]), x.dtype)
    return jax.linear_transpose(lambda y: _same(y, kernel, stride), output)(x)[0]


def _transposed_backward(stride: int, inputs: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = inputs
    (to_kernel,) = jax.linear_transpose(lambda kernel: _same(gradient, kernel, stride), kernel)(x)
    return convolve(gradient, kernel, stride), to_kernel


transposed.defvjp(lambda x, kernel, stride: (transposed(x, kernel, stride), (x, kernel)), _transposed_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def shuffled_conv(
    x: Float[Array, "b h w cff"], kernel: Float[Array, "k k c d"], factor: int
) -> Float[Array, "b fh fw d"]:
    """pixel_shuffle(x, factor) in torch's order, convolved with an odd kernel, zero-padded by k // 2 on every side.

    `factor` 1 is the convolution alone. x and kernel have one dtype, which is the result's. The form for CPUs differs
    by rounding, in value and gradients; which one a program has is settled when it is lowered for its platform.
    Differentiable in reverse mode, any number of times.
    """
    return _by_platform(lambda form, x, kernel: form(x, kernel, factor), _on_small_grid, _plain, x, kernel)


def _backward(factor: int, inputs: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """Without it the residuals of both forms would be outputs of the forward pass on every platform."""

    def transposed(form: Form, x: Array, kernel: Array, gradient: Array) -> tuple[Array, Array]:
        (to_x,) = jax.linear_transpose(lambda x: form(x, kernel, factor), x)(gradient)
        return to_x, *jax.linear_transpose(lambda kernel: form(x, kernel, factor), kernel)(gradient)

    return _by_platform(transposed, _on_small_grid, _plain, *inputs, gradient)


shuffled_conv.defvjp(lambda x, kernel, factor: (shuffled_conv(x, kernel, factor), (x, kernel)), _backward)


def _by_platform(function: Callable[..., T], on_cpu: Form, elsewhere: Form, *arrays: Array) -> T:
    """function(form, *arrays) with the form that suits the platform."""
    return jax.lax.platform_dependent(*arrays, cpu=partial(function, on_cpu), default=partial(function, elsewhere))


def _plain(x: Array, kernel: Array, factor: int) -> Array:
    return _same(pixel_shuffle(x, factor), kernel, 1)


def _same(x: Array, kernel: Array, stride: int) -> Array:
    pad = ((kernel.shape[0] - 1) // 2,) * 2
    return _conv(x, kernel, (pad, pad), stride)


def _conv(x: Array, kernel: Array, padding: tuple[tuple[int, int], tuple[int, int]], stride: int = 1) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=DIMENSIONS)


def _in_phases(x: Array, kernel: Array, stride: int) -> Array:
    """Pixels `stride` apart meet the same taps: the sum of a convolution without a stride for each phase of x."""
    size, pad = kernel.shape[0], (kernel.shape[0] - 1) // 2
    h, w = ((side + 2 * pad - size) // stride + 1 for side in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), *[(pad, pad)] * 2, (0, 0)))
    phases = product(range(min(stride, size)), repeat=2)
    parts = (_conv(x[:, i::stride, j::stride], kernel[i::stride, j::stride], ((0, 0), (0, 0))) for i, j in phases)
    return reduce(jnp.add, (part[:, :h, :w] for part in parts))


def _on_small_grid(x: Array, kernel: Array, factor: int) -> Array:
    """The same without shuffling x: d * factor**2 channels on the small grid, which are shuffled instead.

    They and the kernel's rows all become output channels of one convolution along rows, so that it has many; the rows
    are put in their places afterwards. In float32: of bfloat16's the sum would be rounded between its terms.
    """
    before, after, small = _small_kernel(kernel.astype(jnp.float32), factor)
    rows, columns, c, d = small.shape
    along = small.transpose(1, 2, 0, 3).reshape(1, columns, c, rows * d)
    y = _conv(x.astype(jnp.float32), along, ((0, 0), (before, after)))
    b, h, w, _ = y.shape
    y = jnp.pad(y.reshape(b, h, w, rows, d), ((0, 0), (before, after), (0, 0), (0, 0), (0, 0)))
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
