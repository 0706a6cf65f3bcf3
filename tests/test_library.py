"""What programs use: load and upscale."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from running import ROOT
from small_weights import small_weights

import srgan_jax
from srgan_jax.errors import UserError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return srgan_jax.load(small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors"))


def picture(*shape, dtype=np.uint8):
    levels = np.random.default_rng(0).uniform(size=shape)
    return (levels * (np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1)).astype(dtype)


@pytest.mark.parametrize("shape", [(10, 12), (10, 12, 1), (10, 12, 2), (10, 12, 3), (1, 1, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_same_kind_of_picture_comes_back(model, shape, dtype):
    large = srgan_jax.upscale(picture(*shape, dtype=dtype), model)
    assert large.shape == (4 * shape[0], 4 * shape[1], *shape[2:]) and large.dtype == dtype
    assert isinstance(large, np.ndarray) and large.max() <= (1 if dtype == np.float32 else np.iinfo(dtype).max)


def test_apply_is_pure_and_equals_upscale(model):
    assert model.scale == 4 and model.name == "small"
    image = picture(16, 9, 3, dtype=np.float32)
    sr = jax.jit(model.apply)(model.variables, image[None])
    assert sr.shape == (1, 64, 36, 3) and sr.dtype == jnp.float32 and 0 <= sr.min() < sr.max() <= 1
    np.testing.assert_allclose(srgan_jax.upscale(image, model), sr[0], atol=1e-5)
    gradient = jax.grad(lambda lr: model.apply(model.variables, lr).sum())(jnp.asarray(image[None]))
    assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("scale", [1, 3.3])
def test_other_factors_and_tiles(model, scale):
    image, done = picture(40, 41, 3, dtype=np.float32), []
    large = srgan_jax.upscale(image, model, scale=scale, tile=24, progress=lambda *state: done.append(state))
    assert large.shape == (40 * scale, np.ceil(41 * scale), 3) and 0 <= large.min() < large.max() <= 1
    assert done[-1][0] == done[-1][1] == len(done) > 4
    np.testing.assert_allclose(large, srgan_jax.upscale(image, model, scale=scale), atol=2e-5)


@pytest.mark.parametrize("scale", [None, 2.5, 0.5])
@pytest.mark.parametrize("level", [1, 0.5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_what_is_cut_out_gets_no_rim(scale, dtype, level):
    """One colour with a hard edge of alpha stays that colour, and is opaque and clear where it was all around."""
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    down, across = np.mgrid[:40, :40] - 20
    image = np.zeros((40, 40, 4), dtype)
    image[..., :3], image[..., 3] = top * level, (down**2 + across**2 < 150) * top
    image[5, 5, :3] = 0  # hidden
    large = srgan_jax.upscale(image, scale=scale) / top
    colour, alpha = large[..., :3], large[..., 3:]
    assert np.abs(colour - level)[alpha[..., 0] > 0.02].max() < 0.03
    middle, corner = large.shape[0] // 2, large.shape[0] // 20
    assert large[middle, middle, 3] == 1 and (large[:corner] == 0).all()


def test_progress_can_end_it(model):
    def stop(done, total):
        raise TimeoutError

    with pytest.raises(TimeoutError):
        srgan_jax.upscale(picture(40, 40, 3), model, tile=24, progress=stop)


@pytest.mark.parametrize(
    ("image", "options", "part"),
    [
        (np.zeros((3, 3, 5), np.uint8), {}, "shape"),
        (np.zeros((0, 3, 3), np.uint8), {}, "shape"),
        (np.zeros(3, np.uint8), {}, "shape"),
        (np.zeros((3, 3), np.float64), {}, "float64"),
        (np.zeros((3, 3), bool), {}, "bool"),
        (np.full((3, 3), 255, np.float32), {}, "float32 from 255 to 255; give"),
        (np.full((3, 3), np.nan, np.float32), {}, "float32 from nan"),
        (Image.new("P", (3, 3)), {}, "give an array, such as np.asarray"),
        (np.zeros((3, 3), np.uint8), {"scale": 0}, "scale=0"),
        (np.zeros((3, 3), np.uint8), {"scale": 100}, "scale=100"),
        (np.zeros((3, 3), np.uint8), {"scale": "4"}, "scale='4': give a factor"),
        (np.zeros((3, 3), np.uint8), {"tile": 3}, "tile=3"),
    ],
)
def test_what_cannot_be_enlarged(model, image, options, part):
    with pytest.raises(UserError, match=part):
        srgan_jax.upscale(image, model, **options)


@pytest.mark.parametrize("weights", ["no-such", 5])
def test_weights_that_are_not_there(weights):
    with pytest.raises(UserError, match=f"weights={weights}: "):
        srgan_jax.upscale(np.zeros((3, 3), np.uint8), weights)


@pytest.mark.parametrize("which", ["newest", "-1", 7])
def test_checkpoints_that_are_not_there(tiny_run, which):
    with pytest.raises(UserError, match=f"which={which}: give best|no checkpoint of step {which}; there are 2"):
        srgan_jax.load(tiny_run, which)


def test_a_run_is_read_without_a_word(tiny_run):
    script = f"import srgan_jax; print(srgan_jax.load({str(tiny_run)!r}, 'latest').scale)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")


def test_the_package_names_what_it_has():
    with pytest.raises(AttributeError, match="no attribute 'upscal'"):
        srgan_jax.upscal  # noqa: B018
