"""BasicSR's generator: size, what it is before training, that it trains by its config; see test_unnormalised.py too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from running import logged, train

from configs import base
from srgan_jax.fields import check
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


def test_untrained_it_is_nearly_bilinear():
    lr = images(6, 7)
    sr, _ = MSRResNet(scale=2, blocks=2, features=8).init_with_output(KEY, lr, False)
    x = np.asarray(lr[0])
    rows = np.pad(x, ((1, 1), (0, 0), (0, 0)), mode="edge")
    rows = np.stack([0.25 * rows[:-2] + 0.75 * x, 0.75 * x + 0.25 * rows[2:]], 1).reshape(12, 7, 3)
    columns = np.pad(rows, ((0, 0), (1, 1), (0, 0)), mode="edge")
    bilinear = np.stack([0.25 * columns[:, :-2] + 0.75 * rows, 0.75 * rows + 0.25 * columns[:, 2:]], 2)
    np.testing.assert_allclose((sr[0] + 1) / 2, bilinear.reshape(12, 14, 3), atol=0.01)


def test_build_and_check_follow_the_config():
    config = base.get_config()
    config.generator.name = "msrresnet"
    config.generator.blocks = 3
    check(config)
    assert build_generator(config) == MSRResNet(blocks=3)


def test_it_trains_by_its_config(tmp_path):
    fields = ("generator.name=msrresnet", "steps=4", "log.every=2", "checkpoint.every=4", "validation.every=4")
    train("tiny", tmp_path / "run", *fields, "ema=0.5")
    assert sorted(logged(tmp_path / "run", "g/loss")) == [2, 4]
    generator = load_generator(tmp_path / "run", field="")
    assert generator.network == MSRResNet(blocks=1, features=8) and generator.name == "run"
    assert generator.variables["batch_stats"] == {}
