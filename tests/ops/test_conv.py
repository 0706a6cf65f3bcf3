"""Convolutions in the forms for CPUs: equal to the plain ones there, and nothing but those elsewhere."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from srgan_jax.ops import conv
from srgan_jax.ops.conv import convolve, shuffled_conv, transposed
from srgan_jax.ops.pixel_shuffle import pixel_shuffle

FOUR_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from srgan_jax.ops.conv import convolve, shuffled_conv

x = jax.random.normal(jax.random.key(0), (8, 6, 7, 512))
kernel = jax.random.normal(jax.random.key(1), (9, 9, 128, 3)), jax.random.normal(jax.random.key(2), (3, 3, 512, 512))
def loss(x, kernel):
    return jnp.sum(shuffled_conv(convolve(x, kernel[1]), kernel[0], 2) ** 2)
expected = jax.jit(jax.grad(loss, (0, 1)))(x, kernel)
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
everywhere, divided = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
step = jax.jit(jax.grad(loss, (0, 1)), in_shardings=(divided, everywhere), out_shardings=(divided, everywhere))
for a, b in zip(jax.tree.leaves(step(x, kernel)), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(b).max()))
text = step.lower(x, kernel).compile().as_text()
assert "all-reduce" in text and "all-gather" not in text  # only the kernels' gradients cross devices
"""


def plain(x, kernel, factor):
    pad = (kernel.shape[0] // 2,) * 2
    x = pixel_shuffle(x, factor)
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), (pad, pad), dimension_numbers=("NHWC", "HWIO", "NHWC"))


def arrays(factor, size, shape=(2, 5, 7), dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (*shape, 4 * factor**2))
    kernel = jax.random.normal(keys[1], (size, size, 4, 3)) / size
    to = jax.random.normal(keys[2], (shape[0], factor * shape[1], factor * shape[2], 3))
    return tuple(value.astype(dtype) for value in (x, kernel, to))


def assert_close(found, expected, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        b = np.asarray(b, np.float32)
        np.testing.assert_allclose(np.asarray(a, np.float32), b, atol=tolerance * np.abs(b).max())


def with_gradients(function, factor):
    def run(x, kernel, to):
        y, backward = jax.vjp(lambda x, kernel: function(x, kernel, factor), x, kernel)
        return y, *backward(to)

    return jax.jit(run)


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 3, 5, 9])
def test_value_and_gradients_equal_the_plain_form(factor, size):
    inputs = arrays(factor, size)
    assert_close(with_gradients(shuffled_conv, factor)(*inputs), with_gradients(plain, factor)(*inputs))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 9)])
def test_pictures_smaller_than_the_kernel(shape):
    inputs = arrays(2, 9, shape)
    assert_close(with_gradients(shuffled_conv, 2)(*inputs), with_gradients(plain, 2)(*inputs))


def test_bfloat16_is_no_less_exact_than_the_plain_form():
    inputs = arrays(2, 9, dtype=jnp.bfloat16)
    exact = plain(*(value.astype(jnp.float32) for value in inputs[:2]), 2)
    found = shuffled_conv(*inputs[:2], 2)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-8, atol=1e-6)
    assert_close(with_gradients(shuffled_conv, 2)(*inputs), with_gradients(plain, 2)(*inputs), 2**-6)


def strided(x, kernel, stride):
    pad = ((kernel.shape[0] - 1) // 2,) * 2
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), (pad, pad), dimension_numbers=dimensions)


def strided_arrays(stride, size, shape):
    x, kernel, _ = arrays(1, size, shape)
    to = jax.random.normal(jax.random.key(1), jax.eval_shape(lambda: strided(x, kernel, stride)).shape)
    return x, kernel, to


@pytest.mark.parametrize("shape", [(2, 8, 6), (1, 7, 9), (1, 2, 2)])
@pytest.mark.parametrize("size", [1, 3, 4, 5])
@pytest.mark.parametrize("stride", [2, 3])
def test_a_stride(stride, size, shape):
    inputs = strided_arrays(stride, size, shape)
    assert_close(with_gradients(convolve, stride)(*inputs), with_gradients(strided, stride)(*inputs))


@pytest.mark.parametrize("size", [3, 4])
def test_transposed_is_the_way_back(size):
    back, kernel, x = strided_arrays(2, size, (2, 8, 6))

    def expected(x, kernel, stride):
        return jax.linear_transpose(lambda back: strided(back, kernel, stride), back)(x)[0]

    inputs = x, kernel, back
    assert_close(with_gradients(transposed, 2)(*inputs), with_gradients(expected, 2)(*inputs))


def wide_arrays(shape=(2, 5, 8), dtype=jnp.float32):
    """As many channels as Winograd's form asks for, not as many in as out."""
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (*shape, conv.MANY))
    kernel = jax.random.normal(keys[1], (3, 3, conv.MANY, conv.MANY + 2)) / 34
    to = jax.random.normal(keys[2], (*shape, conv.MANY + 2))
    return tuple(value.astype(dtype) for value in (x, kernel, to))


