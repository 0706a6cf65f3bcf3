"""ESRGAN's generator: size, shapes, gradients, and that it trains by its config, ESRGAN's losses included."""

import jax
import jax.numpy as jnp
import pytest
from compiled import initialised
from running import logged, train

from configs import esrgan
from srgan_jax.models.build import build_generator
from srgan_jax.models.rrdb import RRDBNet
from srgan_jax.training.trained import load_generator

KEY = jax.random.key(0, impl="rbg")


def test_parameter_count():
    """That of the published network."""
    variables = jax.eval_shape(lambda: RRDBNet().init(KEY, jnp.zeros((1, 8, 8, 3)), False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 16_697_987
    assert set(variables) == {"params"}


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_output_is_scale_times_as_large_and_in_float32(scale, dtype):
    model = RRDBNet(scale=scale, blocks=1, features=4, growth=2, dtype=dtype)
    sr, variables = jax.eval_shape(lambda: model.init_with_output(KEY, jnp.zeros((2, 5, 1, 3)), False))
    assert sr.shape == (2, 5 * scale, scale, 3)
    assert {leaf.dtype for leaf in jax.tree.leaves((sr, variables))} == {jnp.dtype(jnp.float32)}


def test_every_parameter_has_a_gradient():
    model, lr = RRDBNet(blocks=1, features=4, growth=3), jax.random.uniform(jax.random.key(1), (1, 5, 6, 3))
    variables = initialised(model, lr)
    target = jax.random.normal(KEY, (1, 20, 24, 3))
    gradient = jax.jit(jax.grad(lambda v: jnp.mean((model.apply(v, lr, True) - target) ** 2)))(variables)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="scale is 5; choose one of"):
        RRDBNet(scale=5)


def test_the_paper_is_its_config():
    assert build_generator(esrgan.get_config()) == RRDBNet()


def test_it_trains_by_its_config(tmp_path):
    """By each of ESRGAN's losses, with features of a network that nobody trained."""
    loss = esrgan.get_config().loss
    fields = [f"loss.feature.{name}={loss.feature[name]}" for name in ("kind", "after_relu", "scale", "weight")]
    fields += [f"loss.adversarial.kind={loss.adversarial.kind}", "loss.pixel.kind=l1", "loss.feature.weights=random"]
    sizes = ("generator.name=rrdb", "generator.growth=4", "loss.feature.layer=1.2", "validation.every=4", "ema=0.5")
    train("tiny_gan", tmp_path / "run", *fields, *sizes, "steps=4", "log.every=2", "checkpoint.every=4")
    assert sorted(logged(tmp_path / "run", "g/feature")) == sorted(logged(tmp_path / "run", "g/adversarial")) == [2, 4]
    generator = load_generator(tmp_path / "run", field="")
    assert generator.network == RRDBNet(blocks=1, features=8, growth=4)
    assert generator.variables["batch_stats"] == {}
