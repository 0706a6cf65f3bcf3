"""The cuts that a measurement leaves for the report."""

import shutil

import numpy as np
import pytest

from srgan_jax.data.images import read_image, write_png
from srgan_jax.evaluation.measure import measure
from srgan_jax.ops.bicubic import imresize


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A copy, which is written into."""
    return shutil.copytree(tiny_run, tmp_path_factory.mktemp("measure") / "run")


def pixels(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("height", "width", "top", "left"), [(37, 31, 6, 3), (36, 25, 6, 0), (20, 41, 0, 8)])
def test_cuts_show_the_same_place(run, tmp_path, height, width, top, left):
    lr = pixels(height, width)
    write_png(tmp_path / "odd" / "LRx4" / "a.png", lr)
    write_png(tmp_path / "odd" / "HR" / "a.png", lr.repeat(4, axis=0).repeat(4, axis=1))
    measure(run, [tmp_path / "odd"])
    cuts = {kind: read_image(run / "cuts" / "odd" / "a.png" / f"{kind}.png") for kind in ("lr", "bicubic", "sr", "hr")}
    np.testing.assert_array_equal(cuts["lr"], lr[top : top + 24, left : left + 24])
    np.testing.assert_array_equal(cuts["hr"], cuts["lr"].repeat(4, axis=0).repeat(4, axis=1))
    bicubic = imresize(lr, scale=4)[4 * top : 4 * top + 96, 4 * left : 4 * left + 96]
    np.testing.assert_array_equal(cuts["bicubic"], bicubic)
    assert cuts["sr"].shape == cuts["hr"].shape


def test_cuts_of_photographs_that_are_gone_go_too(run, tmp_path):
    for name in ("old", "new"):
        write_png(tmp_path / "set" / f"{name}.png", pixels(40, 48))
    measure(run, [tmp_path / "set"])
    (tmp_path / "set" / "old.png").unlink()
    measure(run, [tmp_path / "set"])
    assert [path.name for path in (run / "cuts" / "set").iterdir()] == ["new.png"]
