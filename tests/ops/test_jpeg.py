"""JPEG in-graph beside Pillow's, which is libjpeg; and as what the generator sees is drawn from it."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import tiny
from srgan_jax.data import prepare
from srgan_jax.data.images import read_image
from srgan_jax.data.prepare import compress, split
from srgan_jax.data.sources import SAMPLES
from srgan_jax.ops.bicubic import imresize
from srgan_jax.ops.jpeg import jpeg
from srgan_jax.training.steps import make_crops

PHOTOGRAPH = read_image(SAMPLES / "validation" / "coffee.avif")[100:196, 200:328]
ours, drawn = jax.jit(jpeg), jax.jit(compress, static_argnums=1)


def pillows(image: np.ndarray, quality: int) -> np.ndarray:
    kept = io.BytesIO()
    Image.fromarray(image).save(kept, "JPEG", quality=quality)
    return np.asarray(Image.open(kept)).astype(np.float32)


def mean_distance(a, b):
    return np.abs(np.asarray(a) - b).mean()


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 95, 100])
def test_a_photographs_levels_are_nearly_libjpegs(quality):
    theirs = pillows(PHOTOGRAPH, quality)
    assert mean_distance(ours(jnp.float32(PHOTOGRAPH), quality), theirs) < min(
        0.5, mean_distance(PHOTOGRAPH, theirs) / 4
    )


@pytest.mark.parametrize("quality", [10, 75, 100])
def test_levels_of_noise_are_nearly_libjpegs(quality):
    """Where every wave is large, a wrong table or rule shows most; here the loss is 46 levels and more."""
    noise = np.random.default_rng(0).integers(0, 256, PHOTOGRAPH.shape, np.uint8)
    assert mean_distance(ours(jnp.float32(noise), quality), pillows(noise, quality)) < 1.2


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_flat_areas_are_libjpegs(quality):
    """Whose levels often lie half-way: between two of colour, and between two multiples of a step."""
    levels = np.random.default_rng(0).integers(0, 256, (6, 8, 3))
    levels[:3, :, 0] = levels[:3, :, 1]
    image = levels.astype(np.uint8).repeat(16, 0).repeat(16, 1)
    assert mean_distance(ours(jnp.float32(image), quality), pillows(image, quality)) < 0.01


def test_a_picture_may_begin_anywhere_in_the_grid_and_have_any_size():
    image = PHOTOGRAPH[:45, :31]
    continued = np.pad(image, ((5, 14), (11, 6), (0, 0)), mode="edge")
    theirs = pillows(continued, 60)[5:50, 11:42]
    assert mean_distance(ours(jnp.float32(image), 60, jnp.array([5, 11])), theirs) < 0.5
    assert mean_distance(ours(jnp.float32(image), 60), theirs) > 1


def test_quality_and_place_in_the_grid_are_drawn_by_key_and_position():
    images = jnp.broadcast_to(jnp.float32(PHOTOGRAPH[:24, :24]) / 255, (12, 24, 24, 3))
    position, key = jnp.arange(12), jax.random.key(0)
    saved = np.asarray(drawn(images, (30, 90), position, key))
    assert len({image.tobytes() for image in saved}) == 12
    np.testing.assert_array_equal(drawn(images[6:], (30, 90), position[6:], key), saved[6:])
    assert not np.array_equal(drawn(images, (30, 90), position, jax.random.key(1)), saved)
    of_one = np.asarray(drawn(images, (5, 5), position, key))
    low, high = (mean_distance(x, images) for x in (of_one, saved))
    assert low > 2 * high > 0


def test_every_quality_and_place_in_the_grid_is_drawn(monkeypatch):
    monkeypatch.setattr(prepare, "jpeg", lambda _, quality, corner: jnp.float32([quality, *corner]).reshape(1, 1, 3))
    out = drawn(jnp.zeros((200, 1, 1, 3)), (3, 4), jnp.arange(200), jax.random.key(0))
    quality, *corners = np.rint(np.asarray(out) * 255).reshape(-1, 3).T
    assert set(quality) == {3, 4} and all(set(corner) == set(range(16)) for corner in corners)


def test_the_update_and_validation_see_it():
    config = tiny.get_config()
    batch = {"hr": jnp.asarray(PHOTOGRAPH[None, None, :16, :16]).repeat(4, 1), "position": jnp.arange(4)}
    seen = {}
    for quality in ((), (20, 20)):
        config.data.jpeg = quality
        seen[quality] = jax.jit(lambda batch: make_crops(config, batch, 0, jax.random.key(0)))(batch)  # noqa: B023
    plain, saved = seen.values()
    np.testing.assert_array_equal(plain.hr, saved.hr)
    assert mean_distance(plain.lr * 255, saved.lr * 255) > 2
    lr, hr = split(PHOTOGRAPH, scale=4, data=config.data)
    small = imresize(PHOTOGRAPH, scale=0.25)
    np.testing.assert_array_equal(hr, PHOTOGRAPH)
    assert mean_distance(small.astype(float), lr) > 2
    config.data.jpeg = (20, 90)
    several = [split(PHOTOGRAPH, scale=4, data=config.data, position=i)[0] for i in (0, 1, 1)]
    assert not np.array_equal(*several[:2])
    np.testing.assert_array_equal(*several[1:])
