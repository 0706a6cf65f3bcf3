"""The command: what becomes of each picture, on real files and real processes."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from running import ROOT, limited, refusal
from small_weights import small_weights

import srgan_jax
from srgan_jax.__main__ import main
from srgan_jax.data.images import read_image


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors"))


def noise(path, size=(20, 24), seed=0, mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, (*size, len(mode)), np.uint8)
    Image.fromarray(levels.squeeze(-1) if mode == "L" else levels, mode).save(path, **options)
    return path


def upscale(weights, *arguments):
    return main(["upscale", "--checkpoint", weights, *map(str, arguments)])


def records(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_one_picture_is_told_in_one_line_of_json(weights, tmp_path, capsys):
    source, target = noise(tmp_path / "a.jpg"), tmp_path / "new" / "big.png"
    assert upscale(weights, "-i", source, "-o", target) == 0
    (record,) = records(capsys)
    assert record.pop("seconds") > 0
    assert record == {
        "input": str(source),
        "output": str(target),
        "status": "done",
        "size": [24, 20],
        "output_size": [96, 80],
    }
    assert read_image(target).shape == (80, 96, 3) and names(tmp_path) == ["a.jpg", "new/big.png"]


def test_tiles_change_nothing(weights, tmp_path):
    source = noise(tmp_path / "a.png", (61, 83))
    tiled = {"tiled": ["-t", "32", "--batch", "3"], "seams": ["-t", "32", "--halo", "0"]}
    for name, options in {"whole": ["-t", "0"], "auto": [], **tiled}.items():
        assert upscale(weights, "-i", source, "-o", tmp_path / f"{name}.png", *options) == 0
    whole = read_image(tmp_path / "whole.png").astype(int)
    assert np.ptp(whole) > 200
    for name in ("tiled", "auto"):
        assert np.abs(read_image(tmp_path / f"{name}.png") - whole).max() <= 1  # rounding of a value half-way
    assert np.abs(read_image(tmp_path / "seams.png") - whole).max() > 9


def test_of_an_animation_the_first_frame_on_request(weights, tmp_path, capsys):
    frames = [Image.fromarray(np.full((9, 9), level, np.uint8)) for level in (0, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    arguments = ["-i", tmp_path / "a.gif", "-o", tmp_path / "b.png"]
    assert upscale(weights, *arguments) == 2 and "--first-frame takes the first" in records(capsys)[0]["error"]
    assert upscale(weights, *arguments, "--first-frame") == 0 and read_image(tmp_path / "b.png").mean() < 90


def test_self_ensemble_is_that_of_the_library(weights, tmp_path):
    source, target = noise(tmp_path / "a.png"), tmp_path / "big.png"
    assert upscale(weights, "-i", source, "-o", target, "--ensemble", "-s", "3") == 0
    image = read_image(source)
    by_library = srgan_jax.upscale(image, weights, ensemble=True, scale=3)
    np.testing.assert_array_equal(read_image(target), by_library)
    assert np.abs(by_library.astype(int) - srgan_jax.upscale(image, weights, scale=3)).max() > 3


def test_kind_and_metadata_are_kept(weights, tmp_path):
    levels = np.random.default_rng(0).integers(0, 65536, (20, 24), np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png", dpi=(300, 300))
    noise(tmp_path / "clear.png", mode="RGBA")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A camera"  # turned by 90 degrees
    noise(tmp_path / "turned.jpg", exif=exif)
    assert upscale(weights, "-i", tmp_path, "-o", tmp_path / "out", "--format-options", "compression=1") == 0
    with Image.open(tmp_path / "out" / "deep.png") as deep:
        assert deep.mode == "I;16" and deep.size == (96, 80) and round(deep.info["dpi"][0]) == 300
        assert len(np.unique(np.asarray(deep))) > 1000
    with Image.open(tmp_path / "out" / "clear.png") as clear:
        assert clear.mode == "RGBA"
    with Image.open(tmp_path / "out" / "turned.png") as turned:
        assert turned.size == (80, 96) and turned.getexif()[0x010F] == "A camera"
        assert turned.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("scale", ["1", "2.5", "6"])
def test_any_factor(weights, tmp_path, scale):
    source = noise(tmp_path / "a.png", (20, 30))
    assert upscale(weights, "-i", source, "-o", tmp_path / "b.png", "-s", scale) == 0
    assert read_image(tmp_path / "b.png").shape == (20 * float(scale), 30 * float(scale), 3)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["-i", "a.png", "no.png", "-o", "out"], ["-i: no.png", "no such file"]),
        (["-i", "empty", "-o", "out"], ["-i: empty", "no image"]),
        (["-i", "no/*.png", "-o", "out"], ["-i: no/*.png"]),
        (["-i", "a.png", "-o", "a.png"], ["-o", "would replace"]),
        (["-i", "a.png", "-o", "a.png", "--overwrite"], ["-o", "would replace"]),
        (["-i", ".", "-o", ".", "--suffix", "_x4", "--overwrite"], ["-o", "would replace a_x4.png"]),
        (["-i", "a.png", "other", "-o", "other", "--suffix", "_x4", "--overwrite"], ["would replace other/a_x4.png"]),
        (["-i", "a.png", "-o", "b.gif"], ["-o: b.gif", ".png"]),
        (["-i", "a.png", "-o", "v2.5"], ["-o: v2.5", "a folder that is there"]),
        (["-i", "a.png", "a.png", "b.png", "-o", "c.png"], ["-o: c.png", "give a folder"]),
        (["-i", "a.png", "-o", "file"], ["-o: file is a file"]),
        (["-i", "a.png", "-o", "out", "--suffix", "/../x"], ["--suffix=/../x"]),
        (["-i", "a.png", "-o", "out", "--ext", "bmp"], ["--ext=bmp", "png"]),
        (["-i", "a.png", "-o", "c.png", "-s", "0"], ["--scale=0"]),
        (["-i", "a.png", "-o", "c.png", "-s", "1e-9"], ["--scale=1e-09", "1/64"]),
        (["-i", "a.png", "-o", "c.png", "-s", "65"], ["--scale=65", "64"]),
        (["-i", "a.png", "-o", "c.png", "-s", "nan"], ["--scale=nan"]),
        (["-i", "a.png", "-o", "c.png", "-t", "8"], ["tile=8", "halos"]),
        (["-i", "a.png", "-o", "c.png", "--devices", "9"], ["devices=9"]),
    ],
)
def test_refused_in_one_line(weights, tmp_path, capsys, monkeypatch, arguments, parts):
    monkeypatch.chdir(tmp_path)
    noise(tmp_path / "a.png"), noise(tmp_path / "b.png"), noise(tmp_path / "a_x4.png")
    (tmp_path / "empty").mkdir(), (tmp_path / "other").mkdir()
    noise(tmp_path / "other" / "a_x4.png")
    (tmp_path / "file").write_text("")
    before = names(tmp_path)
    line = refusal(capsys, ["upscale", "--checkpoint", weights, *arguments])
    assert all(part in line for part in parts), line
    assert names(tmp_path) == before


@pytest.mark.parametrize("options", [["-t", "-1"], ["--batch", "0"], ["--format-options", "Q"], ["-t", "x"]])
def test_arguments_that_are_none(weights, tmp_path, capsys, options):
    with pytest.raises(SystemExit, match="2"):
        upscale(weights, "-i", "a.png", "-o", "b.png", *options)
    assert options[0] in capsys.readouterr().err


@pytest.mark.parametrize(("output", "suffix"), [("in", "_x4"), ("in/out", "")])
def test_what_an_earlier_call_wrote_is_not_enlarged(weights, tmp_path, output, suffix):
    noise(tmp_path / "in" / "a.png"), noise(tmp_path / "in" / "b.png", seed=1)
    arguments = ["-i", tmp_path / "in", "-o", tmp_path / output, "--suffix", suffix]
    assert upscale(weights, *arguments) == 0
    before = names(tmp_path)
    assert len(before) == 4 and upscale(weights, *arguments) == 0 and names(tmp_path) == before


def test_inputs_add_up(weights, tmp_path):
    a, b = noise(tmp_path / "a.png"), noise(tmp_path / "b.png")
    assert upscale(weights, "-i", a, "-i", b, "-o", tmp_path / "out", "--batch", 10**9) == 0
    assert names(tmp_path / "out") == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("b.jpg", ["--format-options", "Q=200"], "Q=200"),
        ("b.png", ["--format-options", "Q=90"], "no option Q"),
        ("b.webp", ["-s", "64", "--max-pixels", "1000000000"], "cannot hold"),
        ("b.png", ["--max-pixels", "100"], "more than the 100 pixels"),
    ],
)
def test_a_picture_that_fails_alone_ends_with_2(weights, tmp_path, capsys, name, options, part):
    source = noise(tmp_path / "a.png", (20, 300))
    assert upscale(weights, "-i", source, "-o", tmp_path / name, *options) == 2
    (record,) = records(capsys)
    assert record["status"] == "failed" and part in record["error"] and names(tmp_path) == ["a.png"]


def start(weights, *arguments, **streams):
    argv = [sys.executable, "-m", "srgan_jax", "upscale", "--checkpoint", weights, *map(str, arguments)]
    return subprocess.Popen(argv, cwd=ROOT, **streams)


def test_a_bar_on_a_terminal(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    source = noise(tmp_path / "a.png", (40, 40))
    screen, terminal = pty.openpty()
    process = start(
        weights, "-i", source, "-o", tmp_path / "b.png", "-t", "24", stderr=terminal, stdout=subprocess.PIPE
    )
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(screen, 4096):
            shown += part
    except OSError:  # the terminal's other end is closed
        pass
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and json.loads(out)["status"] == "done"
    percents = [int(number) for number in re.findall(rb"\] +(\d+) %", shown)]
    assert percents[0] == 0 and percents[-1] == 100 and percents == sorted(percents) and len(percents) > 3
    assert b"\x1b[?7l1/1" in shown and shown.count(b"\x1b[?7l") == shown.count(b"\x1b[?7h")  # it does not wrap
    assert str(tmp_path / "b.png").encode() in shown.split(b"\x1b[K")[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_half_picture(weights, tmp_path, number):
    noise(tmp_path / "in" / "a.png")
    noise(tmp_path / "in" / "b.png", (900, 900))
    out = tmp_path / "out"
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # else ignored, where the tests run under nohup
    process = start(
        weights, "-i", tmp_path / "in", "-o", out, "-t", "24", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    signal.signal(signal.SIGHUP, before)
    limit = time.monotonic() + 120
    while not list(out.glob(".b.png.*.partial")) and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number and b"Traceback" not in stderr and b"stopped after 1 of 2" in stderr
    assert json.loads(stdout)["status"] == "done" and names(out) == ["a.png"]


@pytest.mark.slow
def test_200_files_good_and_bad(weights, tmp_path, capsys):
    """Every kind in its turn: none stops the others, and each is counted."""
    folder, sizes = tmp_path / "in", [(20, 24), (7, 9), (1, 1)]
    good = {".png": {}, ".jpg": {}, ".webp": {}, ".tif": {}, ".bmp": {}, ".avif": {}, ".gif": {}}
    for i in range(160):
        ending, size = list(good)[i % len(good)], sizes[i % len(sizes)]
        mode = ("RGB", "L", "RGBA")[i % 3] if ending in (".png", ".webp", ".tif") else "RGB"
        noise(folder / f"good{i}{ending}", size, i, mode if (ending, mode) != (".webp", "L") else "RGB")
    whole = (folder / "good0.png").read_bytes()
    bad = [b"", b"<html>no</html>", whole[: len(whole) // 2], whole[:-30] + b"x" * 30, b"\xff\xd8\xff\xe0 no JPEG"]
    for i in range(36):
        (folder / f"bad{i}.png").write_bytes(bad[i % len(bad)])
    os.mkfifo(folder / "bad36.png")
    (folder / "bad37.png").symlink_to(folder / "bad37.png")
    (folder / "bad38.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
    (folder / "bad38.svg").rename(folder / "bad38.jpg")
    frames = [Image.fromarray(np.full((9, 9), level, np.uint8)) for level in (0, 90, 200)]
    frames[0].save(folder / "bad39.gif", save_all=True, append_images=frames[1:])
    assert upscale(weights, "-i", folder, "-o", tmp_path / "out") == 1
    said = capsys.readouterr()
    found = [json.loads(line) for line in said.out.splitlines()]
    status = {os.path.basename(record["input"]): record["status"] for record in found}
    assert len(found) == 200 and "160 done, 0 skipped, 40 failed" in said.err
    assert {name: state for name, state in status.items() if state != ("done" if "good" in name else "failed")} == {}
    assert len(names(tmp_path / "out")) == 160
    assert all(record["error"] and len(record["error"]) < 200 for record in found if record["status"] == "failed")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_picture(weights, tmp_path, optimised):
    peaks = []
    for side in (500, 2500):
        band = np.arange(side * 3, dtype=np.uint32).astype(np.uint8).reshape(1, side, 3)
        Image.fromarray(np.repeat(band, side, axis=0)).save(tmp_path / f"{side}.png")
        process = start(weights, "-i", tmp_path / f"{side}.png", "-o", tmp_path / f"{side}.tif", "-t", "256")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        peaks.append(usage.ru_maxrss / 1024)
    print(f"peak memory of 500x500 and 2500x2500: {peaks[0]:.0f} and {peaks[1]:.0f} MB")
    whole = 2500 * 2500 * 16 * 3 / 1e6
    assert peaks[1] - peaks[0] < whole / 3  # of the enlarged picture alone


@pytest.mark.slow
@pytest.mark.parametrize(("side", "addresses", "code"), [(2200, 6, 0), (3000, 3, 2)])
def test_a_tile_that_is_too_large_for_the_memory(weights, tmp_path, side, addresses, code, optimised):
    """Memory ends for real, at so many GB of addresses: half the tile is tried, once."""
    band = np.arange(side * 3, dtype=np.uint32).astype(np.uint8).reshape(1, side, 3)
    Image.fromarray(np.repeat(band, side, axis=0)).save(tmp_path / "a.png")
    arguments = ["upscale", "--checkpoint", weights, "-i", f"{tmp_path}/a.png", "-o", f"{tmp_path}/b.png", "-t", "0"]
    done = limited(arguments, addresses)
    out, err = done.stdout, done.stderr
    assert done.returncode == code and "Traceback" not in err, err
    assert f"tiles of {side} pixels need more memory than there is: trying {side // 2}" in err
    if code:
        assert "more memory" in json.loads(out)["error"] and names(tmp_path) == ["a.png"]
    else:
        assert read_image(tmp_path / "b.png").shape == (4 * side, 4 * side, 3)
