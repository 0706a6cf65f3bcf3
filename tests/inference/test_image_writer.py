"""Pictures written from bands: what another reader finds in the files, and that there are no half ones."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo
from running import ROOT, await_that

from srgan_jax.errors import UserError
from srgan_jax.inference.image_reader import open_picture
from srgan_jax.inference.image_writer import check_output, write_picture

RNG = np.random.default_rng(0)
SMOOTH = np.asarray(Image.fromarray(RNG.integers(0, 256, (4, 6, 3), np.uint8)).resize((60, 40), 3))
DEEP = RNG.integers(0, 65536, (40, 60, 4), np.uint16)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def write(path, image, step=7, **options):
    bands = (image[top : top + step] for top in range(0, len(image), step))
    write_picture(path, bands, height=image.shape[0], width=image.shape[1], **options)


def copy(source, target, step=128):
    """The identity, by rows."""
    picture = open_picture(source)
    bands = (picture.rows(top, min(top + step, picture.height)) for top in range(0, picture.height, step))
    write_picture(target, bands, height=picture.height, width=picture.width, like=picture)


@pytest.mark.parametrize("ending", ["png", "tif", "TIFF"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bits_and_channels_are_kept(tmp_path, ending, channels, dtype):
    image = np.ascontiguousarray((DEEP >> (0 if dtype is np.uint16 else 8))[..., :channels].astype(dtype))
    path = tmp_path / "new" / "folder" / f"a.{ending}"
    write(path, image)
    picture = open_picture(path)
    np.testing.assert_array_equal(picture.rows(0, 40), image)
    other = pyvips.Image.new_from_file(str(path)).numpy().reshape(image.shape)
    np.testing.assert_array_equal(other, image)
    if dtype is np.uint8:
        with Image.open(path) as theirs:
            assert theirs.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
            np.testing.assert_array_equal(np.asarray(theirs).reshape(image.shape), image)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "image", "options", "most"),
    [
        ("a.jpg", SMOOTH, {"Q": "95"}, 12),
        ("a.jpeg", SMOOTH[..., :1], {}, 40),
        ("a.webp", SMOOTH, {"lossless": "1"}, 0),
        ("a.webp", np.dstack([SMOOTH, SMOOTH[..., :1] | 1]), {"lossless": "1"}, 0),
        ("a.avif", SMOOTH, {"lossless": "1", "effort": "0"}, 0),
        ("a.avif", np.dstack([SMOOTH, SMOOTH[..., :1]]), {"Q": "95", "effort": "0"}, 30),
        ("a.png", SMOOTH, {"compression": "0"}, 0),
        ("a.tif", SMOOTH, {"compression": "lzw"}, 0),
        ("a.tif", SMOOTH, {"compression": "none"}, 0),
    ],
)
def test_every_format_and_its_options(tmp_path, name, image, options, most):
    write(tmp_path / name, image, options=options)
    picture = open_picture(tmp_path / name)
    assert picture.channels == image.shape[2]
    assert np.abs(picture.rows(0, 40) - image.astype(int)).max() <= most
    assert os.listdir(tmp_path) == [name]


def test_options_take_effect(tmp_path):
    sizes = []
    for quality in ("10", "90"):
        write(tmp_path / "a.jpg", SMOOTH, options={"Q": quality})
        sizes.append((tmp_path / "a.jpg").stat().st_size)
    assert sizes[0] < 0.7 * sizes[1]
    write(tmp_path / "a.avif", DEEP[..., :3], options={"bitdepth": "12", "effort": "0"})
    assert open_picture(tmp_path / "a.avif").dtype is np.uint16


@pytest.mark.parametrize("source", ["png", "jpg", "tif", "webp", "avif"])
@pytest.mark.parametrize("target", ["png", "jpg", "tif", "webp", "avif"])
def test_metadata_is_kept(tmp_path, source, target):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A], exif[0x011B], exif[0x0128] = 6, "Maker", 300.0, 300.0, 2
    exif.get_ifd(0x8769).update({0x9003: "2020:01:02 03:04:05", 0xA002: 60, 0xA003: 40, 0x927C: b"secret\0note"})
    exif.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.5)})
    text = PngInfo()
    said = '<x:xmpmeta x:n="1" tiff:Orientation="6"/>'
    text.add_itxt("XML:com.adobe.xmp", said)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[700], tags[0x0112] = said.encode(), 6
    xmp = {"png": {"pnginfo": text}, "tif": {"tiffinfo": tags}}.get(source, {"xmp": said.encode()})
    Image.fromarray(SMOOTH).save(tmp_path / f"a.{source}", exif=exif, icc_profile=ICC, dpi=(300, 300), **xmp)
    copy(tmp_path / f"a.{source}", tmp_path / f"b.{target}")
    with Image.open(tmp_path / f"b.{target}") as image:
        image.load()
        found = image.getexif()
        assert image.size == (40, 60) and image.info["icc_profile"] == ICC
        assert found.get(0x0112, 1) == 1
        assert {source, target} & {"webp", "avif"} or image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        found_xmp = str(image.info.get("xmp") or image.info["XML:com.adobe.xmp"])
        assert said.replace("6", "1") in found_xmp and ImageOps.exif_transpose(image).size == (40, 60)
        if "tif" in (source, target):  # carries none
            return
        assert found[0x010F] == "Maker" and found[0x011A] == pytest.approx(300, abs=0.01)
        details = found.get_ifd(0x8769)
        assert (details[0xA002], details[0xA003], details[0x9003]) == (40, 60, "2020:01:02 03:04:05")
        assert details[0x927C] == b"secret\0note"[: len(details[0x927C])] and len(details[0x927C]) > 9
        assert found.get_ifd(0x8825)[2] == (1.0, 2.0, 3.5)


def test_the_thumbnail_of_the_small_picture_is_left_behind(tmp_path):
    thumbnail = Image.fromarray(SMOOTH[:8, :8])
    thumbnail.save(tmp_path / "thumbnail.jpg")
    image = pyvips.Image.new_from_array(SMOOTH, interpretation="srgb").copy()
    image.set_type(pyvips.GValue.blob_type, "jpeg-thumbnail-data", (tmp_path / "thumbnail.jpg").read_bytes())
    image.jpegsave(str(tmp_path / "a.jpg"))
    copy(tmp_path / "a.jpg", tmp_path / "b.jpg")
    start = b"\xff\xd8\xff"
    assert [(tmp_path / f"{name}.jpg").read_bytes().count(start) for name in "ab"] == [2, 1]


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp", "avif"])
def test_nothing_is_made_up(tmp_path, ending):
    write(tmp_path / f"a.{ending}", SMOOTH)
    with Image.open(tmp_path / f"a.{ending}") as image:
        assert "icc_profile" not in image.info and "exif" not in image.info
        assert image.info.get("dpi", (72, 72)) == pytest.approx((72, 72), abs=0.1)


def test_a_profile_of_grey_does_not_go_onto_colour(tmp_path):
    profile = pyvips.Operation.call("profile_load", "srgb")
    Image.fromarray(SMOOTH[..., 0]).save(tmp_path / "a.tif", icc_profile=profile)
    like = open_picture(tmp_path / "a.tif")
    write(tmp_path / "b.png", SMOOTH, like=like)
    assert "icc-profile-data" in like.metadata
    assert "icc-profile-data" not in open_picture(tmp_path / "b.png").metadata


@pytest.mark.parametrize(
    ("name", "size", "channels", "dtype", "options", "said"),
    [
        ("a.jpg", (9, 9), 4, np.uint8, {}, ".jpg cannot hold alpha; choose .png, .tif, .tiff, .webp, .avif"),
        ("a.jpg", (9, 9), 3, np.uint16, {}, ".jpg cannot hold 16 bits; choose .png, .tif, .tiff"),
        ("a.jpg", (65_501, 9), 3, np.uint8, {}, ".jpg cannot hold 9x65501 pixels; choose .png, .tif, .tiff"),
        ("a.webp", (9, 16_384), 2, np.uint16, {}, ".webp cannot hold 16384x9 pixels and 16 bits; choose .png, .tif"),
        ("a.avif", (9, 16_385), 3, np.uint8, {}, ".avif cannot hold 16385x9 pixels; choose .png, .tif, .tiff, .jpg"),
        ("a.avif", (9, 9), 3, np.uint16, {}, ".avif cannot hold 16 bits; choose .png, .tif, .tiff"),
        ("a.bmp", (9, 9), 3, np.uint8, {}, "pictures are written as .png, "),
        ("a", (9, 9), 3, np.uint8, {}, "pictures are written as .png, "),
        ("a.png", (9, 9), 3, np.uint8, {"Q": "90"}, "no option Q for .png, which has compression"),
        ("a.jpg", (9, 9), 3, np.uint8, {"Q": "101"}, "option Q=101: give 1 to 100"),
        ("a.jpg", (9, 9), 3, np.uint8, {"Q": "high"}, "option Q=high: give 1 to 100"),
        ("a.tif", (9, 9), 3, np.uint8, {"compression": "jpeg"}, "compression=jpeg: give deflate, lzw, none"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_beforehand(tmp_path, name, size, channels, dtype, options, said):
    height, width = size
    path = tmp_path / name
    with pytest.raises(UserError) as caught:
        check_output(path, height=height, width=width, channels=channels, dtype=dtype, options=options)
    assert str(caught.value).startswith(f"{path}: ") and said in str(caught.value)
    with pytest.raises(UserError):
        band = np.zeros((1, width, channels), dtype)
        write_picture(path, iter([band]), height=height, width=width, options=options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.avif"])
def test_the_longest_sides_are_those_that_are_stated(tmp_path, name):
    side = {"a.jpg": 65_500, "a.webp": 16_383, "a.avif": 16_384}[name]
    for size in ((2, side), (side, 2)):
        write(tmp_path / name, np.zeros((*size, 3), np.uint8), step=1000)
        picture = open_picture(tmp_path / name)
        assert (picture.height, picture.width) == size


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError, StopIteration])
def test_what_the_bands_raise_comes_out_as_it_is(tmp_path, error):
    (tmp_path / "a.png").write_bytes(b"what was there")
    mine = error("mine")

    class Bands:
        left = 3

        def __iter__(self):
            return self

        def __next__(self):
            self.left -= 1
            if self.left:
                return SMOOTH[:10]
            raise mine

    with pytest.raises(ValueError if error is StopIteration else error) as caught:
        write_picture(tmp_path / "a.png", Bands(), height=40, width=60)
    assert caught.value is mine or "20 rows of 40" in str(caught.value)
    assert (tmp_path / "a.png").read_bytes() == b"what was there" and os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize(
    "bands",
    [[], [SMOOTH[:39]], [SMOOTH, SMOOTH[:1]], [SMOOTH[:20], SMOOTH[20:, :59]], [SMOOTH[:20], DEEP[:20, :, :3]]],
    ids=["none", "too few", "too many", "narrow", "deep"],
)
def test_bands_that_make_no_picture(tmp_path, bands):
    with pytest.raises(ValueError, match="rows"):
        write_picture(tmp_path / "a.png", bands, height=40, width=60)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a[1].png", "a,b=c [Q=3].tif", "ä.png", os.fsdecode(b"\xff.jpg"), "-o.png"])
def test_any_name_will_do(tmp_path, name):
    write(tmp_path / name, SMOOTH)
    assert open_picture(tmp_path / name).height == 40 and os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.avif"])
def test_a_full_disk(tmp_path, name):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a file system of limited size cannot be mounted here: needs root and CAP_SYS_ADMIN")
    made, options = [], {"lossless": "1", "effort": "0"} if name == "a.avif" else {}
    bands = (made.append(None) or RNG.integers(0, 256, (16, 1000, 3), np.uint8) for _ in range(64))
    try:
        with pytest.raises(OSError, match="No space left on device"):
            write_picture(disk / name, bands, height=1024, width=1000, options=options)
        assert not list(disk.iterdir())
        assert len(made) < 64 or name == "a.avif"  # noticed while there is more to compute, where rows are encoded
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def process(*lines, stdout=None):
    head = ["import sys, time", "from test_image_writer import *"]
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/tests:{ROOT}/tests/inference"}
    return subprocess.Popen([sys.executable, "-c", "\n".join(head + list(lines))], env=env, stdout=stdout, text=True)


def test_an_interrupt_is_obeyed_at_once_and_leaves_nothing(tmp_path):
    child = process(
        "def bands():",
        "    while True:",
        "        yield SMOOTH[:1]",
        "        time.sleep(0.02)",
        f"try: write_picture({str(tmp_path / 'a.png')!r}, bands(), height=40_000, width=60)",
        "except KeyboardInterrupt: sys.exit(7)",
    )
    await_that(lambda: child.poll() is not None or list(tmp_path.iterdir()))
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=5) == 7 and not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_memory_does_not_grow_with_the_height(tmp_path, ending):
    noise = RNG.integers(0, 16, (64, 4000, 3), np.uint8)
    peaks = []
    for height in (1024, 16_384):
        write_picture(tmp_path / f"a.{ending}", (noise for _ in range(0, height, 64)), height=height, width=4000)
        peak = "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss"
        files = f"Path({str(tmp_path)!r})/'a.{ending}', Path({str(tmp_path)!r})/'b.{ending}'"
        child = process("import resource", f"copy({files})", f"print({peak})", stdout=subprocess.PIPE)
        peaks.append(int(child.communicate(timeout=120)[0]) / 1024)
    assert peaks[1] < peaks[0] + 20, peaks  # MB; the taller picture has 197 MB


def test_a_copy_of_a_photograph_by_rows_of_any_number(tmp_path):
    for step in (1, 40, 128):
        Image.fromarray(SMOOTH).save(tmp_path / "a.png")
        copy(tmp_path / "a.png", tmp_path / "b.png", step)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png")), SMOOTH)
        assert Path(tmp_path / "b.png").stat().st_mode == (tmp_path / "a.png").stat().st_mode


def test_two_at_once_write_one_whole_picture(tmp_path):
    """As two commands into one folder do; the name may be as long as names can be."""
    image, other = SMOOTH, SMOOTH[::-1]
    path = tmp_path / f"{'n' * 251}.png"

    def bands():
        yield image[:20]
        write(path, other)
        np.testing.assert_array_equal(np.asarray(Image.open(path)), other)
        yield image[20:]

    write_picture(path, bands(), height=40, width=60)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
    assert list(tmp_path.iterdir()) == [path]
