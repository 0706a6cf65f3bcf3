"""What an installed package holds, laid out as pyproject.toml says, without a checkout around it."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def source(package: str) -> Path:
    """The folder that a package is made from, by the nearest entry of package-dir."""
    for name, folder in SETUPTOOLS["package-dir"].items():
        if package.startswith(name + "."):
            return ROOT / folder / package.removeprefix(name + ".").replace(".", "/")
    return ROOT / package.replace(".", "/")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    for package in SETUPTOOLS["packages"]:
        folder = site / package.replace(".", "/")
        folder.mkdir(parents=True, exist_ok=True)
        for file in source(package).glob("*.py"):
            shutil.copy(file, folder)
    for pattern in SETUPTOOLS["package-data"]["srgan_jax"]:
        for file in (path for path in (ROOT / "srgan_jax").glob(pattern) if path.is_file()):
            target = site / "srgan_jax" / file.relative_to(ROOT / "srgan_jax")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    return site


def test_nothing_is_left_out(site):
    for folder, home in (("srgan_jax", site), ("configs", site / "srgan_jax/shipped")):
        files = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()}
        files = {path for path in files if "__pycache__" not in path.parts}
        assert len(files) > 20 and {path for path in files if not (home / path).is_file()} == set()


def srgan(site, folder, *arguments):
    env = os.environ | {"PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"}
    argv = [sys.executable, "-P", "-m", "srgan_jax", *arguments, "--workdir=run", "--config.validation.every=0"]
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_training_needs_no_checkout(site, tmp_path):
    (tmp_path / "mine.py").write_text("from configs.tiny import get_config")
    done = srgan(site, tmp_path, "train", "--config=mine.py", "--config.steps=1", "--distributed=off")
    assert done.returncode == 0 and "done at step 1 of 1" in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "--config=configs/tiny.py", "--config.steps=0"), "config.steps=0: must be greater than 0"),
        (
            ("ablate", "--grid=configs/grids/none.py"),
            "the shipped ones are in {}/srgan_jax/shipped/configs",
        ),
    ],
)
def test_the_shipped_configs_are_found_from_anywhere(site, tmp_path, arguments, said):
    done = srgan(site, tmp_path, *arguments)
    assert done.returncode == 2 and done.stderr.strip().endswith(said.format(site)), done.stderr
