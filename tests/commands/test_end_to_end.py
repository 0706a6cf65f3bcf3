"""From bundled photographs to a trained, evaluated pair of networks and an enlarged picture."""

import json

import numpy as np
import pytest
from PIL import Image
from running import leaves, logged, names, train

import srgan_jax
from srgan_jax import metrics
from srgan_jax.__main__ import main
from srgan_jax.data.images import list_images, read_image, write_png
from srgan_jax.data.sources import SAMPLES
from srgan_jax.inference.upscale import make_upscale
from srgan_jax.ops.bicubic import imresize
from srgan_jax.training.trained import load_generator


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """SRResNet, then SRGAN from it."""
    folder = tmp_path_factory.mktemp("runs")
    train("tiny", folder / "srresnet")
    fields = ("steps=6", "checkpoint.every=6", "ema=0.9", "validation.images=3", "optimizer.learning_rate=0.01")
    train("tiny_gan", folder / "srgan", f"init_from={folder}/srresnet", *fields)
    return folder


def test_a_run_leaves_figures_pictures_config_and_checkpoints(runs):
    run = runs / "srresnet"
    assert sorted(logged(run, "g/loss")) == [2, 4, 6, 8, 10]
    figures = {"step_per_s", "images_per_s", "data_wait_percent", "g/grad_norm", "g/pixel_grad_norm", "g/colour_drift"}
    assert figures <= set(json.loads((run / "metrics.jsonl").read_text().splitlines()[0]))
    assert sorted(logged(run, "validation/psnr_y")) == [5, 10]
    with Image.open(run / "validation" / "00000010.png") as picture:
        assert picture.size == (4 * 192, 192)
    assert "conv_first/kernel" in (run / "parameters.txt").read_text()
    assert list((run / "tensorboard").glob("events.*"))
    assert json.loads((run / "config.json").read_text())["generator"]["blocks"] == 1