def unstrided_arrays(size=3, shape=(2, 5, 8), channels=(3, 9)):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (*shape, channels[0]))
    kernel = jax.random.normal(keys[1], (size, size, *channels)) / size
    to = jax.random.normal(keys[2], jax.eval_shape(lambda: strided(x, kernel, 1)).shape)
    return x, kernel, to


@pytest.mark.parametrize("shape", [(2, 8, 6), (1, 7, 9), (1, 2, 3)])
@pytest.mark.parametrize("size", [1, 3, 4, 9])
@pytest.mark.parametrize("channels", [(conv.FEW - 1, 9), (conv.FEW, 3), (1, 1)])
def test_few_channels(channels, size, shape):
    inputs = unstrided_arrays(size, shape, channels)
    assert_close(with_gradients(convolve, 1)(*inputs), with_gradients(strided, 1)(*inputs))


@pytest.mark.parametrize("channels", [(conv.MANY, conv.MANY // 2), (conv.MANY // 2, conv.MANY)])
def test_many_channels_on_one_side(channels):
    inputs = unstrided_arrays(3, (1, 7, 9), channels)
    assert_close(with_gradients(convolve, 1)(*inputs), with_gradients(strided, 1)(*inputs))


def unit_stride(function):
    return lambda x, kernel, _: function(x, kernel, 1)


@pytest.mark.parametrize("shape", [(2, 8, 6), (1, 7, 9), (2, 1, 1), (1, 2, 3)])
def test_many_channels(shape):
    inputs = wide_arrays(shape)
    assert_close(with_gradients(convolve, 1)(*inputs), with_gradients(strided, 1)(*inputs))


def test_many_channels_of_bfloat16_are_added_up_in_float32():
    inputs = wide_arrays(dtype=jnp.bfloat16)
    exact = strided(*(value.astype(jnp.float32) for value in inputs[:2]), 1)
    found = convolve(*inputs[:2])
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-8, atol=1e-5)
    assert_close(with_gradients(convolve, 1)(*inputs), with_gradients(strided, 1)(*inputs), 2**-6)


CASES = {
    "shuffled": (shuffled_conv, plain, lambda: arrays(2, 5)),
    "strided": (convolve, strided, lambda: strided_arrays(2, 3, (2, 8, 6))),
    "few channels": (unit_stride(convolve), unit_stride(strided), unstrided_arrays),
    "many channels": (unit_stride(convolve), unit_stride(strided), wide_arrays),
}


@pytest.mark.parametrize("case", CASES)
def test_second_derivatives(case):
    function, expected, inputs = CASES[case]
    x, kernel, to = inputs()

    def penalty(function):
        def first(x, kernel):
            return jnp.sum(jnp.tanh(function(x, kernel, 2)) * to)

        return jax.jit(jax.grad(lambda x, kernel: jnp.sum(jax.grad(first)(x, kernel) ** 2), (0, 1)))(x, kernel)

    assert_close(penalty(function), penalty(expected))


def test_vmap():
    x, kernel, _ = arrays(2, 3)
    kernels = jnp.stack([kernel, 2 * kernel])
    found = jax.jit(jax.vmap(lambda kernel: shuffled_conv(x, kernel, 2)))(kernels)
    assert_close(found, jnp.stack([plain(x, kernel, 2) for kernel in kernels]))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_get_the_plain_program(platform, case):
    """Forward and backward have the convolutions of the plain form and no others."""
    function, expected, inputs = CASES[case]
    arrays = inputs()

    def convolutions(function, platform):
        text = with_gradients(function, 2).trace(*arrays).lower(lowering_platforms=(platform,)).as_text()
        return sorted(line.split("window =")[1] for line in text.splitlines() if "stablehlo.convolution" in line)

    assert convolutions(function, platform) == convolutions(expected, platform)
    assert convolutions(function, "cpu") != convolutions(expected, "cpu")


@pytest.mark.parametrize(("channels", "features"), [(3, 8), (8, 3), (128, 64)])
def test_one_exported_program_is_for_pictures_of_every_size(channels, features):
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(3, 3, channels, features)), jnp.float32)
    b, h, w = export.symbolic_shape("b, h, w")
    function = jax.jit(lambda x: convolve(x, kernel))
    program = export.export(function)(jax.ShapeDtypeStruct((b, h, w, channels), jnp.float32))
    for shape in ((1, 5, 6), (2, 1, 1)):
        x = jnp.asarray(rng.normal(size=(*shape, channels)), jnp.float32)
        assert_close(program.call(x), plain(x, kernel, 1))


def test_a_batch_divided_over_four_devices():
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", FOUR_DEVICES], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_options_are_given_where_jaxlib_knows_them(monkeypatch):
    assert conv.compiler_options() in ({}, dict([conv.CPU_OPTION]))
    monkeypatch.setattr(conv, "CPU_OPTION", ("xla_cpu_no_such_option", "1"))
    assert conv.compiler_options() == {}
    assert conv.accepted("xla_cpu_prefer_vector_width", "256") == {"xla_cpu_prefer_vector_width": "256"}
