"""What networks from image to image are measured on: which pictures are the input, which the target."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from running import refusal, train

from srgan_jax.__main__ import main
from srgan_jax.errors import UserError
from srgan_jax.evaluation.pairs import find_set


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on pairs of two folders, where some names stand in two sub-folders; it lies beside them."""
    root = tmp_path_factory.mktemp("pairs")
    for seed, name in enumerate(("x/0", "x/1", "y/0", "y/1")):
        save(root / "A" / f"{name}.png", pixels(seed))
        save(root / "B" / f"{name}.png", pixels(10 + seed))
    fields = ["data.source=folder", f"data.path={root}/A", f"data.target={root}/B", "data.input=pair", "steps=2"]
    fields += ["discriminator.name=none", "loss.adversarial.weight=0.0", "generator.levels=2", "data.store=none"]
    train("tiny_pix2pix", root / "run", *fields, "optimizer.boundaries=()", "validation.every=0")
    return root


def test_a_set_of_pairs_is_folders_a_and_b(trained, tmp_path):
    assert main(["evaluate", "--checkpoint", f"{trained}/run", "--set", str(trained), "--json", f"{tmp_path}/f"]) == 0
    images = json.loads((tmp_path / "f").read_text())["methods"][0]["sets"][trained.name]["images"]
    apart = [np.abs(pixels(seed) - 1.0 * pixels(10 + seed)).mean() / 255 for seed in range(4)]
    assert {name: figures["l1"] for name, figures in images.items()} == pytest.approx(
        dict(zip(("x/0.png", "x/1.png", "y/0.png", "y/1.png"), apart, strict=True))
    )


def test_what_is_no_set_of_pairs_is_refused(trained, tmp_path, capsys):
    evaluate = ["evaluate", "--checkpoint", f"{trained}/run"]
    for alone in "AB":
        save(tmp_path / alone / alone / "1.png", pixels(1))
        assert "one of the folders A and B alone" in refusal(capsys, [*evaluate, "--set", f"{tmp_path}/{alone}"])
    assert "which the bundled photographs are not" in refusal(capsys, evaluate)
    assert "--input=grey: is for networks from image to image" in refusal(capsys, ["evaluate", "--input", "grey"])
    assert "not for networks from image to image" in refusal(capsys, [*evaluate, "--ensemble"])
    assert "not for bicubic alone; give --checkpoint" in refusal(capsys, ["evaluate", "--ensemble"])


def test_how_far_pictures_were_shrunken_tells_sets_apart(trained):
    def found(shrink):
        data = ConfigDict({"input": "upscaled", "shrink": shrink, "boundary": "symmetric", "direction": "AtoB"})
        return find_set(trained / "A" / "x", scale=1, boundary="symmetric", data=data)[1].origin["lr"]

    assert found(1) != found(2)
    with pytest.raises(UserError, match="0.png: too small to be shrunken 32 times"):
        found(32)