def test_validation_is_the_mean_over_its_photographs_by_the_averages(runs):
    """The quarter of each photograph's middle 48 pixels, by what load_generator gives."""
    trained = load_generator(runs / "srgan", field="", which="latest")
    upscale, psnr = make_upscale(trained.network), []
    for path in list_images(SAMPLES / "validation"):
        image = read_image(path)
        top, left = ((side - 48) // 8 * 4 for side in image.shape[:2])
        hr = image[top : top + 48, left : left + 48]
        sr = upscale(trained.variables, imresize(hr, scale=0.25))
        psnr.append(metrics.figures(sr, hr, scale=4)["psnr_y"])
    assert len(psnr) == 3 and np.ptp(psnr) > 0.1
    assert logged(runs / "srgan", "validation/psnr_y")[6] == pytest.approx(np.mean(psnr), rel=1e-5)


def test_warm_start_takes_the_generator(runs, tmp_path):
    """With a learning rate of nothing, the second run's generator is still the first's."""
    fields = [f"init_from={runs}/srresnet", "optimizer.learning_rate=1e-30", "steps=2", "checkpoint.every=2", "ema=0.9"]
    (tmp_path / "same" / "checkpoints").mkdir(parents=True)  # left by a run that was killed before its first save
    train("tiny_gan", tmp_path / "same", *fields, "validation.every=0")
    first = load_generator(runs / "srresnet", field="")
    second = leaves(tmp_path / "same")
    kernel = first.variables["params"]["conv_first"]["kernel"]
    np.testing.assert_array_equal(second["/g/params/conv_first/kernel"], kernel)
    np.testing.assert_allclose(second["/g/ema_params/conv_first/kernel"], kernel, atol=1e-6)
    assert names(tmp_path / "same" / "checkpoints") == ["0", "2"]  # at once: the first run may change


def test_evaluate_prints_a_table_and_writes_figures_with_provenance(runs, tmp_path, capsys):
    arguments = ["--json", f"{tmp_path}/f.json", "--picture", f"{tmp_path}/p.png"]
    assert main(["evaluate", "--checkpoint", f"{runs}/srresnet", f"{runs}/srgan", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "PSNR-Y" in printed and "SSIM-daala" in printed and printed.count("bicubic  ") == 1
    result = json.loads((tmp_path / "f.json").read_text())
    assert [m["name"] for m in result["methods"]] == ["bicubic", "srresnet", "srgan"]
    assert 28.0 < result["methods"][0]["sets"]["validation"]["mean"]["psnr_y"] < 28.5
    assert result["convention"]["border_pixels"] == 4 and len(result["data"]["validation"]["hr_sha256"]) == 64
    weights = [m["weights_sha256"] for m in result["methods"][1:]]
    assert len(set(weights)) == 2 and result["code"]["srgan_jax"] and result["methods"][2]["config"]["ema"] == 0.9
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.size == (5 * 192, 3 * 192)


def test_evaluate_with_a_folder_of_lr_equals_making_them(runs, tmp_path, capsys):
    for path in list_images(SAMPLES / "validation"):
        write_png(tmp_path / "lr" / f"{path.stem}.png", imresize(read_image(path), scale=0.25))
    tables, hr = [], ["--hr", f"{SAMPLES}/validation"]
    for more in ([], hr, [*hr, "--lr", f"{tmp_path}/lr"]):
        assert main(["evaluate", "--checkpoint", f"{runs}/srresnet", "--each", *more]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] == tables[2] and tables[0].count("coffee.avif") == 2


def test_the_checkpoint_and_the_boundary_are_those_that_are_named(runs, tmp_path):
    """Of the checkpoints the worse, which is not taken by default."""
    psnr = logged(runs / "srresnet", "validation/psnr_y")
    worse, better = sorted(psnr, key=psnr.__getitem__)
    hr, run = read_image(SAMPLES / "validation" / "coffee.avif")[:48, :48], ["--checkpoint", f"{runs}/srresnet"]
    write_png(tmp_path / "set" / "a.png", hr)
    named = [*run, "--which", str(worse)]
    arguments = ["--set", f"{tmp_path}/set", "--boundary", "clamp", "--json", f"{tmp_path}/f.json"]
    assert main(["evaluate", *named, *arguments]) == 0
    bicubic, trained = json.loads((tmp_path / "f.json").read_text())["methods"]
    sr = imresize(imresize(hr, scale=0.25, boundary="clamp"), scale=4)
    assert bicubic["sets"]["set"]["mean"]["psnr_y"] == pytest.approx(
        metrics.figures(sr, hr, scale=4)["psnr_y"], abs=1e-6
    )
    assert trained["step"] == worse
    assert main(["upscale", *named, "-i", f"{tmp_path}/set/a.png", "-o", f"{tmp_path}/b.png"]) == 0
    by_library = [srgan_jax.upscale(hr, srgan_jax.load(runs / "srresnet", step)) for step in (worse, better)]
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), by_library[0])
    assert (by_library[0] != by_library[1]).any()


def test_upscale_a_folder_with_a_broken_picture(runs, tmp_path, capsys):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in {"a.png": (9, 7), "a.jpg": (9, 7), "sub/b.png": (1, 1)}.items():
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / name)
    (folder / "broken.png").write_bytes(b"no picture")
    arguments = ["upscale", "-i", str(folder), "-o", f"{tmp_path}/out", "--checkpoint", f"{runs}/srresnet"]
    assert main(arguments) == 1
    assert "broken.png: failed: not an image" in capsys.readouterr().err
    sizes = {}
    for path in (tmp_path / "out").rglob("*.png"):
        with Image.open(path) as picture:
            sizes[path.relative_to(tmp_path / "out").as_posix()] = picture.size
    assert sizes == {"a.png.png": (28, 36), "a.jpg.png": (28, 36), "sub/b.png.png": (4, 4)}
    assert main(arguments) == 1 and "skipped: the output is there already" in capsys.readouterr().err


def test_data_check_counts_by_name(tmp_path, capsys):
    Image.fromarray(np.zeros((100, 120, 3), np.uint8)).save(tmp_path / "good.png")
    Image.fromarray(np.zeros((20, 120, 3), np.uint8)).save(tmp_path / "flat.png")
    for name in ("broken.jpg", "a.HEIC", "b.heic", "plain"):
        (tmp_path / name).write_bytes(b"\xff\xd8\xff")
    assert main(["data", "check", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "1 usable, 1 too small, 1 broken" in out and "flat.png: too small: 120x20" in out and "broken.jpg" in out
    assert out.splitlines()[-1] == "left out for their endings: 2 .heic, 1 (none)"
