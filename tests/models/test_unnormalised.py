"""The generators without norms, BasicSR's and ESRGAN's: shapes and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from compiled import initialised

from srgan_jax.models.msrresnet import MSRResNet
from srgan_jax.models.rrdb import RRDBNet

KEY = jax.random.key(0, impl="rbg")
NETWORKS = {
    "msrresnet": partial(MSRResNet, blocks=2, features=4),
    "rrdb": partial(RRDBNet, blocks=1, features=4, growth=3),
}
each = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


@each
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_output_is_scale_times_as_large_and_in_float32(make, scale, dtype):
    model = make(scale=scale, dtype=dtype)
    sr, variables = jax.eval_shape(lambda: model.init_with_output(KEY, jnp.zeros((2, 5, 1, 3)), False))
    assert sr.shape == (2, 5 * scale, scale, 3)
    assert {leaf.dtype for leaf in jax.tree.leaves((sr, variables))} == {jnp.dtype(jnp.float32)}


@each
def test_every_parameter_has_a_gradient(make):
    model, lr = make(), jax.random.uniform(jax.random.key(1), (1, 5, 6, 3))
    variables = initialised(model, lr)
    target = jax.random.normal(KEY, (1, 20, 24, 3))
    gradient = jax.jit(jax.grad(lambda v: jnp.mean((model.apply(v, lr, True) - target) ** 2)))(variables)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


@each
def test_an_unknown_scale_is_refused(make):
    with pytest.raises(ValueError, match="scale is 5; choose one of"):
        make(scale=5)
