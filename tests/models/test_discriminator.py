"""The discriminator: size, shapes, types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from compiled import applied

from benchmarks.torch_peer import discriminator_from
from srgan_jax.models.discriminator import Discriminator
from srgan_jax.models.layers import Conv

KEY = jax.random.key(0, impl="rbg")  # compiles three times as fast as the default


def tiny(**fields):
    return Discriminator(**({"features": 2, "dense": 4} | fields))


def init(model, x):
    return jax.jit(lambda: model.init(KEY, x, False))()


def apply(model, variables, x, train):
    return jax.jit(lambda v, x: model.apply(v, x, train, mutable=["batch_stats"])[0])(variables, x)


def images(size, batch=3):
    return jax.random.uniform(jax.random.key(1), (batch, size, size, 3), minval=-1.0)


@pytest.mark.parametrize(
    ("fields", "side", "count"), [({}, 96, 23_565_505), ({}, 192, 80_188_609), ({"stages": 5}, 192, 28_287_169)]
)
def test_parameter_count(fields, side, count):
    """The paper's size, and those that docs/training.md has."""
    model = Discriminator(**fields)
    variables = jax.eval_shape(lambda: model.init(KEY, jnp.zeros((1, side, side, 3)), False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
    assert "norm_0" not in variables["params"]


@pytest.mark.parametrize(("stages", "side", "widths"), [(1, 32, "11"), (4, 96, "11224488"), (5, 192, "1122448888")])
def test_stages_halve_the_image(stages, side, widths):
    """So that at twice the side one more leaves the dense layer as it was."""
    model = tiny(stages=stages)
    params = jax.eval_shape(lambda: model.init(KEY, jnp.zeros((1, side, side, 3)), False))["params"]
    assert [params[f"conv_{i}"]["kernel"].shape[-1] // 2 for i in range(2 * stages)] == [int(width) for width in widths]
    assert f"conv_{2 * stages}" not in params
    assert params["dense"]["kernel"].shape == ((side // 2**stages) ** 2 * 2 * int(widths[-1]), 4)


@pytest.mark.parametrize("size", [16, 24, 33])
def test_one_logit_per_image(size):
    model = tiny()
    logits, _ = jax.eval_shape(lambda: model.init_with_output(KEY, jnp.zeros((3, size, size, 3)), True))
    assert (logits.shape, logits.dtype) == ((3,), jnp.float32)


@pytest.mark.parametrize("stages", [1, 4, 5])
def test_it_is_the_one_in_torch(stages):
    model, x = tiny(stages=stages), images(32)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: leaf + rng.uniform(0, 0.2, leaf.shape).astype(np.float32), init(model, x))
    with torch.no_grad():
        theirs = discriminator_from(variables, 32).eval()(torch.from_numpy(np.array(x.transpose(0, 3, 1, 2))))
    np.testing.assert_allclose(applied(model, variables, x), theirs, rtol=1e-4)
    assert np.ptp(theirs.numpy()) > 1e-3


def test_another_size_than_at_initialisation_is_refused():
    variables = jax.eval_shape(lambda: tiny().init(KEY, jnp.zeros((1, 16, 16, 3)), False))
    with pytest.raises(Exception, match="shape"):
        jax.eval_shape(lambda v: tiny().apply(v, jnp.zeros((1, 32, 32, 3)), False), variables)


def test_strided_convolution_pads_both_sides():
    # The first window of a padded row 0 1 2 3 4 5 is (pad, 0, 1); SAME would make it (0, 1, 2).
    x = jnp.arange(6.0).reshape(1, 1, 6, 1)
    layer = Conv(1, 3, stride=2, name="conv", kernel_init=jax.nn.initializers.ones)
    y, _ = layer.init_with_output(KEY, x)
    np.testing.assert_array_equal(y[0, 0, :, 0], [1.0, 6.0, 12.0])


def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32():
    model = tiny(dtype=jnp.bfloat16)
    x = jax.ShapeDtypeStruct((3, 16, 16, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(KEY, x, False), x)
    logits, updated = jax.eval_shape(lambda v, x: model.apply(v, x, True, mutable=["batch_stats"]), variables, x)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, updated))} == {jnp.dtype(jnp.float32)}


def test_inference_uses_running_statistics():
    x = images(16)
    variables = init(tiny(), x)
    logits, trained = apply(tiny(), variables, x, False), apply(tiny(), variables, x, True)
    np.testing.assert_allclose(apply(tiny(), variables, x[:1], False), logits[:1], atol=1e-5)
    assert not np.allclose(trained, logits)


def test_norm_none_has_no_statistics_and_other_norms_are_refused():
    assert set(init(tiny(norm="none"), images(16))) == {"params"}
    with pytest.raises(ValueError, match="norm is 'spectral'; choose one of 'batch', 'instance', 'none'"):
        tiny(norm="spectral")
