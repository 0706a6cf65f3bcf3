"""FID: the distance against numbers worked out by hand and scipy's root of a matrix, and what evaluate makes of it."""

import json

import jax
import numpy as np
import pytest
from running import refusal
from scipy.linalg import sqrtm

from srgan_jax.__main__ import main
from srgan_jax.data.images import list_images, read_image, write_png
from srgan_jax.data.sources import SAMPLES
from srgan_jax.evaluation.fid import frechet, make_fid
from srgan_jax.weights.inception_file import inception_shapes
from srgan_jax.weights.readers import flatten
from srgan_jax.weights.tensors import write_safetensors

CROSS = np.array([[1, 0], [-1, 0], [0, 2], [0, -2.0]])  # mean 0, variances 2/3 and 8/3, no covariance


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of random numbers, in the form that `srgan convert inception` writes."""
    rng = np.random.default_rng(0)

    def draw(shape):
        values = rng.standard_normal(shape.shape, np.float32)
        return values * (np.sqrt(2 / np.prod(shape.shape[:3])) if len(shape.shape) == 4 else 0.1)

    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    write_safetensors(path, dict(flatten(jax.tree.map(draw, inception_shapes()))), {"network": "inception_fid"})
    return path


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (CROSS + [3, 4], 25),
        (CROSS[:, ::-1], 4 / 3),  # standard deviations s, 2s against 2s, s with s^2 = 2/3
        (3 * CROSS + [1, 2], 5 + 4 * (2 / 3 + 8 / 3)),
        (np.zeros((5, 2)) + [1, 0], 1 + 2 / 3 + 8 / 3),
    ],
)
def test_the_distance_of_diagonal_gaussians(other, expected):
    assert frechet(CROSS, other) == pytest.approx(expected, rel=1e-12)
    assert frechet(other, CROSS) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", [(300, 12), (7, 200), (2, 2048)])
def test_equal_sets_are_not_apart(shape):
    a = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert 0 <= frechet(a, a[::-1]) < 1e-7 * a.var(axis=0).sum()


@pytest.mark.parametrize("sizes", [(40, 70), (500, 9)])
def test_the_distance_is_that_of_covariances_and_scipys_root(sizes):
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((n, 8)) @ rng.standard_normal((8, 8)) + rng.standard_normal(8) for n in sizes)
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    trace = np.trace(covariances[0] + covariances[1] - 2 * sqrtm(covariances[0] @ covariances[1]).real)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + trace
    assert frechet(a, b) == pytest.approx(expected, rel=1e-7)


def test_one_picture_has_no_covariance():
    with pytest.raises(ValueError, match="two pictures or more"):
        frechet(CROSS, CROSS[:1])


def test_evaluate_gives_the_fid_of_a_set_beside_its_means(weights, tmp_path, capsys):
    out = tmp_path / "r.json"
    assert main(["evaluate", "--lpips", "--fid", str(weights), "--each", "--json", str(out)]) == 0
    head, *rows, _, note, _ = capsys.readouterr().out.splitlines()
    result = json.loads(out.read_text())
    (measured,) = result["methods"][0]["sets"].values()
    assert measured["mean"]["fid_pictures"] == len(measured["images"]) == 3 and measured["mean"]["fid"] > 0.01
    assert all("fid" not in figures for figures in measured["images"].values())
    assert result["convention"]["fid"] == make_fid(weights, "--fid").convention["fid"]
    assert head.split()[-1] == "FID"
    assert [row.split()[-1] for row in rows] == ["-"] * 3 + [f"{measured['mean']['fid']:.2f}"]
    assert note == "FID of 3 pictures, fewer than 2048, is biased: compare it at that number alone"


def test_earlier_results_with_and_without_fid(weights, tmp_path, capsys):
    for path in list_images(SAMPLES / "validation"):
        write_png(tmp_path / "set" / f"{path.stem}.png", read_image(path)[:64, :96])
    command = ["evaluate", "--lpips", "--set", f"{tmp_path}/set", "--json"]
    with_fid, without = tmp_path / "with.json", tmp_path / "without.json"
    assert main([*command, str(without)]) == 0
    assert "FID" not in capsys.readouterr().out
    assert main([*command, str(with_fid), "--fid", str(weights), "--add", str(without)]) == 0
    mean = json.loads(with_fid.read_text())["methods"][0]["sets"]["set"]["mean"]
    assert main([*command, str(without), "--add", str(with_fid)]) == 0
    assert json.loads(without.read_text())["methods"][0]["sets"]["set"]["mean"] == mean
    assert f"  {mean['fid']:.2f}\n" in capsys.readouterr().out
    other = json.loads(with_fid.read_text())
    other["convention"]["fid"] = "of other weights"
    (tmp_path / "other.json").write_text(json.dumps(other))
    line = refusal(capsys, [*command, "x.json", "--fid", str(weights), "--add", f"{tmp_path}/other.json"])
    assert "fid was measured by another convention (of other weights)" in line


def test_what_gives_no_fid_is_refused(weights, tmp_path, capsys):
    write_png(tmp_path / "single" / "a.png", np.zeros((64, 64, 3), np.uint8))
    line = refusal(capsys, ["evaluate", "--set", f"{tmp_path}/single", "--fid", str(weights)])
    assert f"--fid={weights}: single has one picture, FID takes two or more" in line
    assert "--fid=/no/file: no such file" in refusal(capsys, ["evaluate", "--fid", "/no/file"])
    (tmp_path / "text.safetensors").write_text("text")
    assert "cannot be read as .safetensors" in refusal(capsys, ["evaluate", "--fid", f"{tmp_path}/text.safetensors"])
