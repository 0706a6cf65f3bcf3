"""BatchNorm folded into the convolutions: the same picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import applied, initialised

from srgan_jax.inference.fold import fold
from srgan_jax.inference.upscale import make_upscale
from srgan_jax.models.msrresnet import MSRResNet
from srgan_jax.models.srresnet import SRResNet
from srgan_jax.ops.color import signed_to_levels


def trained(network, lr):
    """Variables in which no statistic, scale or bias is that of the start."""
    variables = initialised(network, lr)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + rng.uniform(-0.2, 0.4, x.shape).astype(np.float32) * (x.ndim < 3), variables)


@pytest.fixture(scope="module")
def lr():
    return np.random.default_rng(1).integers(0, 256, (7, 5, 3), np.uint8)


@pytest.mark.parametrize(
    "fields",
    [{}, {"prelu": "channel", "output": "tanh"}, {"scale": 3, "skip": "bicubic", "norm_epsilon": 1e-3}],
)
def test_folded_equals_running_statistics(lr, fields):
    network = SRResNet(blocks=3, features=8, **fields)
    x = jnp.asarray(lr[None] / np.float32(255))
    variables = trained(network, x)
    folded, params = fold(network, variables)
    assert folded.norm == "none" and not [path for path in jax.tree.leaves_with_path(params) if "norm" in str(path)]
    expected = applied(network, variables, x)
    np.testing.assert_allclose(applied(folded, params, x), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("network", [SRResNet(blocks=1, features=8, norm="none"), MSRResNet(blocks=1, features=8)])
def test_networks_without_batchnorm_pass_through(network):
    variables = {"params": {}}
    assert fold(network, variables) == (network, variables)


def test_upscale_follows_the_variables_it_is_given(lr):
    """Validation while training gives other variables each time."""
    network = SRResNet(blocks=1, features=8)
    first = trained(network, lr[None] / np.float32(255))
    second = jax.tree.map(lambda x: 1.1 * x, first)
    upscale = make_upscale(network)
    for variables in (first, second):
        expected = signed_to_levels(applied(network, variables, lr[None] / np.float32(255))[0])
        difference = np.abs(upscale(variables, lr).astype(int) - np.asarray(expected, int))
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01
