"""Where pictures cannot be written: the path at fault is named, and options that would do nothing are refused."""

import errno
import os

import pytest
from running import refusal
from small_weights import small_weights
from test_upscale import names, noise, records, upscale

from srgan_jax.commands import pictures
from srgan_jax.files import replacing


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors"))


def test_the_path_that_cannot_be_written_is_named(weights, tmp_path, capsys, monkeypatch):
    source, file = noise(tmp_path / "a.png"), tmp_path / "file"
    file.write_text("")
    assert upscale(weights, "-i", source, "-o", file / "b.png") == 2
    assert [record["error"] for record in records(capsys)] == [f"{file}: File exists"]
    long = "n" * 251
    arguments = ["-i", noise(tmp_path / "in" / f"{long}.png"), "-o", tmp_path / "out", "--suffix", "_x4"]
    assert upscale(weights, *arguments) == 2
    assert [record["error"] for record in records(capsys)] == [f"{tmp_path}/out/{long}_x4.png: File name too long"]

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pictures, "write_picture", full)
    assert upscale(weights, "-i", source, "-o", tmp_path / "b.png") == 2
    assert [record["error"] for record in records(capsys)] == [f"{tmp_path}/b.png: No space left on device"]
    assert names(tmp_path) == ["a.png", "file", f"in/{long}.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["-i", "a.png", "-o", "b.png", "--ext", "gif"],
            "--ext=gif: is for names in a folder, but -o: b.png is a file",
        ),
        (["-i", "a.png", "-o", "b.png", "--suffix", "_x4"], "--suffix=_x4: is for names in a folder"),
        (["-i", "a.png", "-o", "-"], "-: pictures go through no pipe; give a file or a folder (./- if"),
        (["-i", "-", "-o", "b.png"], "-: pictures go through no pipe"),
    ],
)
def test_what_would_do_nothing_is_refused(tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    noise(tmp_path / "a.png")
    assert f"srgan upscale: {said}" in refusal(capsys, ["upscale", *arguments])
    assert names(tmp_path) == ["a.png"]


def test_a_dash_may_be_a_name(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise(tmp_path / "a.png")
    assert upscale(weights, "-i", "a.png", "-o", "./-") == 0
    assert names(tmp_path) == ["-/a.png", "a.png"]


def test_an_error_says_the_path_that_was_given(tmp_path):
    with pytest.raises(IsADirectoryError) as caught, replacing(tmp_path) as partial:
        partial.write_text("")
    assert str(tmp_path) in str(caught.value) and "partial" not in str(caught.value)
    path = tmp_path / "folder" / "a.png"
    with pytest.raises(NotADirectoryError) as caught, replacing(path) as partial:
        path.parent.rmdir()
        path.parent.write_text("")  # now nothing there can be removed, either
        partial.write_text("")
    assert caught.value.filename == str(path)
