"""BasicSR's generator: size, shapes, what it is before training, and that it trains by its config."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import initialised
from running import logged, train

from configs import base
from srgan_jax import config as configs
from srgan_jax.models.build import build_generator
from srgan_jax.models.msrresnet import MSRResNet
from srgan_jax.training.trained import load_generator

KEY = jax.random.key(0, impl="rbg")


def images(height, width):
    return jax.random.uniform(jax.random.key(1), (1, height, width, 3))


@pytest.mark.parametrize(("scale", "parameters"), [(2, 1_369_859), (3, 1_554_499), (4, 1_517_571)])
def test_parameter_count(scale, parameters):
    """Worked out by hand from the shapes of its layers."""
    variables = jax.eval_shape(lambda: MSRResNet(scale=scale).init(KEY, jnp.zeros((1, 8, 8, 3)), False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == parameters
    assert set(variables) == {"params"}


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_output_is_scale_times_as_large_and_in_float32(scale, dtype):
    model = MSRResNet(scale=scale, blocks=1, features=4, dtype=dtype)
    sr, variables = jax.eval_shape(lambda: model.init_with_output(KEY, jnp.zeros((2, 5, 1, 3)), False))
    assert sr.shape == (2, 5 * scale, scale, 3)
    assert {leaf.dtype for leaf in jax.tree.leaves((sr, variables))} == {jnp.dtype(jnp.float32)}


def test_untrained_it_is_nearly_bilinear():
    lr = images(6, 7)
    sr, _ = MSRResNet(scale=2, blocks=2, features=8).init_with_output(KEY, lr, False)
    x = np.asarray(lr[0])
    rows = np.pad(x, ((1, 1), (0, 0), (0, 0)), mode="edge")
    rows = np.stack([0.25 * rows[:-2] + 0.75 * x, 0.75 * x + 0.25 * rows[2:]], 1).reshape(12, 7, 3)
    columns = np.pad(rows, ((0, 0), (1, 1), (0, 0)), mode="edge")
    bilinear = np.stack([0.25 * columns[:, :-2] + 0.75 * rows, 0.75 * rows + 0.25 * columns[:, 2:]], 2)
    np.testing.assert_allclose((sr[0] + 1) / 2, bilinear.reshape(12, 14, 3), atol=0.01)


def test_every_parameter_has_a_gradient():
    model, lr = MSRResNet(blocks=2, features=4), images(5, 6)
    variables = initialised(model, lr)
    target = jax.random.normal(KEY, (1, 20, 24, 3))
    gradient = jax.jit(jax.grad(lambda v: jnp.mean((model.apply(v, lr, True) - target) ** 2)))(variables)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="scale is 5; choose one of"):
        MSRResNet(scale=5)


def test_build_and_check_follow_the_config():
    config = base.get_config()
    config.generator.name = "msrresnet"
    config.generator.blocks = 3
    configs.check(config)
    assert build_generator(config) == MSRResNet(blocks=3)


def test_it_trains_by_its_config(tmp_path):
    fields = ("generator.name=msrresnet", "steps=4", "log.every=2", "checkpoint.every=4", "validation.every=4")
    train("tiny", tmp_path / "run", *fields, "ema=0.5")
    assert sorted(logged(tmp_path / "run", "g/loss")) == [2, 4]
    generator = load_generator(tmp_path / "run", field="")
    assert generator.network == MSRResNet(blocks=1, features=8) and generator.name == "run"
    assert generator.variables["batch_stats"] == {}
