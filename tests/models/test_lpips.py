"""LPIPS against PyPI's lpips (torch) on photographs, its gradient, and the published figure of Set5."""

import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch_networks import import_torchvision

import srgan_jax
from srgan_jax.data.images import list_images, read_image
from srgan_jax.errors import UserError
from srgan_jax.inference.lpips import LPIPS_CONVENTION, make_lpips
from srgan_jax.inference.pictures import centre
from srgan_jax.models.lpips import LPIPS, SMALLEST, TRUNKS, unit_length
from srgan_jax.ops.bicubic import imresize
from srgan_jax.weights.lpips_file import load_lpips

SAMPLES = list_images(Path(srgan_jax.__file__).parent / "data/samples")
SIZES = [(64, 64), (96, 64), (80, 128), (101, 77), (128, 120)]


@pytest.fixture(scope="module", params=["alex", "vgg"])
def weights(request, lpips_files):
    return load_lpips(lpips_files[request.param], "lpips")


@pytest.fixture(scope="module")
def pairs():
    """For each size a batch of one photograph four times, and of four ways to spoil it; float32 in [-1, 1]."""
    rng = np.random.default_rng(0)
    batches = []
    for (height, width), path in zip(SIZES, SAMPLES, strict=False):
        picture = centre(read_image(path), 131)[: height + 3, : width + 3]
        hr = picture[:height, :width]
        bicubic = imresize(imresize(hr, scale=1 / 4), scale=4)[:height, :width]
        noisy = np.clip(hr + rng.normal(0, 20, hr.shape), 0, 255)
        blurred = sum(picture[i : i + height, j : j + width].astype(float) for i in range(3) for j in range(3)) / 9
        shifted = picture[3:, 3:]
        spoilt = np.stack([bicubic, noisy, blurred, shifted])
        batches.append([(x / 127.5 - 1).astype(np.float32) for x in (np.stack([hr] * 4), spoilt)])
    return batches


