"""Max-pooling in the form for CPUs: bit for bit XLA's own, in value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from srgan_jax.ops.pool import max_pool, plain


def with_gradient(function, x, to):
    y, backward = jax.vjp(function, x)
    return y, *backward(to)


@pytest.mark.parametrize("shape", [(2, 6, 8, 3), (1, 5, 7, 4), (1, 2, 3, 2)])
def test_equals_xla_where_several_are_largest_too(shape):
    x = jnp.round(jax.random.normal(jax.random.key(0), shape)).at[..., 0].set(1)
    to = jax.random.normal(jax.random.key(1), plain(x).shape)
    found, expected = (with_gradient(function, x, to) for function in (max_pool, plain))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_who_gets_which_program():
    x, to = jnp.ones((1, 4, 4, 2)), jnp.ones((1, 2, 2, 2))

    def has(platform):
        program = jax.jit(lambda x, to: with_gradient(max_pool, x, to)).trace(x, to)
        text = program.lower(lowering_platforms=(platform,)).as_text()
        return "reduce_window" in text, "select_and_scatter" in text

    assert has("cpu") == (False, False) and has("tpu") == (True, True)
    assert has("cuda") == (True, False)  # GPUs have no deterministic select_and_scatter
