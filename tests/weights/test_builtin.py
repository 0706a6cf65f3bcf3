"""The weights that come with the package: whole, described, and as good as they are said to be."""

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from enlarged import enlarged, mean_psnr_y
from running import ROOT

import srgan_jax
from srgan_jax.__main__ import main
from srgan_jax.errors import UserError
from srgan_jax.inference.lpips import make_lpips
from srgan_jax.training.trained import load_generator
from srgan_jax.weights import builtin
from srgan_jax.weights.builtin import BUILTIN, DEFAULT, FILES, builtin_file


@pytest.mark.parametrize("name", BUILTIN)
def test_the_file_is_what_is_said_of_it(name):
    path = builtin_file(name)
    assert path.stat().st_size < 8_000_000
    trained = load_generator(path, field="")
    assert trained.name == name and f"_x{trained.config.scale}" in path.name
    card = (ROOT / "docs" / "models" / f"{name}.md").read_text()
    about = BUILTIN[name]
    assert all(fact in card for fact in (about.sha256, *about.commands, about.data))
    for title, figures in (("Set5", about.set5), ("Set14", about.set14)):
        (row,) = (line for line in card.splitlines() if line.startswith(f"| {title} |"))
        assert f"| {figures.psnr_y:.2f} |" in row and row.endswith(f"| {figures.lpips_alex:.4f} |".replace("0.", "."))


def test_no_file_without_an_entry():
    assert {path.name for path in FILES.iterdir()} == {about.file for about in BUILTIN.values()}


MEASURED = {"set5": list(BUILTIN), "set14": ["srresnet_small", "srgan_medium"]}  # the larger set by one of each size


@cache
def pictures(folder):
    """{name: (sr, hr, grey) of each picture of the set}"""
    names = MEASURED[folder.name]
    generators = [load_generator(builtin_file(name), field="") for name in names]
    return dict(zip(names, enlarged(generators, folder), strict=True))


@pytest.fixture(scope="module")
def lpips(lpips_files):
    return make_lpips(lpips_files["alex"], "")


@pytest.mark.slow
@pytest.mark.parametrize("folder", MEASURED)
def test_psnr_is_that_of_the_card(folder, data_dir):
    for name, made in pictures(data_dir / folder).items():
        assert abs(mean_psnr_y(made) - getattr(BUILTIN[name], folder).psnr_y) <= 0.01, name


@pytest.mark.slow
@pytest.mark.parametrize("folder", MEASURED)
def test_lpips_is_that_of_the_card(folder, data_dir, lpips):
    for name, made in pictures(data_dir / folder).items():
        mean = np.mean([lpips(sr, hr) for sr, hr, _ in made])
        assert abs(mean - getattr(BUILTIN[name], folder).lpips_alex) <= 0.0002, name


def test_evaluate_says_where_pictures_were_trained_on(photographs, tiny_run, tmp_path, capsys):
    begun = shutil.copytree(tiny_run, tmp_path / "begun")
    config = json.loads((begun / "config.json").read_text())
    (begun / "config.json").write_text(json.dumps(config | {"init_from": DEFAULT}))
    other = [DEFAULT, "--hr", photographs]
    for given, warned in (([DEFAULT], True), ([begun], True), ([tiny_run], False), (other, False)):
        assert main(["evaluate", "--lpips", "--which", "latest", "--checkpoint", *map(str, given)]) == 0
        assert (f"warning: {given[0]}: brushes and dogs were trained on" in capsys.readouterr().err) == warned


def test_a_damaged_or_missing_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(builtin, "FILES", tmp_path)
    with pytest.raises(UserError, match="missing or damaged.*install"):
        srgan_jax.load()
    content = bytearray((FILES / BUILTIN[DEFAULT].file).read_bytes())
    content[-5] ^= 1
    (tmp_path / BUILTIN[DEFAULT].file).write_bytes(content)
    with pytest.raises(UserError, match="missing or damaged"):
        srgan_jax.load(DEFAULT)


def test_a_package_that_is_installed_enlarges_offline(tmp_path):
    """Copied as setup would, away from the repository: no file outside it is needed."""
    shutil.copytree(ROOT / "srgan_jax", tmp_path / "srgan_jax", ignore=shutil.ignore_patterns("__pycache__"))
    code = """
import numpy as np, srgan_jax, sys
picture = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
np.save(sys.argv[1], srgan_jax.upscale(picture))
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out.npy")], cwd=tmp_path, check=True)
    large = np.load(Path(tmp_path / "out.npy"))
    assert large.shape == (36, 48, 3) and large.dtype == np.uint8 and np.ptp(large) > 100