def original(weights):
    """The lpips package's network with the same trunk; the heads are those that it brings along."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchvision's old arguments
        import_torchvision()
        import lpips

        network = lpips.LPIPS(net=weights.network, pnet_rand=True, verbose=False)
    convs = [module for module in network.net.modules() if isinstance(module, torch.nn.Conv2d)]
    with torch.no_grad():
        for conv, layer in zip(convs, TRUNKS[weights.network], strict=True):
            conv.weight.copy_(torch.from_numpy(weights.params[layer.name]["kernel"].transpose(3, 2, 0, 1).copy()))
            conv.bias.copy_(torch.from_numpy(weights.params[layer.name]["bias"]))
    return network


def nchw(batch):
    return torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))


@pytest.mark.slow
def test_equals_the_original_on_20_pairs(weights, pairs):
    theirs = original(weights)
    ours = jax.jit(lambda params, a, b: LPIPS(weights.network).apply({"params": params}, a, b))
    count = 0
    for a, b in pairs:
        with torch.no_grad():
            expected = theirs(nchw(a), nchw(b)).numpy().reshape(-1)
        assert expected.min() > 0.01
        np.testing.assert_allclose(ours(weights.params, a, b), expected, atol=1e-4)
        count += len(expected)
    assert count == 20


@pytest.mark.slow
def test_gradient_is_the_originals_and_zero_for_equal_pictures(weights, pairs):
    a, b = (batch[:1] for batch in pairs[0])
    black = np.full_like(a, -1)

    @jax.jit
    @jax.value_and_grad
    def total(x, y):
        return jnp.sum(LPIPS(weights.network).apply({"params": weights.params}, x, y))

    different, gradient = total(np.concatenate([a, a, black]), np.concatenate([b, a, black]))
    x = nchw(a).requires_grad_()
    expected = original(weights)(x, nchw(b))
    expected.sum().backward()
    theirs = x.grad.numpy().transpose(0, 2, 3, 1)
    assert different == pytest.approx(expected.item(), abs=1e-4)
    # rounding decides on which side of a kink of ReLU and pooling a value is
    assert np.linalg.norm(gradient[:1] - theirs) < 0.02 * np.linalg.norm(theirs)
    assert np.abs(gradient[1:]).max() < 1e-6


@pytest.mark.parametrize(("dtype", "close", "gradients"), [(jnp.float32, 1e-4, 1e-3), (jnp.bfloat16, 0.03, 0.5)])
def test_as_a_loss_it_is_the_measure_in_another_form(weights, pairs, dtype, close, gradients):
    """By the convolutions that training is fast with. In bfloat16 values often land on another side of a kink."""
    b, a = pairs[1]

    def total(network, params):
        # params are no constants of the program, which XLA would work on while it compiles
        loss = jax.value_and_grad(lambda x, params: jnp.sum(network.apply({"params": params}, x, a)))
        return jax.jit(loss)(b, params)

    expected, gradient = total(LPIPS(weights.network), weights.params)
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), weights.params)
    loss, as_loss = total(LPIPS(weights.network, dtype=dtype), params)
    assert loss.dtype == as_loss.dtype == jnp.float32
    assert loss == pytest.approx(float(expected), rel=close)
    off = jnp.linalg.norm(jnp.ravel(as_loss - gradient)) / jnp.linalg.norm(jnp.ravel(gradient))
    assert off < gradients


def test_features_that_are_all_zero_have_a_finite_gradient():
    x = jnp.zeros((1, 2, 2, 4)).at[0, 0, 0].set(jnp.array([3.0, 0, 4, 0]))
    np.testing.assert_allclose(unit_length(x)[0, 0], [[0.6, 0, 0.8, 0], [0, 0, 0, 0]], rtol=1e-6)
    gradient = jax.grad(lambda x: jnp.sum(unit_length(x)))(x)
    assert jnp.all(jnp.isfinite(gradient))


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_the_smallest_picture(network):
    side = SMALLEST[network]
    lpips = LPIPS(network)
    init = lambda height, width: jax.eval_shape(lpips.init, jax.random.key(0), *[jnp.zeros((1, height, width, 3))] * 2)  # noqa: E731
    assert init(side, side)
    for size in [(side - 1, 64), (64, side - 1)]:
        with pytest.raises(ValueError, match=f"LPIPS of {network} needs pictures of {side}x{side} pixels or more"):
            init(*size)
    with pytest.raises(ValueError, match="differ in shape"):
        lpips.apply({}, jnp.zeros((1, 64, 64, 3)), jnp.zeros((1, 64, 65, 3)))


def test_unknown_networks_are_refused():
    with pytest.raises(ValueError, match="network is 'squeeze'; choose one of 'alex', 'vgg'"):
        LPIPS("squeeze")


def test_the_measure_of_files(lpips_files, pairs):
    measure, weights = make_lpips(lpips_files["alex"], "--lpips"), load_lpips(lpips_files["alex"], "--lpips")
    assert measure.name == "lpips_alex"
    assert measure.convention == f"{LPIPS_CONVENTION}; weights {weights.digest}"
    sr, hr = (np.rint((batch[0] + 1) * 127.5).astype(np.uint8) for batch in reversed(pairs[0]))
    expected = LPIPS("alex").apply({"params": weights.params}, *(x[None] / 127.5 - 1 for x in (sr, hr)))
    assert measure(sr, hr) == pytest.approx(float(expected[0]), abs=1e-6)
    with pytest.raises(UserError) as caught:
        measure(sr[:30], hr[:30])
    assert str(lpips_files["alex"]) in str(caught.value) and "64x30 is too small" in str(caught.value)


@pytest.mark.parametrize(
    ("network", "expected"), [("alex", 0.3398), pytest.param("vgg", 0.2796, marks=pytest.mark.slow)]
)
def test_bicubic_on_set5(lpips_files, data_dir, network, expected):
    measure = make_lpips(lpips_files[network], "--lpips")
    figures = []
    for path in list_images(data_dir / "set5/HR"):
        lr = read_image(data_dir / "set5/LRx4" / path.name)
        figures.append(measure(imresize(lr, scale=4), read_image(path)))
    assert len(figures) == 5
    assert np.mean(figures) == pytest.approx(expected, abs=1e-3)
