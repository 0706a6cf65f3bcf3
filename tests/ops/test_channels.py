"""Sums over all but the channels, and the derivatives made of them, against plain jnp."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from srgan_jax.ops.channels import _at_once, channel_sums, scale_shift


def inputs(dtype=jnp.float32, shape=(2, 3, 5, 4)):
    keys = jax.random.split(jax.random.key(0), 4)
    x, to = (jax.random.normal(key, shape).astype(dtype) for key in keys[:2])
    return x, jax.random.normal(keys[2], shape[-1:]), jax.random.normal(keys[3], shape[-1:]), to


def plain(x, scale, shift, centre=0):
    return (x - centre) * scale + shift


def gradients(function, order=1):
    def loss(x, scale, shift, to):
        return jnp.sum(jnp.sin(function(x, scale, shift) + function(x, shift, scale, jnp.cos(scale))) * to)

    if order == 2:
        first = jax.grad(loss, (0, 1, 2))
        return jax.grad(lambda *args: sum(jnp.sum(g**2) for g in first(*args)), (0, 1, 2))
    return jax.grad(loss, (0, 1, 2))


@pytest.mark.parametrize("shape", [(7,), (6, 7), (2, 3, 5, 4), (1, 1, 1, 1)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_channel_sums(shape, dtype):
    x, _, _, to = inputs(dtype, shape)
    arrays = x.astype(jnp.float32), jnp.sin(x).astype(jnp.float32)
    expected = [jnp.sum(array, tuple(range(len(shape) - 1))) for array in arrays]
    for found in (jax.jit(channel_sums)(x, jnp.sin(x)), jax.jit(_at_once)(*arrays)):
        for total, value in zip(found, expected, strict=True):
            assert total.dtype == jnp.float32
            np.testing.assert_allclose(total, value, rtol=1e-5, atol=1e-5)
    row = to.reshape(-1, shape[-1])[0]
    gradients = jax.grad(lambda x, y: jnp.sum(jnp.stack(channel_sums(x, y)) * jnp.stack([row, 2 * row])), (0, 1))(x, x)
    for gradient, value in zip(gradients, (row, 2 * row), strict=True):
        assert gradient.dtype == dtype
        np.testing.assert_allclose(gradient.astype(jnp.float32), jnp.broadcast_to(value, shape))


@pytest.mark.parametrize("order", [1, 2])
def test_scale_shift_and_its_derivatives(order):
    args = inputs()
    np.testing.assert_array_equal(scale_shift(*args[:3]), plain(*args[:3]))
    found, expected = (jax.jit(gradients(function, order))(*args) for function in (scale_shift, plain))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(b).max()))


def test_derivatives_keep_their_dtypes():
    x, scale, shift, to = inputs(jnp.bfloat16)
    assert [g.dtype for g in gradients(scale_shift)(x, scale, shift, to)] == [jnp.bfloat16, jnp.float32, jnp.float32]


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_add_up_by_a_reduction(platform):
    traced = jax.jit(gradients(scale_shift)).trace(*inputs())
    there, here = (traced.lower(lowering_platforms=(name,)).as_text() for name in (platform, "cpu"))
    assert "dot_general" not in there and "stablehlo.reduce" in there
    assert here.count("dot_general") == 4
