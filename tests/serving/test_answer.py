"""What the server makes of a file, without the server: every kind of picture, and one sentence for all others."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from small_weights import small_weights

from srgan_jax.inference.image_reader import open_picture
from srgan_jax.inference.image_writer import write_picture
from srgan_jax.library import load, upscale
from srgan_jax.serving.answer import SHOWN, Limits, Refused, answer

LIMITS = Limits(upload=10**6, input_pixels=300 * 300, output_pixels=1200 * 1200, queue=1, seconds=60)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors", "small"))


def read(path) -> np.ndarray:
    picture = open_picture(path)
    return picture.rows(0, picture.height)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_depth_and_channels_stay_what_they_are(tmp_path, model, dtype, channels):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (6, 9, channels), dtype, endpoint=True)
    write_picture(tmp_path / "a.png", [image], height=6, width=9)
    parts: list[float] = []
    made = answer(tmp_path / "a.png", model, LIMITS, tmp_path, parts.append)
    assert made.said == "9x6 to 36x24 by small." and parts == [1]
    assert made.result.name == "a_x4.png" and made.result.parent.parent == tmp_path / "made"
    result = read(made.result)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, upscale(image, model))
    for path in made[:2]:
        assert read(path).shape == result.shape


def test_hidden_colours_bleed_into_neither_picture(tmp_path):
    """White cut out before red that nobody sees, by bicubic and by the built-in network."""
    image = np.full((12, 12, 4), 255, np.uint8)
    image[:, 6:] = 255, 0, 0, 0
    write_picture(tmp_path / "a.png", [image], height=12, width=12)
    made = answer(tmp_path / "a.png", load(), LIMITS, tmp_path, lambda part: None)
    for path in made[:2]:
        seen = read(path).astype(int)
        assert (seen[..., 1] * seen[..., 3] + 255 * (255 - seen[..., 3])).min() > 0.85 * 255 * 255


def test_of_a_large_result_the_slider_shows_the_middle(tmp_path, model):
    image = np.random.default_rng(0).integers(0, 256, (20, SHOWN // 4 + 9, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "wide.png")
    made = answer(tmp_path / "wide.png", model, LIMITS, tmp_path, lambda part: None)
    whole, network, bicubic = (read(path) for path in (made.result, made.network, made.bicubic))
    assert whole.shape == (80, SHOWN + 36, 3) and network.shape == bicubic.shape == (80, SHOWN, 3)
    np.testing.assert_array_equal(network, whole[:, 16 : 16 + SHOWN])
    assert np.abs(bicubic[2::4, 2::4].astype(int) - image[:, 4 : 4 + SHOWN // 4]).mean() < 40
    assert "the download is whole" in made.said


def test_a_photograph_is_turned_upright(tmp_path, model):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.jpg", exif=exif)
    made = answer(tmp_path / "a.jpg", model, LIMITS, tmp_path, lambda part: None)
    assert made.said.startswith("20x30 to 80x120")
    with Image.open(made.result) as result:
        assert result.size == (80, 120) and result.getexif().get(0x0112, 1) == 1


def bad_file(folder, kind: str):
    path = folder / "bad.png"
    rng = np.random.default_rng(0)
    if kind == "animation":
        frames = [Image.fromarray(rng.integers(0, 256, (20, 20), np.uint8)) for _ in range(3)]
        frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])
    elif kind == "too many pixels":
        Image.new("1", (301, 300)).save(path)
    elif kind == "too many bytes":
        path.write_bytes(rng.bytes(LIMITS.upload + 1))
    elif kind == "truncated":
        Image.fromarray(rng.integers(0, 256, (90, 90, 3), np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:9000])
    elif kind == "link":
        path.symlink_to(folder)
    else:
        path.write_bytes({"empty": b"", "text": b"<html>", "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("animation", "an animation"),
        ("too many pixels", "301x300 is more than the 90000 pixels allowed"),
        ("too many bytes", "larger than the 1 MB"),
        ("truncated", "cannot be used"),
        ("link", "not a regular file"),
        ("empty", "not an image"),
        ("text", "not an image"),
        ("svg", "not an image"),
    ],
)
def test_what_cannot_be_enlarged_is_answered_by_one_sentence(tmp_path, model, kind, part):
    path = bad_file(tmp_path, kind)
    sentence = refusal(path, model, LIMITS, tmp_path)
    assert part in sentence and [each.name for each in tmp_path.rglob("*")] == [path.name]


def refusal(path, model, limits, folder) -> str:
    with pytest.raises(Refused) as refused:
        answer(path, model, limits, folder, lambda part: None)
    sentence = str(refused.value)
    assert sentence.endswith(".") and sentence[0].isupper() and "\n" not in sentence and str(folder) not in sentence
    return sentence


def test_pixels_of_the_output_and_seconds_are_limited(tmp_path, model):
    Image.new("L", (300, 200)).save(tmp_path / "a.png")
    small = dataclasses.replace(LIMITS, output_pixels=1200 * 800 - 1)
    assert "300x200 is more than the 59999 pixels allowed" in refusal(tmp_path / "a.png", model, small, tmp_path)
    fast = dataclasses.replace(LIMITS, seconds=1e-6)
    parts: list[float] = []
    with pytest.raises(Refused, match="takes longer than the 1e-06 s"):
        answer(tmp_path / "a.png", model, fast, tmp_path, parts.append)
    assert parts == [] and [each.name for each in tmp_path.rglob("*")] == ["a.png"], "cut after the first tile"


def test_a_fault_of_ours_is_not_shown(tmp_path, model, caplog):
    Image.new("L", (30, 20)).save(tmp_path / "a.png")
    broken = model._replace(network=None)
    assert "not with your picture" in refusal(tmp_path / "a.png", broken, LIMITS, tmp_path)
