"""srgan translate: any size, any kind of picture, as large as it was; and a small pix2pix that learns to colour."""

import json

import numpy as np
import pytest
from compiled import applied
from PIL import Image
from running import ROOT, command, in_this_process, train
from running import run as run_alone

from srgan_jax.__main__ import main
from srgan_jax.evaluation.ablate import newest_step
from srgan_jax.training.trained import load_generator


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "colour"
    train("tiny_pix2pix", workdir, "generator.norm=instance", "validation.every=0")
    return workdir


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """One without dropout."""
    workdir = tmp_path_factory.mktemp("runs") / "plain"
    train("tiny_pix2pix", workdir, "generator.dropout=0.0", "steps=6", "checkpoint.every=6", "validation.every=0")
    return workdir


def translated(run, source, target, *options):
    assert main(["translate", "-i", str(source), "-o", str(target), "--checkpoint", str(run), *options]) == 0
    with Image.open(target) as picture:
        return np.asarray(picture), picture.info


def test_a_picture_of_any_size_is_what_the_network_makes_of_it_mirrored_on(run, tmp_path):
    rng = np.random.default_rng(0)
    trained = load_generator(run, field="")
    for height, width in ((33, 50), (1, 1), (16, 32)):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(image).save(tmp_path / "in.png")
        out, _ = translated(run, tmp_path / "in.png", tmp_path / "out.png", "--overwrite")
        whole = np.pad(image, [(0, -height % 16), (0, -width % 16), (0, 0)], mode="symmetric")
        expected = applied(trained.network, trained.variables, whole[None] / np.float32(255))[0]
        np.testing.assert_allclose(out, (expected[:height, :width] + 1) * 127.5, atol=0.51)


def test_grey_becomes_colour_and_alpha_and_depth_stay(run, tmp_path):
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (20, 30), np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png", dpi=(300, 300), icc_profile=b"")
    plain, info = translated(run, tmp_path / "grey.png", tmp_path / "out.png")
    assert plain.shape == (20, 30, 3) and round(info["dpi"][0]) == 300
    alpha = rng.integers(0, 256, (20, 30), np.uint8)
    Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]).save(tmp_path / "la.png")
    clear, _ = translated(run, tmp_path / "la.png", tmp_path / "clear.png")
    np.testing.assert_array_equal(clear, np.dstack([plain, alpha]))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert main(["translate", "-i", f"{tmp_path}/deep.png", "-o", f"{tmp_path}/d.png", "--checkpoint", str(run)]) == 0
    import pyvips

    deep = pyvips.Image.new_from_file(f"{tmp_path}/d.png").numpy()
    assert deep.dtype == np.uint16
    np.testing.assert_allclose(deep / 257, plain, atol=0.51)


def test_noise_is_a_choice_and_a_function_of_its_seed(run, tmp_path):
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / "in.png")
    names = {
        "plain": [],
        "again": [],
        "five": ["--noise", "5"],
        "five again": ["--noise", "5"],
        "six": ["--noise", "6"],
    }
    out = {n: translated(run, tmp_path / "in.png", tmp_path / f"{n}.png", *more)[0] for n, more in names.items()}
    np.testing.assert_array_equal(out["plain"], out["again"])
    np.testing.assert_array_equal(out["five"], out["five again"])
    arguments = ["translate", "-i", f"{tmp_path}/in.png", "-o", f"{tmp_path}/o.png", "--checkpoint", str(run)]
    assert main([*arguments, "--noise", str(2**32)]) == 2
    assert (out["five"] != out["six"]).any() and (out["five"] != out["plain"]).any()


def test_a_folder_with_a_broken_picture(run, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    arguments = ["translate", "-i", f"{tmp_path}/in", "-o", f"{tmp_path}/out", "--checkpoint", str(run)]
    assert main([*arguments, "--suffix", "_colour"]) == 1
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["status"], each.get("output_size")) for each in said] == [("failed", None), ("done", [7, 5])]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good_colour.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["translate", "--checkpoint", "srresnet_small"],
            "--checkpoint=srresnet_small: enlarges pictures; use srgan up",
        ),
        (["translate", "--checkpoint", "no/run"], "--checkpoint=no/run: not a run"),
        (["translate", "--checkpoint", "PLAIN", "--noise", "3"], "--noise=3: the network was trained without dropout"),
        (["upscale", "--checkpoint", "PLAIN"], "plain: the network is one from image to image, which enlarges nothing"),
    ],
)
def test_refusals(arguments, message, plain, tmp_path, capsys):
    capsys.readouterr()
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "in.png")
    arguments = [str(plain) if each == "PLAIN" else each for each in arguments]
    assert main([*arguments, "-i", f"{tmp_path}/in.png", "-o", f"{tmp_path}/out.png"]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1 and not (tmp_path / "out.png").exists()


@pytest.mark.slow
def test_it_learns_to_colour_photographs_that_it_has_not_seen(tmp_path, optimised):
    """A quarter of the shipped config's steps."""
    short = ["steps=250", "optimizer.boundaries=(125,)", "checkpoint.every=250", "validation.every=0"]
    run_alone(command("pix2pix_small", tmp_path / "run", *short))
    assert main(["evaluate", "--checkpoint", f"{tmp_path}/run", "--json", f"{tmp_path}/f.json"]) == 0
    methods = json.loads((tmp_path / "f.json").read_text())["methods"]
    copy, learnt = (method["sets"]["validation"]["mean"]["l1"] for method in methods)
    print(f"L1 on held-out photographs: {copy:.4f} grey, {learnt:.4f} after 250 updates")
    assert learnt < copy


@pytest.mark.slow
def test_the_grid_of_its_losses_runs_at_tiny_size(tmp_path, monkeypatch):
    monkeypatch.setattr("srgan_jax.evaluation.ablate.children", in_this_process)
    small = ["steps=2", "batch_size=2", "data.crop=16", "data.jitter=18", "data.tile=64", "optimizer.boundaries=(1,)"]
    small += ["generator.features=4", "generator.levels=4", "discriminator.features=4", "discriminator.patch=16"]
    small += ["checkpoint.every=2", "validation.every=2", "log.every=1", "log.tensorboard=False"]
    small += ["validation.images=1", "validation.crop=48"]
    held = tmp_path / "held"
    held.mkdir()
    for name in "ab":
        Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 48, 3), np.uint8)).save(held / f"{name}.png")
    runs, grid = tmp_path / "runs", ROOT / "configs" / "grids" / "pix2pix_losses.py"
    arguments = ["ablate", f"--grid={grid}", f"--workdir={runs}", "--set", str(held), "--"]
    assert main([*arguments, *(f"--config.{field}" for field in small)]) == 0
    lines = [json.loads(line) for line in (runs / "results.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == ["L1", "GAN", "cGAN", "L1+GAN", "L1+cGAN"]
    assert all(line["status"] == "done" and 0 < line["figures"]["held"]["l1"] < 1 for line in lines)
    terms = {
        row: json.loads((runs / row / "seed0" / "metrics.jsonl").read_text().splitlines()[0]) for row in ("GAN", "L1")
    }
    assert "g/pixel" not in terms["GAN"] and "g/adversarial" not in terms["L1"]
    page = (runs / "report.html").read_text()
    assert all(
        f'scope="{of}">{name}</th>' in page for of, name in (("col", "L1"), ("row", "input"), ("row", "L1+cGAN"))
    )
    assert 'data-left="0"' in page and 'data-label="input"' in page and 'data-label="LR"' not in page
    assert newest_step(runs / "cGAN" / "seed0") == 2
