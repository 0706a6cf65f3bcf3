"""The generator: size, shapes, types, and what it is before training."""

from functools import partial
from pathlib import Path
from runpy import run_path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from srgan_jax.errors import UserError
from srgan_jax.models import srresnet
from srgan_jax.models.build import build_discriminator, build_features, build_generator
from srgan_jax.models.discriminator import Discriminator
from srgan_jax.models.layers import BatchNorm, Conv, PReLU, icnr
from srgan_jax.models.lpips import LPIPS
from srgan_jax.models.srresnet import SRResNet
from srgan_jax.models.vgg import VGG
from srgan_jax.ops.bicubic import upscale
from srgan_jax.ops.pixel_shuffle import pixel_shuffle

KEY = jax.random.key(0, impl="rbg")  # compiles three times as fast as the default


def tiny(**fields):
    return SRResNet(**({"blocks": 1, "features": 4, "first_kernel": 3, "last_kernel": 3} | fields))


def base_config():
    return run_path(str(Path(__file__).parents[2] / "configs" / "base.py"))["get_config"]()


def init(model, x):
    return jax.jit(lambda: model.init(KEY, x, False))()


def images(height, width, batch=2):
    return jax.random.uniform(jax.random.key(1), (batch, height, width, 3))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(("prelu", "parameters"), [("shared", 1_549_462), ("channel", 1_550_659)])
def test_parameter_count(prelu, parameters):
    model = SRResNet(prelu=prelu)
    variables = jax.eval_shape(lambda: model.init(KEY, jnp.zeros((1, 8, 8, 3)), False))
    assert count(variables["params"]) == parameters


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("size", [(5, 7), (1, 1)])
def test_output_is_scale_times_as_large(scale, size):
    height, width = size
    model = tiny(scale=scale)
    sr, _ = jax.eval_shape(lambda: model.init_with_output(KEY, jnp.zeros((2, height, width, 3)), False))
    assert sr.shape == (2, scale * height, scale * width, 3)
    assert sr.dtype == jnp.float32


@pytest.mark.parametrize(
    ("field", "value"),
    [("scale", 5), ("norm", "layer"), ("prelu", "relu"), ("output", "sigmoid"), ("skip", "nearest")],
)
def test_unknown_value_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} is .*choose one of"):
        tiny(**{field: value})


def test_even_kernel_is_refused():
    with pytest.raises(ValueError, match="odd"):
        tiny(last_kernel=8)


def test_bfloat16_keeps_parameters_statistics_and_output_in_float32():
    lr = images(6, 6)
    model = tiny(dtype=jnp.bfloat16)
    variables = init(model, lr)
    sr, updated = model.apply(variables, lr, True, mutable=["batch_stats"])
    assert sr.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, updated))} == {jnp.dtype(jnp.float32)}
    exact, _ = tiny().apply(variables, lr, True, mutable=["batch_stats"])
    assert 0 < jnp.abs(sr - exact).max() < 0.1 * jnp.abs(exact).max()


def test_training_updates_statistics_and_inference_uses_them():
    lr = images(6, 6)
    model = tiny()
    variables = init(model, lr)
    trained, updated = model.apply(variables, lr, True, mutable=["batch_stats"])
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), variables["batch_stats"], updated["batch_stats"])
    assert all(jax.tree.leaves(moved))

    before = model.apply(variables, lr, False)
    after = model.apply({**variables, **updated}, lr, False)
    assert not np.allclose(before, after)
    assert not np.allclose(after, trained)
    # Running statistics make an image's result independent of the others in its batch.
    np.testing.assert_allclose(model.apply(variables, lr[:1], False), before[:1], atol=1e-5)


@pytest.mark.parametrize("fields", [{}, {"norm_epsilon": 0.5}, {"prelu": "channel"}, {"norm": "none"}], ids=str)
def test_a_block_traced_once_is_the_block(fields, monkeypatch):
    """Output, statistics and gradients; each network after others that differ in one field alone."""
    lr, model = images(6, 6), tiny(blocks=3, **fields)
    variables = init(model, lr)

    def results():
        def loss(variables, train):
            sr, changed = model.apply(variables, lr, train, mutable=["batch_stats"])
            return jnp.mean(sr**2), (sr, changed)

        both = [jax.value_and_grad(partial(loss, train=train), has_aux=True) for train in (True, False)]
        return jax.jit(lambda variables: [function(variables) for function in both])(variables)

    once = results()
    monkeypatch.setattr(srresnet, "TracedOnce", srresnet.ResidualBlock)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), once, results())


def test_blocks_are_traced_once(monkeypatch):
    traced = []

    def conv(*args, name, **fields):
        traced.append(name)
        return Conv(*args, name=name, **fields)

    monkeypatch.setattr(srresnet, "Conv", conv)
    model, lr = tiny(blocks=5, norm_epsilon=0.25), images(6, 6)
    variables = init(model, lr)
    assert sum(name == "conv_0" for name in traced) == 5
    traced.clear()
    program = jax.jit(partial(model.apply, train=True, mutable=["batch_stats"])).lower(variables, lr)
    assert traced == ["conv_first", "conv_0", "conv_1", "conv_after", "conv_up_0", "conv_up_1", "conv_last"]
    text = program.as_text(debug_info=True)  # where a profile has its names from
    assert all(f"/block_{i}/jit" in text for i in range(5))


