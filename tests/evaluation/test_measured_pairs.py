"""What networks from image to image are measured on: which pictures are the input, which the target."""

import json
import os
import signal

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from running import command, refusal, train

from configs import tiny_pix2pix
from srgan_jax.__main__ import main
from srgan_jax.errors import UserError
from srgan_jax.evaluation.pairs import find_set
from srgan_jax.provenance import digest_files


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


def test_the_direction_may_be_given_and_a_row_has_the_input_once(trained, tmp_path, capsys):
    arguments = ["evaluate", "--checkpoint", f"{trained}/run", "--set", str(trained), "--direction", "BtoA"]
    assert main([*arguments, "--json", f"{tmp_path}/f", "--picture", f"{tmp_path}/p.png"]) == 0
    assert json.loads((tmp_path / "f").read_text())["data"][trained.name]["hr"] == f"{trained}/A"
    assert f"\ninput | run | HR: {tmp_path}/p.png" in capsys.readouterr().out
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width == 3 * 192
        np.testing.assert_array_equal(np.asarray(picture)[:20, :24], pixels(10))  # of B
        np.testing.assert_array_equal(np.asarray(picture)[:20, 384:408], pixels(0))
    assert "--direction=AtoB: is for networks from image" in refusal(capsys, ["evaluate", "--direction", "AtoB"])
    assert "--direction=BtoA: is for pairs, not for --input=grey" in refusal(capsys, [*arguments, "--input", "grey"])
    grid = ["ablate", "--grid=configs/grids/pix2pix_losses.py", f"--workdir={tmp_path}/grid", "--"]
    fields = ["data.input=pair", "data.source=folder", f"data.path={trained}/A", f"data.target={trained}/B"]
    fields += ["validation.every=0"]
    assert "measured on pairs" in refusal(capsys, [*grid, *(f"--config.{field}" for field in fields)])
    assert not (tmp_path / "grid").exists()


def test_pairs_too_small_for_the_cut_name_its_field(trained, tmp_path, capsys):
    fields = ["data.source=folder", f"data.path={trained}/A", f"data.target={trained}/B", "data.input=pair"]
    fields += [f"validation.path={trained}/A", f"validation.target={trained}/B", "validation.crop=32"]
    line = refusal(capsys, command("tiny_pix2pix", tmp_path / "run", *fields, "data.store=none"))
    assert "config.validation.crop=32: larger than every image" in line


def test_inputs_are_the_files_whatever_training_does_to_them(trained):
    """JPEG's losses are `evaluate --jpeg`'s to give, which says so in the origin."""
    data = tiny_pix2pix.get_config().data
    data.input = "grey"
    (_, plain), (_, same) = (
        find_set(trained / "A", scale=1, boundary="symmetric", data=ConfigDict(data.to_dict() | {"jpeg": jpeg}))
        for jpeg in ((), (10, 10))
    )
    assert plain.origin == same.origin
    np.testing.assert_array_equal(plain.lr, same.lr)


def test_folders_of_a_set_are_not_taken_for_one_folder_of_pictures(tmp_path, capsys):
    for seed, name in enumerate(("hr", "lrx4")):
        save(tmp_path / "set5" / name / "a.png", pixels(seed))
    said = refusal(capsys, ["evaluate", "--set", f"{tmp_path}/set5"])
    assert "name the folders HR and LRx4" in said
    (tmp_path / "set5" / "hr").rename(tmp_path / "set5" / "HR")  # whose LR would be made, and those there not used
    said = refusal(capsys, ["evaluate", "--set", f"{tmp_path}/set5"])
    assert "lrx4: name the folders HR and LRx4" in said


def test_a_grey_file_is_measured_on_its_levels_and_the_same_in_rgb_is_not(tmp_path):
    level = pixels(0)[..., 0]
    for name, image in (("a", level), ("b", np.repeat(level[..., None], 3, axis=-1))):
        save(tmp_path / "set" / f"{name}.png", image)
    assert main(["evaluate", "--set", f"{tmp_path}/set", "--json", f"{tmp_path}/f"]) == 0
    grey, colour = json.loads((tmp_path / "f").read_text())["methods"][0]["sets"]["set"]["images"].values()
    assert grey["psnr_y"] == pytest.approx(grey["psnr_rgb"]) == colour["psnr_rgb"] < colour["psnr_y"] - 1


def test_what_is_no_set_of_pairs_is_refused(trained, tmp_path, capsys):
    evaluate = ["evaluate", "--checkpoint", f"{trained}/run"]
    for alone in "AB":
        save(tmp_path / alone / alone / "1.png", pixels(1))
        assert "one of the folders A and B alone" in refusal(capsys, [*evaluate, "--set", f"{tmp_path}/{alone}"])
    assert "which the bundled photographs are not" in refusal(capsys, evaluate)
    assert "--input=grey: is for networks from image to image" in refusal(capsys, ["evaluate", "--input", "grey"])
    assert "not for networks from image to image" in refusal(capsys, [*evaluate, "--ensemble"])
    assert "not for bicubic alone; give --checkpoint" in refusal(capsys, ["evaluate", "--ensemble"])


@pytest.mark.parametrize("size", [(3, 3), (30, 3), (18, 30)])
def test_a_picture_that_is_too_small_is_named(tmp_path, capsys, size):
    Image.new("RGB", size).save(tmp_path / "tiny.png")
    assert f"{tmp_path}/tiny.png: too small to be measured" in refusal(capsys, ["evaluate", "--set", str(tmp_path)])


def test_names_and_contents_tell_pictures_apart_and_their_folder_does_not(tmp_path):
    for name, seed in (("x/0", 0), ("y/0", 0), ("x/1", 0), ("z/0", 1)):
        save(tmp_path / f"{name}.png", pixels(seed))
    first, moved, renamed, other = (digest_files([tmp_path / f"{name}.png"]) for name in ("x/0", "y/0", "x/1", "z/0"))
    assert first == moved and len({first, renamed, other}) == 3


def test_how_far_pictures_were_shrunken_tells_sets_apart(trained):
    def found(shrink):
        data = ConfigDict({"input": "upscaled", "shrink": shrink, "boundary": "symmetric", "direction": "AtoB"})
        return find_set(trained / "A" / "x", scale=1, boundary="symmetric", data=data)[1].origin["lr"]

    assert found(1) != found(2)
    with pytest.raises(UserError, match="0.png: too small to be shrunken 32 times"):
        found(32)


def test_a_fifo_is_refused_and_not_waited_for(tmp_path):
    def waited(number, frame):
        raise TimeoutError

    for name in ("HR", "LRx4"):
        save(tmp_path / name / "a.png", np.zeros((40, 40, 3) if name == "HR" else (10, 10, 3), np.uint8))
    before = signal.signal(signal.SIGALRM, waited)
    try:
        for name in ("LRx4", "HR"):
            (tmp_path / name / "a.png").unlink()
            os.mkfifo(tmp_path / name / "a.png")
            signal.alarm(10)
            with pytest.raises(UserError, match=f"{name}/a.png: not a regular file"):
                find_set(tmp_path, scale=4, boundary="symmetric")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
