"""Max-pooling whose gradient is elementwise on CPUs and GPUs.

XLA:CPU (jaxlib 0.10) scatters there, one number after another. XLA:GPU refuses to compile XLA's own where only
deterministic operations are asked for (--xla_gpu_exclude_nondeterministic_ops).
"""

from functools import reduce
from itertools import product

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b H W c"]:
    """The largest of every 2x2 pixels; an odd last row or column is left out, as in torch's MaxPool2d(2)."""
    return jax.lax.platform_dependent(x, cpu=lambda x: reduce(jnp.maximum, _corners(x)), default=plain)


def plain(x: Array) -> Array:
    """XLA's own, on every platform."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _corners(x: Array) -> list[Array]:
    h, w = (side // 2 * 2 for side in x.shape[1:3])
    return [x[:, i:h:2, j:w:2] for i, j in product(range(2), repeat=2)]


def _to_first(x: Array, gradient: Array) -> Array:
    """To the first of several equal largest ones, as XLA's own and torch's."""
    corners = _corners(x)
    largest, found = reduce(jnp.maximum, corners), jnp.zeros(gradient.shape, bool)
    parts = []
    for corner in corners:
        here = (corner == largest) & ~found
        parts.append(jnp.where(here, gradient, 0))
        found |= here
    rows = [jnp.stack(parts[:2], 3), jnp.stack(parts[2:], 3)]
    b, h, w, c = gradient.shape
    whole = jnp.stack(rows, 2).reshape(b, 2 * h, 2 * w, c)
    return jnp.pad(whole, ((0, 0), (0, x.shape[1] - 2 * h), (0, x.shape[2] - 2 * w), (0, 0)))


def _backward(x: Array, gradient: Array) -> tuple[Array]:
    def as_plain(x: Array, gradient: Array) -> Array:
        return jax.vjp(plain, x)[1](gradient)[0]

    by = {"cpu": _to_first, "cuda": _to_first, "rocm": _to_first}
    return (jax.lax.platform_dependent(x, gradient, **by, default=as_plain),)


max_pool.defvjp(lambda x: (max_pool(x), x), _backward)