def test_no_statistics_without_norm():
    variables = init(tiny(norm="none"), images(4, 4))
    assert set(variables) == {"params"}


def test_statistics_are_shared_over_a_named_axis():
    lr = images(6, 6, batch=4)
    variables = init(tiny(), lr)
    whole, _ = tiny().apply(variables, lr, True, mutable=["batch_stats"])

    def one_device(x):
        return tiny(axis_name="data").apply(variables, x, True, mutable=["batch_stats"])[0]

    split = jax.jit(jax.vmap(one_device, axis_name="data"))(lr.reshape(2, 2, 6, 6, 3))
    np.testing.assert_allclose(split.reshape(whole.shape), whole, atol=1e-4)


@pytest.mark.parametrize("factor", [2, 3])
def test_icnr_starts_as_nearest_neighbour(factor):
    x = jax.random.normal(KEY, (1, 5, 4, 6))
    layer = Conv(6 * factor**2, 3, name="up", kernel_init=icnr(jax.nn.initializers.lecun_normal(), factor))
    y, _ = layer.init_with_output(KEY, x)
    shuffled = pixel_shuffle(y, factor)
    nearest = shuffled[:, ::factor, ::factor].repeat(factor, 1).repeat(factor, 2)
    np.testing.assert_array_equal(shuffled, nearest)
    assert jnp.std(shuffled) > 0.1


@pytest.mark.parametrize("icnr", [True, False])
def test_generator_starts_without_checkerboard_only_with_icnr(icnr):
    model = tiny(scale=2, icnr=icnr, last_kernel=1)  # a 1x1 output convolution keeps neighbours equal
    sr, _ = model.init_with_output(KEY, images(4, 4), False)
    equal = np.allclose(sr[:, ::2, ::2], sr[:, 1::2, 1::2], atol=1e-6)
    assert equal == icnr


@pytest.mark.parametrize("output", ["none", "tanh"])
def test_bicubic_skip_starts_as_bicubic(output):
    lr = images(5, 7)
    sr, _ = tiny(skip="bicubic", output=output).init_with_output(KEY, lr, False)
    np.testing.assert_allclose(sr, 2 * upscale(lr, 4) - 1, atol=1e-6)


def test_tanh_bounds_the_output():
    lr = images(4, 4)
    variables = init(tiny(), lr)
    plain = tiny().apply(variables, lr, False)
    np.testing.assert_allclose(tiny(output="tanh").apply(variables, lr, False), jnp.tanh(plain), atol=1e-6)


@pytest.mark.parametrize(("mode", "shape"), [("shared", ()), ("channel", (3,))])
def test_prelu_starts_at_a_quarter(mode, shape):
    x = jnp.array([[-4.0, 0.0, 2.0]])
    y, variables = PReLU(mode).init_with_output(KEY, x)
    np.testing.assert_array_equal(y, [[-1.0, 0.0, 2.0]])
    assert variables["params"]["slope"].shape == shape
    assert PReLU(mode).apply(variables, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_build_follows_the_config():
    config = base_config()
    config.scale = 2
    config.dtype = "bfloat16"
    config.generator.blocks = 3
    generator = build_generator(config, axis_name="data")
    assert generator == SRResNet(scale=2, blocks=3, dtype=jnp.bfloat16, axis_name="data")
    assert build_discriminator(config) is None
    assert build_features(config) == {}

    config.discriminator.name = "srgan"
    config.discriminator.dense = 8
    config.loss.feature.weight = 1.0
    config.loss.feature.layer = "2.2"
    config.loss.lpips.weight = 1.0
    assert build_discriminator(config) == Discriminator(dense=8, dtype=jnp.bfloat16)
    expected = {"feature": VGG(layer="2.2", dtype=jnp.bfloat16), "lpips": LPIPS("vgg", dtype=jnp.bfloat16)}
    assert build_features(config) == expected


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (build_generator, "generator.name"),
        (build_discriminator, "discriminator.name"),
        (build_generator, "dtype"),
    ],
)
def test_build_names_the_field_that_is_wrong(build, field):
    config = base_config()
    config.update_from_flattened_dict({field: "nonsense"})
    with pytest.raises(UserError, match=f"config.{field}='nonsense': must be one of"):
        build(config)


def test_batchnorm_equals_flax():
    """Output, statistics and gradients, trained and not, of the same variables."""
    x = 3 + 2 * images(5, 4, batch=3)
    theirs = nn.BatchNorm(momentum=0.9, epsilon=1e-3)
    ours = BatchNorm(1e-3, jnp.float32, None)
    variables = jax.tree.map(lambda leaf: leaf + 0.3, theirs.init(KEY, x, use_running_average=False))
    assert jax.tree.structure(variables) == jax.tree.structure(ours.init(KEY, x, train=True))

    def run(network, **mode):
        def loss(variables, x):
            y, changed = network.apply(variables, x, **mode, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y)), (y, changed)

        return jax.grad(loss, (0, 1), has_aux=True)(variables, x)

    for train in (True, False):
        found, expected = run(ours, train=train), run(theirs, use_running_average=not train)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
