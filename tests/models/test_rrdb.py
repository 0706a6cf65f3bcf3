"""ESRGAN's generator: size, that it trains by its config, ESRGAN's losses included; see test_unnormalised.py too."""

import jax
import jax.numpy as jnp
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
