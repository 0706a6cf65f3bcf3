"""What `srgan compare` puts into its page: colours as the pictures have them."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image, ImageCms
from running import refusal
from small_weights import small_weights

from srgan_jax.__main__ import main

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def compared(arguments, page):
    """The pictures in the page."""
    assert main(["compare", *map(str, arguments), "-o", str(page)]) == 0
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', page.read_text())
    return [Image.open(io.BytesIO(base64.b64decode(source))) for source in sources]


def test_each_picture_keeps_its_profile_and_versions_have_the_photographs(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png", icc_profile=ICC)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "b.png")
    pictures = compared([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "files.html")
    assert [each.info.get("icc_profile") for each in pictures] == [ICC, None]
    weights = small_weights(tmp_path / "small.safetensors")
    pictures = compared(["-i", tmp_path / "a.png", weights], tmp_path / "made.html")
    assert [each.info.get("icc_profile") for each in pictures] == [ICC, ICC]


def test_hidden_colours_do_not_bleed_by_bicubic(tmp_path):
    image = np.full((12, 12, 4), 255, np.uint8)
    image[:, 6:] = 255, 0, 0, 0
    Image.fromarray(image).save(tmp_path / "a.png")
    weights = small_weights(tmp_path / "small.safetensors")
    seen = np.asarray(compared(["-i", tmp_path / "a.png", weights], tmp_path / "page.html")[0])
    assert seen.shape == (48, 48, 4) and (seen[..., 1][seen[..., 3] > 0] > 200).all()


@pytest.mark.parametrize("names", [["srresnet_small", "srgan_small"], ["a.png", "srgan_small"]])
def test_names_of_networks_need_a_photograph(tmp_path, capsys, monkeypatch, names):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")
    line = refusal(capsys, ["compare", *names, "-o", "x.html"])
    assert "_small: runs and weights need --input PHOTO" in line
