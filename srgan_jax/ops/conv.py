"""Convolution, by XLA's own and, in programs for CPUs, in the faster of equal forms.

XLA:CPU (jaxlib 0.10) is slow where a convolution has few output channels, as a generator's last one has, slower still
in its gradients, in the input's gradient where there is a stride, and at padding for a kernel's gradient; where there
are many channels it does sums that could be spared. Programs for accelerators hold nothing of the forms.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from srgan_jax.ops import conv_forms as forms
from srgan_jax.ops.conv_forms import Form

# Matrix products stay with the library YNNPACK, convolutions go back to Eigen, which is faster in most of them.
CPU_OPTION = ("xla_cpu_experimental_ynn_fusion_type", "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT")
FEW = 8  # channels, below which Eigen does not read several at a time
MANY = 128  # channels in, with half as many out, from which on forms.winograd is faster (benchmarks/RESULTS.md)


def compiler_options() -> dict[str, Any]:
    """For the argument of that name of jax.jit: CPU_OPTION on a CPU whose jaxlib knows it, else nothing."""
    return accepted(*CPU_OPTION) if jax.default_backend() == "cpu" else {}


@cache
def accepted(option: str, value: str) -> dict[str, Any]:
    """One of XLA's options as such an argument, or nothing where this jaxlib refuses it."""
    try:
        jax.jit(jnp.negative).lower(0.0).compile(compiler_options={option: value})
    except jax.errors.JaxRuntimeError:
        return {}
    return {option: value}


def _to_x(form: Form, x: Array, kernel: Array, gradient: Array, n: int) -> Array:
    return jax.linear_transpose(lambda x: form(x, kernel, n), x)(gradient)[0]


def _to_x_by_winograd(x: Array, kernel: Array, gradient: Array, n: int) -> Array:
    return forms.winograd(gradient, kernel, n, turned=True)


def _to_few(x: Array, kernel: Array, gradient: Array, n: int) -> Array:
    return forms.on_small_grid(gradient, kernel[::-1, ::-1].swapaxes(2, 3), n)


class Forms(NamedTuple):
    """What a program for CPUs has in place of `plain`: for the value, x's gradient, and the kernel's."""

    plain: Form
    value: Form
    to_x: Callable[[Array, Array, Array, int], Array]
    to_kernel: Form


SAME_BEFORE = partial(forms.same, before=True)
SAME_TO_X = partial(_to_x, forms.same)
STRIDED = Forms(forms.same, forms.same, partial(_to_x, forms.in_phases), forms.same)
SHUFFLED = Forms(
    forms.shuffled,
    forms.on_small_grid,
    partial(_to_x, forms.on_small_grid),
    partial(forms.on_small_grid, before=True),
)


def _unstrided(size: int, c: int, d: int) -> Forms:
    """For kernels [size, size, c, d]."""

    def wide(c: int, d: int) -> bool:
        return size == 3 and c >= MANY and 2 * d >= MANY

    value = forms.winograd if wide(c, d) else SAME_BEFORE if c < FEW else forms.same
    to_x = _to_x_by_winograd if wide(d, c) else _to_few if c < FEW and size % 2 else SAME_TO_X
    return Forms(forms.same, value, to_x, SAME_BEFORE)


def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"], stride: int = 1, reflect: bool = False
) -> Float[Array, "b H W d"]:
    """Cross-correlation, zero-padded by (k - 1) // 2 on every side, as torch's k3 p1 and k4 p1; one dtype for all.

    reflect: padded by what lies inside the border instead, without a stride.
    """
    if reflect:
        pad = ((kernel.shape[0] - 1) // 2,) * 2
        return forms.conv(jnp.pad(x, ((0, 0), pad, pad, (0, 0)), mode="reflect"), kernel, forms.NO_PADDING)
    size, _, c, d = kernel.shape
    return _convolve(x, kernel, stride, STRIDED if stride > 1 else _unstrided(size, c, d))


def shuffled_conv(
    x: Float[Array, "b h w cff"], kernel: Float[Array, "k k c d"], factor: int
) -> Float[Array, "b fh fw d"]:
    """pixel_shuffle(x, factor), convolved with an odd kernel, zero-padded by k // 2 on every side.

    `factor` 1 is the convolution alone. x and kernel have one dtype, which is the result's. The form for CPUs differs
    by rounding, in value and gradients; which one a program has is settled when it is lowered for its platform.
    Differentiable in reverse mode, any number of times.
    """
    return _convolve(x, kernel, factor, SHUFFLED)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: Array, kernel: Array, n: int, forms: Forms) -> Array:
    return jax.lax.platform_dependent(x, kernel, **_value(n, forms))


def _backward(n: int, forms: Forms, inputs: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """Without it the residuals of both forms would be outputs of the forward pass on every platform."""
    return jax.lax.platform_dependent(*inputs, gradient, **_gradients(n, forms))


@cache  # jax traces a function once for all layers of one shape, if it knows it again
def _value(n: int, forms: Forms) -> dict[str, Callable[[Array, Array], Array]]:
    return {"cpu": lambda x, kernel: forms.value(x, kernel, n), "default": lambda x, kernel: forms.plain(x, kernel, n)}


@cache
def _gradients(n: int, forms: Forms) -> dict[str, Callable[[Array, Array, Array], tuple[Array, Array]]]:
    def both(to_x: Callable[..., Array], to_kernel: Form) -> Callable[..., tuple[Array, Array]]:
        def gradients(x: Array, kernel: Array, gradient: Array) -> tuple[Array, Array]:
            transposed = jax.linear_transpose(lambda kernel: to_kernel(x, kernel, n), kernel)
            return to_x(x, kernel, gradient, n), *transposed(gradient)

        return gradients

    return {"cpu": both(forms.to_x, forms.to_kernel), "default": both(partial(_to_x, forms.plain), forms.plain)}


_convolve.defvjp(lambda x, kernel, n, forms: (_convolve(x, kernel, n, forms), (x, kernel)), _backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def transposed(x: Float[Array, "b h w c"], kernel: Float[Array, "k k d c"], stride: int) -> Float[Array, "b H W d"]:
    """What maps the output of `convolve` back to its input, `stride` times as high and wide.

    torch's ConvTranspose2d(c, d, 4, 2, 1), or (c, d, 3, 2, 1, output_padding=1). On CPUs the kernel's gradient that
    XLA derives is 10 to 100 times as slow as convolve's, which it is with x and the output's gradient exchanged.
    """
    b, h, w, _ = x.shape
    output = jax.ShapeDtypeStruct((b, stride * h, stride * w, kernel.shape[2]), x.dtype)
    return jax.linear_transpose(lambda y: forms.same(y, kernel, stride), output)(x)[0]


def _transposed_backward(stride: int, inputs: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = inputs
    (to_kernel,) = jax.linear_transpose(lambda kernel: forms.same(gradient, kernel, stride), kernel)(x)
    return convolve(gradient, kernel, stride), to_kernel


transposed.defvjp(lambda x, kernel, stride: (transposed(x, kernel, stride), (x, kernel)), _transposed_backward)
