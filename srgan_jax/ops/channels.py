"""Sums and scales over channels, with gradients that are fast on CPUs.

XLA:CPU (jaxlib 0.10) is slow to add up everything but the last axis: there a product of matrices does it. The sums
that differentiation makes, for a bias say, are out of reach but for a derivative written by hand: scale_shift.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def channel_sum(x: Float[Array, "*b c"]) -> Float[Array, " c"]:
    """The sum over all axes but the last, in float32. Which form a program has is settled when it is lowered."""
    return jax.lax.platform_dependent(x.astype(jnp.float32), cpu=_by_product, default=_by_sum)


def _by_product(x: Array) -> Array:
    x = x.reshape(-1, x.shape[-1])
    return (jnp.ones((1, len(x))) @ x)[0]


def _by_sum(x: Array) -> Array:
    return jnp.sum(x, axis=tuple(range(x.ndim - 1)))


def _sum_backward(x: Array, gradient: Array) -> tuple[Array]:
    return (jnp.broadcast_to(gradient, x.shape).astype(x.dtype),)


channel_sum.defvjp(lambda x: (channel_sum(x), x), _sum_backward)


def scale_shift(
    x: Float[Array, "*b c"],
    scale: Float[Array, " c"],
    shift: Float[Array, " c"],
    centre: Float[Array, " c"] | None = None,
) -> Float[Array, "*b c"]:
    """(x - centre) * scale + shift, in the dtype that they promote to; `centre` None is 0."""
    return _scale_shift(x, jnp.zeros_like(scale) if centre is None else centre, scale, shift)


@jax.custom_vjp
def _scale_shift(x: Array, centre: Array, scale: Array, shift: Array) -> Array:
    return (x - centre) * scale + shift


def _scale_shift_backward(inputs: tuple[Array, ...], gradient: Array) -> tuple[Array, ...]:
    x, centre, scale, shift = inputs
    # Centred first, as they are used: of x itself the sum would lose digits where the centre is far from 0.
    to_scale, to_shift = channel_sum(gradient * (x - centre)), channel_sum(gradient)
    gradients = gradient * scale, -scale * to_shift, to_scale, to_shift
    return tuple(value.astype(to.dtype) for value, to in zip(gradients, inputs, strict=True))


_scale_shift.defvjp(lambda *inputs: (_scale_shift(*inputs), inputs), _scale_shift_backward)
