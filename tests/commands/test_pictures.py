"""Which picture becomes which file, and what is left alone."""

from pathlib import Path

import pytest
from small_weights import small_weights
from test_upscale import names, noise, records, upscale

from srgan_jax.data.images import read_image


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors"))


def test_what_is_there_stays(weights, tmp_path, capsys):
    folder = tmp_path / "in"
    for name in ("a.png", "b.png"):
        noise(folder / name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_text("mine")
    assert upscale(weights, "-i", folder, "-o", tmp_path / "out") == 0
    assert [record["status"] for record in records(capsys)] == ["skipped", "done"]
    assert (tmp_path / "out" / "a.png").read_text() == "mine"
    assert upscale(weights, "-i", folder / "a.png", "-o", tmp_path / "out" / "a.png") == 2
    assert "there already" in capsys.readouterr().err and (tmp_path / "out" / "a.png").read_text() == "mine"
    assert upscale(weights, "-i", folder / "a.png", "-o", tmp_path / "out") == 0  # a folder: gone on with
    assert [record["status"] for record in records(capsys)] == ["skipped"]
    assert upscale(weights, "-i", folder, "-o", tmp_path / "out", "--overwrite") == 0
    assert read_image(tmp_path / "out" / "a.png").shape == (80, 96, 3)


def test_names_of_what_is_written(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "in/sub/b.jpg", "other/c.webp"):
        noise(tmp_path / name)
    assert upscale(weights, "-i", "in", "other/*.webp", "-o", "out", "--suffix", "_x4", "--ext", "auto") == 0
    assert names(tmp_path / "out") == ["a_x4.png", "c_x4.webp", "sub/b_x4.jpg"]
    noise(tmp_path / "in" / "a.jpg")
    assert upscale(weights, "-i", "in", "-o", "apart_2.5", "--ext", ".tif") == 0
    assert names(tmp_path / "apart_2.5") == ["a.jpg.tif", "a.png.tif", "sub/b.jpg.tif"]
    capsys.readouterr()
    noise(tmp_path / "more" / "a.png")
    assert upscale(weights, "-i", "in/a.png", "more/a.png", "-o", "clash") == 2
    assert "one file" in capsys.readouterr().err and not (tmp_path / "clash").exists()


@pytest.mark.parametrize("suffix", ["", "_x4"])
def test_in_their_own_folder_results_are_not_taken_for_pictures(weights, tmp_path, capsys, suffix):
    """Without --suffix a.jpg becomes a.png beside it. A name that gets too long fails alone."""
    long = "n" * 251
    for name in ("a.jpg", f"{long}.jpg", "z.jpg"):
        noise(tmp_path / name)
    ends = [["done", "failed" if suffix else "done", "done"], ["skipped", "failed" if suffix else "skipped", "skipped"]]
    ends[1] += ["skipped"] * (2 if suffix else 3)  # each result
    for expected in ends:
        assert upscale(weights, "-i", tmp_path, "-o", tmp_path, "--suffix", suffix) == bool(suffix)
        assert sorted(record["status"] for record in records(capsys)) == sorted(expected)
    made = [f"a{suffix}.png", f"z{suffix}.png"] + [f"{long}.png"] * (not suffix)
    assert names(tmp_path) == sorted([*made, "a.jpg", "z.jpg", f"{long}.jpg"])


@pytest.mark.parametrize("pattern", ["in/*", "in/**/*"])
def test_the_same_pattern_again_goes_on(weights, tmp_path, capsys, monkeypatch, pattern):
    """Though it finds what was made, in a folder among the pictures; expanded by the shell, too."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.png"):
        noise(tmp_path / "in" / name)
    assert upscale(weights, "-i", *sorted(map(str, Path("in").iterdir())), "-o", "in/big") == 0
    for inputs in ([pattern], sorted(str(path) for path in Path("in").rglob("*.*"))):
        capsys.readouterr()
        assert upscale(weights, "-i", *inputs, "-o", "in/big") == 0
        assert {record["status"] for record in records(capsys)} == {"skipped"}
    assert names(tmp_path / "in") == ["a.jpg", "b.png", "big/a.png", "big/b.png"]


def test_a_picture_under_two_names_is_not_its_own_result(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise(tmp_path / "in" / "a.png")
    noise(tmp_path / "other" / "a.png")
    for inputs in (["in", tmp_path / "in"], ["in", "other"]):
        assert upscale(weights, "-i", *inputs, "-o", "in") == 2
        assert "several pictures would be written to one file" in capsys.readouterr().err
    assert names(tmp_path / "in") == ["a.png"]


def test_a_link_that_leads_to_itself_fails_alone(weights, tmp_path, capsys):
    noise(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "loop.jpg").symlink_to("loop.jpg")
    assert upscale(weights, "-i", tmp_path / "in", "-o", tmp_path / "in" / "out") == 1
    assert [record["status"] for record in records(capsys)] == ["done", "failed"]


def test_of_a_folder_all_that_might_be_read_is_tried_and_nothing_else(weights, tmp_path, capsys):
    noise(tmp_path / "in" / "a.png")
    for name in ("b.HEIC", "c.heif", "film.mpg", "data.h5", "page.eps"):
        (tmp_path / "in" / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(60))
    assert upscale(weights, "-i", tmp_path / "in", "-o", tmp_path / "out") == 1
    found = records(capsys)
    assert [record["input"].rsplit("/")[-1] for record in found] == ["a.png", "b.HEIC", "c.heif"]
    assert all(record["error"].startswith("HEIC or a video; save it as JPEG") for record in found[1:])
