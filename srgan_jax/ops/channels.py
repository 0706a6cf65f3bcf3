"""Sums and scales over channels, in forms that each platform is fast at, and with gradients made of them.

XLA:CPU (jaxlib 0.10) is slow to add up everything but the last axis: there a product of matrices does it. The sums
that differentiation makes, for a bias say, are out of reach but for a derivative written by hand: scale_shift.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def channel_sums(x: Float[Array, "*b c"], y: Float[Array, "*b c"]) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """The sums over all axes but the last, in float32.

    Which form a program has is settled when it is lowered for its platform, and on GPUs by the number of devices: of
    _at_once over several, XLA would gather each one's part instead of adding them up.
    """
    x, y = x.astype(jnp.float32), y.astype(jnp.float32)
    cuda = _at_once if jax.device_count() == 1 else _apart
    return jax.lax.platform_dependent(x, y, cpu=_by_products, cuda=cuda, default=_apart)


def _by_products(*arrays: Array) -> tuple[Array, ...]:
    flat = [x.reshape(-1, x.shape[-1]) for x in arrays]
    return tuple((jnp.ones((1, len(x))) @ x)[0] for x in flat)


def _apart(*arrays: Array) -> tuple[Array, ...]:
    return tuple(jnp.sum(x, axis=tuple(range(x.ndim - 1))) for x in arrays)


def _at_once(*arrays: Array) -> tuple[Array, ...]:
    """XLA:GPU sums in two steps, the second in a kernel for each reduction: here there is one."""
    return tuple(jax.lax.reduce(arrays, (0.0,) * len(arrays), _add, tuple(range(arrays[0].ndim - 1))))


def _add(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _sums_backward(arrays: tuple[Array, ...], gradients: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(jnp.broadcast_to(g, x.shape).astype(x.dtype) for x, g in zip(arrays, gradients, strict=True))


channel_sums.defvjp(lambda x, y: (channel_sums(x, y), (x, y)), _sums_backward)


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
    to_scale, to_shift = channel_sums(gradient * (x - centre), gradient)
    gradients = gradient * scale, -scale * to_shift, to_scale, to_shift
    return tuple(value.astype(to.dtype) for value, to in zip(gradients, inputs, strict=True))


_scale_shift.defvjp(lambda *inputs: (_scale_shift(*inputs), inputs), _scale_shift_backward)
