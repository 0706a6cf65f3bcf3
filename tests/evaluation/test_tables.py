"""Several sets, results of several measurements, the paper's figures beside ours."""

import json
import math

import numpy as np
import pytest
from running import ROOT, command, train

from srgan_jax.__main__ import main
from srgan_jax.data.images import list_images, read_image, write_png
from srgan_jax.data.sources import SAMPLES
from srgan_jax.evaluation import paper
from srgan_jax.evaluation.table import load_result, merge, table
from srgan_jax.ops.bicubic import imresize


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two tiny runs and two data sets: `full` with HR and LR folders, `plain` with HR images alone."""
    folder = tmp_path_factory.mktemp("tables")
    for seed in (0, 1):
        fields = (f"seed={seed}", "steps=2", "checkpoint.every=2", "validation.every=0", "log.tensorboard=False")
        train("tiny", folder / f"run{seed}", *fields)
    for path in list_images(SAMPLES / "validation")[:2]:
        hr = read_image(path)[:96, :128]
        write_png(folder / "full" / "HR" / f"{path.stem}.png", hr)
        write_png(folder / "full" / "LRx4" / f"{path.stem}.png", imresize(hr, scale=0.25, boundary="clamp"))
        write_png(folder / "plain" / f"{path.stem}.png", hr[8:72, 8:88])
    return folder


def evaluated(arguments, path):
    assert main(["evaluate", *map(str, arguments), "--json", str(path)]) == 0
    return json.loads(path.read_text())


def test_methods_times_sets_in_one_table(runs, tmp_path, capsys):
    arguments = ["--checkpoint", runs / "run0", runs / "run1", "--set", runs / "full", runs / "plain"]
    result = evaluated(arguments, tmp_path / "r.json")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    means = {(line[0], line[4]): line[5:] for line in lines if line[1:3] == ["mean", "of"]}
    assert list(means) == [(s, m) for s in ("full", "plain") for m in ("bicubic", "run0", "run1")]
    for method in result["methods"]:
        for name in ("full", "plain"):
            measured = method["sets"][name]
            psnr = [figures["psnr_y"] for figures in measured["images"].values()]
            assert len(psnr) == 2 and measured["mean"]["psnr_y"] == pytest.approx(np.mean(psnr))
            assert means[name, method["name"]][0] == f"{np.mean(psnr):.2f}"
    full, plain = result["data"]["full"], result["data"]["plain"]
    assert full["lr"].endswith("LRx4") and plain["lr"] == "MATLAB bicubic, boundary symmetric"
    assert result["command"][:2] == ["srgan", "evaluate"]


def test_results_of_several_measurements_make_the_table_of_one(runs, tmp_path, capsys):
    sets = ["--set", runs / "full", runs / "plain"]
    together = evaluated(["--checkpoint", runs / "run0", runs / "run1", *sets], tmp_path / "together.json")
    capsys.readouterr()
    evaluated(["--checkpoint", runs / "run1", *sets], tmp_path / "second.json")
    merged = evaluated(
        ["--checkpoint", runs / "run0", *sets, "--add", tmp_path / "second.json"], tmp_path / "merged.json"
    )
    assert merged["methods"] == together["methods"] and merged["data"] == together["data"]
    assert table(merged) == table(together)


def test_self_ensemble_has_a_name_of_its_own(runs, tmp_path, capsys):
    evaluated(["--checkpoint", runs / "run0", "--set", runs / "plain"], tmp_path / "once.json")
    arguments = ["--checkpoint", runs / "run0", "--set", runs / "plain", "--ensemble", "--add", tmp_path / "once.json"]
    bicubic, plus, once = evaluated(arguments, tmp_path / "both.json")["methods"]
    assert (plus["name"], once["name"]) == ("run0+", "run0") and plus["weights_sha256"] == once["weights_sha256"]
    assert (plus["self_ensemble"], once["self_ensemble"]) == (True, False) and "self_ensemble" not in bicubic
    assert plus["sets"]["plain"]["mean"] != once["sets"]["plain"]["mean"]
    assert capsys.readouterr().out.count("run0+ ") == 1


def test_pictures_saved_as_jpeg_are_other_data(runs, tmp_path, capsys):
    arguments = ["--checkpoint", runs / "run0", "--set", runs / "full"]
    plain, saved = (evaluated([*arguments, *more], tmp_path / "r.json") for more in ([], ["--jpeg", 20]))
    assert saved["data"]["full"] == plain["data"]["full"] | {"jpeg": 20}
    better, worse = (result["methods"][0]["sets"]["full"]["mean"]["psnr_y"] for result in (plain, saved))
    assert worse < better - 1
    capsys.readouterr()
    assert main(["evaluate", *map(str, arguments), "--add", str(tmp_path / "r.json")]) == 2
    assert "full is other data" in capsys.readouterr().err


def test_figures_of_equal_pictures_are_strict_json(tmp_path, capsys):
    write_png(tmp_path / "flat" / "grey.png", np.full((32, 32, 3), 128, np.uint8))
    evaluated(["--set", tmp_path / "flat", "--lpips"], tmp_path / "r.json")
    mean = json.loads((tmp_path / "r.json").read_text())["methods"][0]["sets"]["flat"]["mean"]
    assert mean["psnr_y"] is None and mean["ssim_wang"] == 1
    assert load_result(tmp_path / "r.json")["methods"][0]["sets"]["flat"]["mean"]["psnr_y"] == math.inf
    assert " inf " in capsys.readouterr().out


def fault(runs, tmp_path, change):
    """What merging a result with a changed copy of itself says."""
    sets = ["--set", runs / "plain"]
    ours = evaluated(["--checkpoint", runs / "run0", *sets], tmp_path / "ours.json")
    theirs = json.loads(json.dumps(ours))
    change(theirs)
    (tmp_path / "theirs.json").write_text(json.dumps(theirs))
    return main(["evaluate", *map(str, ["--checkpoint", runs / "run1", *sets, "--add", tmp_path / "theirs.json"])])


def renamed(result):
    for method in result["methods"]:
        images = method["sets"]["plain"]["images"]
        method["sets"]["plain"]["images"] = {f"below/{name}": figures for name, figures in images.items()}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda r: r["convention"].pop("psnr_y"), "not a result of srgan evaluate"),
        (lambda r: r["data"].update(plain={}), "not a result of srgan evaluate"),
        (lambda r: r["methods"][1]["sets"]["plain"]["mean"].update(psnr_y=True), "not a result of srgan evaluate"),
        (lambda r: r["methods"][1]["sets"]["plain"]["mean"].update(psnr_y=math.nan), "not a result of srgan evaluate"),
        (lambda r: r["methods"][1]["sets"]["plain"]["mean"].pop("psnr_y"), "not a result of srgan evaluate"),
        (lambda r: r["methods"][1]["sets"]["plain"].update(images={}), "not a result of srgan evaluate"),
        (lambda r: r["methods"][1].update(config=[]), "not a result of srgan evaluate"),
        (lambda r: r["methods"].append(r["methods"][1]), "not a result of srgan evaluate"),
        (lambda r: r["data"]["plain"].update(scale="4"), "not a result of srgan evaluate"),
        (lambda r: r.pop("code"), "not a result of srgan evaluate"),
        (lambda r: r["methods"][1]["sets"]["plain"].pop("images"), "not a result of srgan evaluate"),
        (lambda r: r["methods"][1]["sets"]["plain"]["mean"].update(psnr_y="30"), "not a result of srgan evaluate"),
        (lambda r: r["methods"][1].update(name={}), "not a result of srgan evaluate"),
        (lambda r: r["convention"].update(border_pixels=8), "border_pixels was measured by another convention (8)"),
        (lambda r: r["convention"].update(psnr_y="on full-range Y"), "psnr_y was measured by another convention"),
        (lambda r: r["data"]["plain"].update(scale=2), "plain is other data"),
        (lambda r: r["data"]["plain"].update(hr_sha256="0" * 64), "plain is other data"),
        (lambda r: r["data"]["plain"].update(lr="MATLAB bicubic, boundary clamp"), "plain is other data"),
        (lambda r: r["data"]["plain"].update(jpeg=75), "plain is other data"),
        (lambda r: r["methods"][1].update(name="run1"), "run1 is in this measurement too, with other weights"),
        (renamed, "plain has its pictures under other names than in this measurement"),
        (lambda r: r.pop("convention"), "not a result of srgan evaluate"),
        (lambda r: r.update(methods=[1]), "not a result of srgan evaluate"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, tmp_path, capsys, change, part):
    assert fault(runs, tmp_path, change) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and part in error[0] and "theirs.json" in error[0]


def test_earlier_figures_do_not_replace_fresh_ones(runs, tmp_path, capsys, lpips_files):
    sets = ["--set", runs / "plain", "--lpips"]
    old = evaluated(["--checkpoint", runs / "run0", *sets], tmp_path / "old.json")
    both = evaluated([*sets, lpips_files["alex"], "--add", tmp_path / "old.json"], tmp_path / "both.json")
    assert [method["name"] for method in both["methods"]] == ["bicubic", "run0"]
    control = both["methods"][0]["sets"]["plain"]
    assert control["mean"].keys() == old["methods"][0]["sets"]["plain"]["mean"].keys() | {"lpips_alex"}
    assert all("lpips_alex" in figures for figures in control["images"].values())
    assert capsys.readouterr().out.splitlines()[-3].endswith("-")  # of run0 it was not measured


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--json", "/dev/full"], "--json=/dev/full: no file can be written there"),
        (["--picture", "/dev/full"], "--picture=/dev/full: no file can be written there"),
        (["--picture", "p.jpg"], "--picture=p.jpg: is written as .png"),
        (["--json", __file__], "not a result of srgan evaluate --json, or damaged; give another name"),
        (["--set", str(ROOT / "docs"), "--picture", str(ROOT / "docs/a/b.png")], "would lie among what is measured"),
    ],
)
def test_a_place_that_cannot_take_the_figures_is_refused_before_measuring(capsys, arguments, part):
    assert main(["evaluate", *arguments]) == 2
    out, error = capsys.readouterr()
    assert part in error and len(error.strip().splitlines()) == 1 and out == ""


def test_a_folder_hr_has_the_name_of_its_set(runs, tmp_path):
    for arguments in (["--hr", runs / "full" / "HR"], ["--set", runs / "full" / "HR"]):
        assert list(evaluated(arguments, tmp_path / "r.json")["data"]) == ["full"]


def test_sets_of_one_name_are_refused(runs, tmp_path, capsys):
    other = tmp_path / "plain"
    for more, fields in (([other], "--set"), (["--hr", other], "--set, --hr")):
        assert main(["evaluate", *map(str, ["--set", runs / "plain", *more])]) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert error == [f"srgan evaluate: {fields}: data sets need different names, not plain, plain; rename a folder"]


def test_lpips_stands_beside_the_others_with_its_weights(runs, tmp_path, capsys, lpips_files):
    files = ["--lpips", lpips_files["alex"], lpips_files["vgg"]]
    result = evaluated(["--checkpoint", runs / "run0", "--set", runs / "plain", *files], tmp_path / "r.json")
    head, first, *_ = capsys.readouterr().out.splitlines()
    assert "LPIPS-alex  LPIPS-vgg" in head
    bicubic, run = (method["sets"]["plain"]["mean"] for method in result["methods"])
    assert 0 < bicubic["lpips_alex"] < run["lpips_alex"] < 2 and 0 < bicubic["lpips_vgg"] < 2  # run: hardly trained
    assert first.split()[-2:] == [f"{bicubic[name]:.4f}" for name in ("lpips_alex", "lpips_vgg")]
    assert "weights" in result["convention"]["lpips_vgg"]


def test_validation_crops_that_are_too_small_for_lpips_are_refused_at_the_start(tmp_path, capsys, lpips_files):
    fields = ("validation.crop=24", f"validation.lpips={lpips_files['alex']}")
    assert main(command("tiny", tmp_path / "run", *fields)) == 2
    assert "needs a config.validation.crop of 31 or more" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_validation_measures_lpips(runs, tmp_path, lpips_files):
    fields = ("steps=2", "checkpoint.every=2", "validation.every=2", f"validation.lpips={lpips_files['alex']}")
    train("tiny", tmp_path / "run", *fields)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert 0 < lines[-1]["validation/lpips_alex"] < 2


def measured(name, psnr, ssim=0.8, config=None):
    figures = {"psnr_y": psnr, "ssim_daala": ssim}
    method = {"name": name, "sets": {"Set5": {"images": {"a.png": figures}, "mean": figures}}}
    return method | ({"config": config} if config else {})


def test_the_papers_figures_and_the_difference():
    methods = [measured("bicubic", 28.44), measured("mine", 32.0, 0.9), measured("SRGAN-VGG54", 29.0)]
    result = {"convention": {"border_pixels": 4}, "data": {"Set5": {"scale": 4}}, "methods": methods}
    lines = [line.split()[4:] for line in table(result, against_paper=True).splitlines()[1:-1]]
    assert lines[0][-4:] == ["28.43", "+0.01", "0.8211", "-0.0211"]
    assert lines[1][-4:] == ["-"] * 4
    assert lines[2][-4:] == ["29.40", "-0.40", "0.8472", "-0.0472"]
    assert paper.warnings(result) == []
    methods[0] = measured("bicubic", 28.49)
    (warning,) = paper.warnings(result)
    assert "Set5: bicubic is 28.49 dB here and 28.43 dB in the paper" in warning
    result["data"]["Set5"]["scale"] = 2
    (warning,) = paper.warnings(result)
    assert "no figures for a set of this name at x2" in warning
    assert all(line.endswith("-") for line in table(result, against_paper=True).splitlines()[1:-1])


@pytest.mark.parametrize(
    ("config", "fields", "row"),
    [
        ("srresnet_mse", {}, "SRResNet-MSE"),
        ("srresnet_vgg22", {}, "SRResNet-VGG22"),
        ("srgan_mse", {}, "SRGAN-MSE"),
        ("srgan_vgg22", {}, "SRGAN-VGG22"),
        ("srgan_vgg54", {}, "SRGAN-VGG54"),
        ("srgan_vgg54", {"loss.feature.layer": "3.4"}, None),
        ("srgan_vgg22", {"loss.feature.network": "vgg16"}, None),
        ("srgan_vgg54", {"scale": 2}, None),
        ("srgan_vgg54", {"loss.feature.kind": "l1"}, None),
        ("srgan_vgg54", {"loss.feature.after_relu": False}, None),
        ("srgan_vgg22", {"loss.lpips.weight": 1.0}, None),
        ("srgan_mse", {"loss.adversarial.kind": "relativistic"}, None),
        ("srgan_mse", {"discriminator.name": "patchgan"}, None),
        ("srgan_mse", {"discriminator.conditional": True}, None),
        ("srgan_vgg22", {"loss.adversarial.weight": 1e-2}, None),
        ("srgan_mse", {"discriminator.features": 8}, None),
        ("srresnet_mse", {"loss.tv.weight": 1.0}, None),
        ("srgan_vgg54", {"loss.feature.weights": "random"}, None),
        ("srresnet_mse", {"generator.norm": "none", "generator.skip": "bicubic"}, None),
        ("srresnet_mse", {"generator.first_kernel": 3}, None),
        ("srresnet_mse", {"data.jpeg": (30, 90)}, None),
        ("srresnet_mse", {"generator.blocks": 8}, None),
        ("srresnet_mse", {"loss.pixel.kind": "l1"}, None),
        ("quickstart", {}, None),
    ],
)
def test_the_papers_row_is_known_by_the_config(config, fields, row):
    from importlib import import_module

    loaded = import_module(f"configs.{config}").get_config()
    loaded.update_from_flattened_dict(fields)
    method = measured("any", 30.0, config=loaded.to_dict())
    assert paper.row(method) == row and paper.row(method | {"self_ensemble": True}) is None


def test_control_rows_on_the_papers_sets(data_dir, tmp_path, capsys):
    """Both are the paper's; of Set14, where one file is grey, because its levels are its Y."""
    sets = ["--set", data_dir / "set5", data_dir / "set14", "--against", "paper"]
    result = evaluated([*sets, "--lpips"], tmp_path / "r.json")
    means = {name: s["mean"] for name, s in result["methods"][0]["sets"].items()}
    for name, figures in means.items():
        psnr, ssim = paper.TABLE[name]["bicubic"]
        assert figures["psnr_y"] == pytest.approx(psnr, abs=0.01)
        assert figures["ssim_daala"] == pytest.approx(ssim, abs=0.0002)
    grey = result["methods"][0]["sets"]["set14"]["images"]["img_003.png"]
    assert grey["psnr_y"] == pytest.approx(grey["psnr_rgb"])
    assert capsys.readouterr().err == ""


def test_merging_does_not_change_what_it_merges(runs, tmp_path):
    evaluated(["--checkpoint", runs / "run0", "--set", runs / "plain"], tmp_path / "a.json")
    evaluated(["--checkpoint", runs / "run0", "--set", runs / "full"], tmp_path / "b.json")
    a, b = load_result(tmp_path / "a.json"), load_result(tmp_path / "b.json")
    before = json.dumps([a, b])
    merged = merge([("a", a), ("b", b)])
    assert json.dumps([a, b]) == before
    assert [list(method["sets"]) for method in merged["methods"]] == [["plain", "full"]] * 2
