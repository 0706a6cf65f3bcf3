"""phi against a reference in plain numpy, and the two conventions for its input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from srgan_jax.models.vgg import VGG, conv_names, preprocess
from srgan_jax.weights.vgg_file import random_vgg


@pytest.fixture(scope="module")
def params():
    params = random_vgg("vgg19", "5.4", seed=0)
    rng = np.random.default_rng(1)
    for layer in params.values():  # biases that are not zero, so that a forgotten one is noticed
        layer["bias"] = rng.standard_normal(layer["bias"].shape, dtype=np.float32)
    return params


@pytest.fixture(scope="module")
def image():
    return jax.random.uniform(jax.random.key(2), (1, 16, 16, 3), minval=-1.0)


def slow_conv(x, kernel, bias):
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)]
    return sum(shifted) + bias


def slow_pool(x):
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


@pytest.fixture(scope="module")
def slow_features(params, image):
    """{layer: (before ReLU, after ReLU)} in float64."""
    x = (np.asarray(image, np.float64)[..., ::-1] + 1) * 127.5 - [103.939, 116.779, 123.68]
    features = {}
    for name, layer in params.items():
        block, conv = name.removeprefix("block").split("_conv")
        if conv == "1" and block != "1":
            x = slow_pool(x)
        before = slow_conv(x, layer["kernel"].astype(np.float64), layer["bias"])
        x = np.maximum(before, 0)
        features[f"{block}.{conv}"] = (before, x)
    return features


@pytest.mark.parametrize("layer", ["1.1", "1.2", "2.1", "2.2", "3.4", "4.4", "5.4"])
@pytest.mark.parametrize("after_relu", [True, False])
def test_layers_equal_the_reference(params, image, slow_features, layer, after_relu):
    phi = VGG(layer=layer, after_relu=after_relu)
    needed = {name: params[name] for name in conv_names("vgg19", layer)}
    features = phi.apply({"params": needed}, image)
    expected = slow_features[layer][after_relu]
    assert features.dtype == jnp.float32
    np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())


def test_parameters_stop_at_the_layer():
    variables = jax.eval_shape(lambda: VGG(layer="2.1").init(jax.random.key(0), jnp.zeros((1, 8, 8, 3))))
    assert list(variables["params"]) == ["block1_conv1", "block1_conv2", "block2_conv1"]
    assert conv_names("vgg19", "2.1") == ["block1_conv1", "block1_conv2", "block2_conv1"]
    assert (len(conv_names("vgg16", "5.3")), len(conv_names("vgg19", "5.4"))) == (13, 16)


def test_input_conventions():
    red = jnp.array([[[[1.0, -1.0, 0.0]]]])
    caffe = preprocess(red, "caffe")[0, 0, 0]  # blue, green, red
    np.testing.assert_allclose(caffe, [127.5 - 103.939, -116.779, 255 - 123.68], rtol=1e-6)
    torchvision = preprocess(red, "torchvision")[0, 0, 0]
    np.testing.assert_allclose(torchvision, [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.5 - 0.406) / 0.225], rtol=1e-6)


def test_bfloat16_gives_float32_near_the_exact_features(params, image):
    needed = {name: params[name] for name in conv_names("vgg19", "2.2")}
    exact = VGG(layer="2.2").apply({"params": needed}, image)
    features = VGG(layer="2.2", dtype=jnp.bfloat16).apply({"params": needed}, image)
    assert features.dtype == jnp.float32
    assert 0 < jnp.abs(features - exact).max() < 0.05 * exact.max()


def test_gradient_reaches_the_image_and_not_the_parameters(params, image):
    needed = {name: params[name] for name in conv_names("vgg19", "1.2")}

    def loss(weights, x):
        return jnp.mean(VGG(layer="1.2").apply({"params": weights}, x) ** 2)

    to_weights, to_image = jax.grad(loss, argnums=(0, 1))(needed, image)
    assert all(not jnp.any(leaf) for leaf in jax.tree.leaves(to_weights))
    assert jnp.all(jnp.isfinite(to_image)) and jnp.any(to_image)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layer": "3.5"}, "layer is '3.5'; choose one of '1.1', '1.2', .*'5.4'"),
        ({"network": "vgg16", "layer": "5.4"}, "layer is '5.4'; choose one of .*'5.3'"),
        ({"network": "vgg11"}, "network is 'vgg11'; choose one of 'vgg16', 'vgg19'"),
        ({"origin": "keras"}, "origin is 'keras'; choose one of 'caffe', 'torchvision'"),
    ],
)
def test_unknown_values_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        VGG(**fields)


def test_images_that_pooling_would_empty_are_refused():
    with pytest.raises(ValueError, match="needs images of 16x16 pixels or more"):
        jax.eval_shape(lambda: VGG().init(jax.random.key(0), jnp.zeros((1, 15, 40, 3))))
