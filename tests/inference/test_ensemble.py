"""Self-ensemble: the mean over the eight symmetries of a square, in tiles and whole, by every way to ask for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import applied, initialised

from srgan_jax.inference.enlarge import make_enlarger
from srgan_jax.inference.ensemble import EIGHT, averaged, deepened, ensembled, returned, turned
from srgan_jax.inference.upscale import make_upscale
from srgan_jax.models.msrresnet import MSRResNet
from srgan_jax.models.srresnet import SRResNet


@pytest.fixture(scope="module", params=["SRResNet", "MSRResNet"])
def trained(request):
    """Far from the start, and from any symmetry."""
    network = {
        "SRResNet": SRResNet(blocks=1, features=8, norm="none", skip="bicubic", scale=3, last_kernel=3),
        "MSRResNet": MSRResNet(blocks=1, features=8),
    }[request.param]
    rng = np.random.default_rng(0)
    variables = initialised(network, jnp.zeros((1, 8, 8, 3)))
    return network, jax.tree.map(lambda x: x + rng.uniform(-0.05, 0.05, x.shape).astype(np.float32), variables)


def picture(height, width, channels=3, dtype=np.float32):
    levels = np.random.default_rng(0).uniform(size=(height, width, channels))
    return (levels * (np.iinfo(dtype).max if dtype != np.float32 else 1)).astype(dtype)


def expected(network, variables, image):
    """By numpy's flips and transposes of whole pictures, in float32."""
    total = np.zeros(1)
    for axes in ((), (0,), (1,), (0, 1)):
        for transposed in (False, True):
            x = np.flip(image, axes)
            x = x.swapaxes(0, 1) if transposed else x
            sr = np.clip((applied(network, variables, jnp.asarray(x)[None])[0] + 1) / 2, 0, 1)
            total = total + np.flip(sr.swapaxes(0, 1) if transposed else sr, axes)
    return total / 8


def enlarged(network, variables, image, **settings):
    counted = []
    enlarger = make_enlarger(network, variables, ensemble=True, **settings)
    bands = enlarger.bands(lambda top, bottom: image[top:bottom], image.shape[:2], None, lambda *n: counted.append(n))
    large = np.concatenate(list(bands))
    assert [done for done, _ in counted] == list(range(1, len(counted) + 1)) and counted[-1][0] == counted[-1][1]
    return large


def test_ways_are_eight_and_can_be_undone():
    image = picture(5, 7)
    ways = [turned(image, way) for way in EIGHT]
    assert len({(way.shape, way.tobytes()) for way in ways}) == 8
    for way, each in zip(EIGHT, ways, strict=True):
        np.testing.assert_array_equal(returned(each, way), image)


@pytest.mark.parametrize(("tile", "batch"), [(0, 1), (40, 1), (40, 3)])
def test_tiles_are_the_mean_over_whole_pictures(trained, tile, batch):
    network, variables = trained
    image = picture(45, 61)
    by_hand = expected(network, variables, image)
    once = np.clip((applied(network, variables, jnp.asarray(image)[None])[0] + 1) / 2, 0, 1)
    assert np.abs(once - by_hand).max() > 1e-3  # the network is not symmetric by itself
    large = enlarged(network, variables, image, tile=tile, batch=batch)
    assert large.dtype == np.float32
    np.testing.assert_allclose(large, by_hand, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_levels_are_rounded_once_and_for_evaluation_too(trained, dtype):
    network, variables = trained
    image, top = picture(20, 30, dtype=dtype), np.iinfo(dtype).max
    by_hand = expected(network, variables, (image / top).astype(np.float32)) * top
    for large in (
        enlarged(network, variables, image, tile=0),
        ensembled(make_upscale(network))(variables, image),
    ):
        assert large.dtype == dtype
        np.testing.assert_allclose(large, by_hand, atol=0.51 if dtype == np.uint8 else 1.5)


def test_alpha_stays_what_it_is_all_over(trained):
    network, variables = trained
    image = picture(12, 40, 4, np.uint8)
    image[:, :20, 3], image[:, 20:, 3] = 255, 0
    large, edge = enlarged(network, variables, image, tile=0), 20 * network.scale
    assert (large[:, : edge - 8, 3] == 255).all() and (large[:, edge + 8 :] == 0).all()
    opaque = enlarged(network, variables, image[..., :3], tile=0)
    np.testing.assert_array_equal(large[:, :8, :3], opaque[:, :8])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_what_is_clear_in_some_of_the_eight_takes_no_colour_from_the_others(dtype):
    top = 255 if dtype == np.uint8 else 1
    alphas = (0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1)
    parts = [np.array([[[top * (alpha > 0), top * alpha]]], np.float32).round(4).astype(dtype) for alpha in alphas]
    ((_, both),) = averaged(((None, way, deepened(part)) for way, part in enumerate(parts)), dtype)
    assert both[0, 0, 0] == top  # white stays white
    assert both[0, 0, 1] == pytest.approx(0.375 * top, abs=0.51 if dtype == np.uint8 else 1e-6)
