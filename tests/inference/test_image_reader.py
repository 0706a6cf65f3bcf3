"""Every kind of file that arrives: pixels as another reader has them, or a refusal with a reason."""

import contextlib
import io
import os
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms, ImageOps
from running import ROOT

from srgan_jax.data.images import BrokenImage
from srgan_jax.inference.image_reader import open_picture

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 20, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (12, 20, 4), np.uint16)
KINDS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
MODES = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "tif": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "tga": ("L", "LA", "P", "RGB", "RGBA"),
    "bmp": ("1", "L", "P", "RGB"),
    "ppm": ("1", "L", "RGB"),
    "webp": ("RGB", "RGBA"),
}


def pixels(path, step=5, **options):
    """As the rows give them."""
    picture = open_picture(path, **options)
    tops = range(0, picture.height, step)
    image = np.concatenate([picture.rows(top, min(top + step, picture.height)) for top in tops])
    assert image.shape == (picture.height, picture.width, picture.channels) and image.dtype == picture.dtype
    return image


def refusal(path, **options):
    with pytest.raises(BrokenImage) as caught:
        pixels(path, **options)
    message = str(caught.value)
    assert "\n" not in message and 3 < len(message) <= 120
    return message


def saved(path, image=RGB, **options):
    Image.fromarray(image).save(path, **options)
    return path


def from_libvips(path, image, kind, **options):
    pyvips.Image.new_from_array(np.ascontiguousarray(image), interpretation=kind).write_to_file(str(path), **options)
    return path


@pytest.mark.parametrize(("ending", "mode"), [(ending, mode) for ending, modes in MODES.items() for mode in modes])
def test_every_mode_is_read_as_pillow_reads_it(tmp_path, ending, mode):
    path = tmp_path / f"a.{ending}"
    grey, alpha = mode in ("1", "L", "LA"), mode in ("LA", "RGBA")
    image = Image.fromarray(np.dstack([RGB, RGB[::-1, :, 0]]) if alpha else RGB).convert(mode)
    image.save(path, **({"lossless": True, "exact": True} if ending == "webp" else {}))
    ours = pixels(path)
    assert ours.shape[2] == (1 if grey else 3) + alpha
    with Image.open(path) as theirs:
        np.testing.assert_array_equal(ours, np.asarray(theirs.convert(KINDS[ours.shape[2]])).reshape(ours.shape))


@pytest.mark.parametrize("transparency", [3, bytes(range(256))])
def test_a_palette_keeps_its_transparency(tmp_path, transparency):
    Image.fromarray(RGB).quantize(200).save(tmp_path / "a.png", transparency=transparency)
    with Image.open(tmp_path / "a.png") as theirs:
        np.testing.assert_array_equal(pixels(tmp_path / "a.png"), np.asarray(theirs.convert("RGBA")))


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_read_as_pillow_reads_it(tmp_path, mode, options):
    Image.fromarray(RGB).convert(mode).save(tmp_path / "a.jpg", quality=95, **options)
    with Image.open(tmp_path / "a.jpg") as theirs:
        ours = pixels(tmp_path / "a.jpg")
        assert np.abs(ours - np.asarray(theirs, int).reshape(ours.shape)).max() <= 2


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_stay_16(tmp_path, channels, ending):
    image = DEEP[..., :channels]
    path = from_libvips(tmp_path / f"a.{ending}", image, "rgb16" if channels > 2 else "grey16")
    np.testing.assert_array_equal(pixels(path), image)


def tiff_within_tiff(outer, inner):
    """A grey TIFF of `outer` pixels a side, with one of `inner` a side as its SubIFD."""

    def directory(side, data, more=()):
        entries = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, data), (277, 1), (278, side)]
        entries += [(279, side**2), *more]
        return (
            struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in entries) + bytes(4)
        )

    first, length = 8 + outer**2 + inner**2, len(directory(inner, 0))
    directories = directory(inner, 8 + outer**2), directory(outer, 8, [(330, first)])
    return b"II*\0" + struct.pack("<I", first + length) + bytes(outer**2) + bytes(inner**2) + b"".join(directories)


def test_a_cameras_raw_file_is_not_its_preview(tmp_path):
    (tmp_path / "raw.dng").write_bytes(tiff_within_tiff(8, 64))
    assert "a camera's raw file" in refusal(tmp_path / "raw.dng")
    (tmp_path / "pyramid.tif").write_bytes(tiff_within_tiff(64, 8))
    assert pixels(tmp_path / "pyramid.tif").shape == (64, 64, 1)
    path = tmp_path / "larger.tif"
    pyvips.Image.new_from_array(RGB).resize(30).tiffsave(str(path), pyramid=True, subifd=True, tile=True)
    assert pixels(path).shape == (12 * 30, 20 * 30, 3)


def test_16_bits_of_other_writers_and_kinds(tmp_path):
    for ending in ("png", "tif", "pgm"):
        np.testing.assert_array_equal(pixels(saved(tmp_path / f"a.{ending}", DEEP[..., 0]))[..., 0], DEEP[..., 0])
    (tmp_path / "rgb.ppm").write_bytes(b"P6 20 12 65535\n" + DEEP[..., :3].astype(">u2").tobytes())
    assert "16 bits in PPM" in refusal(tmp_path / "rgb.ppm")  # Pillow would cut it to 8 without a word
    deep = DEEP[..., :3] | np.uint16(65535) * (np.arange(20, dtype=np.uint16)[:, None] < 4)  # with white
    for bits in (10, 12):
        ours = pixels(from_libvips(tmp_path / "a.avif", deep, "rgb16", bitdepth=bits, lossless=True))
        assert ours.dtype == np.uint16 and len(np.unique(ours)) > 300 and ours.max() == 65535


@pytest.mark.parametrize("ending", ["jpg", "tif"])
@pytest.mark.parametrize("embedded", [True, False])
def test_cmyk_becomes_srgb_by_its_profile(tmp_path, ending, embedded):
    profile = pyvips.Operation.call("profile_load", "cmyk")  # the one taken where there is none, too
    smooth = Image.fromarray(RGB[:2, :3]).resize((20, 12), Image.Resampling.BICUBIC).convert("CMYK")
    smooth.save(tmp_path / f"a.{ending}", **({"icc_profile": profile} if embedded else {}))
    with Image.open(tmp_path / f"a.{ending}") as stored:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        wanted = ImageCms.profileToProfile(stored, source, ImageCms.createProfile("sRGB"), 1, outputMode="RGB")
    ours = pixels(tmp_path / f"a.{ending}")
    assert np.abs(ours - np.asarray(wanted, int)).max() <= 6
    metadata = open_picture(tmp_path / f"a.{ending}").metadata
    assert b"RGB XYZ" in metadata["icc-profile-data"][:40]


def test_cmyk_of_16_bits_and_with_alpha(tmp_path):
    ours = pixels(from_libvips(tmp_path / "a.tif", DEEP, "cmyk"))
    assert ours.shape == (12, 20, 3) and ours.dtype == np.uint16
    ours = pixels(from_libvips(tmp_path / "b.tif", np.dstack([DEEP, DEEP[..., 0]]), "cmyk"))
    assert ours.shape == (12, 20, 4) and np.array_equal(ours[..., 3], DEEP[..., 0])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif", "jpg", "webp"])
def test_the_orientation_is_applied(tmp_path, ending, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"a.{ending}", exif=exif)
    with Image.open(path) as theirs:
        wanted = np.asarray(ImageOps.exif_transpose(theirs), int)
    assert np.abs(pixels(path) - wanted).max() <= (2 if ending == "jpg" else 0)


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif", "avif"])
def test_of_an_animation_the_first_frame_on_request(tmp_path, ending):
    frames = [Image.fromarray(np.full((16, 24, 3), value, np.uint8)) for value in (0, 90, 250)]
    frames[0].save(tmp_path / "a", ending.replace("tif", "tiff"), save_all=True, append_images=frames[1:])
    assert "animation" in refusal(tmp_path / "a")
    first = pixels(tmp_path / "a", first_frame=True)
    assert first.shape[:2] == (16, 24) and first[..., :3].max() < 10


def test_a_single_pixel(tmp_path):
    for ending in ("png", "jpg", "tif", "webp", "avif", "gif", "bmp"):
        assert pixels(saved(tmp_path / f"a.{ending}", RGB[:1, :1])).shape[:2] == (1, 1)


def test_the_cap_of_pixels_is_read_from_the_header(tmp_path):
    """20000 x 20000 in 1.2 MB: legitimate, if wanted."""
    squeeze, length = zlib.compressobj(9, wbits=-15), 20_000 * (1 + 20_000 * 3)
    part = squeeze.compress(bytes(length // 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    content = b"\x78\xda" + 20 * part + b"\x03\0" + (length % 65521).to_bytes(2, "big") + b"\0\1"
    chunks = [(b"IHDR", (20_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"), (b"IDAT", content), (b"IEND", b"")]
    whole = (len(c).to_bytes(4, "big") + n + c + zlib.crc32(n + c).to_bytes(4, "big") for n, c in chunks)
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(whole))
    assert path.stat().st_size < 1_300_000
    picture = open_picture(path)
    assert (picture.height, picture.width) == (20_000, 20_000) and not picture.rows(0, 10).any()
    assert refusal(path, max_pixels=399_999_999) == "20000x20000 is more than the 399999999 pixels allowed"
    assert "20x12 is more than" in refusal(saved(tmp_path / "a.bmp"), max_pixels=239)
    assert pixels(saved(tmp_path / "a.bmp"), max_pixels=240).shape == (12, 20, 3)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"some text",
        b"<html>404 Not Found</html>",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n\1\2\3\4",
        b"v/1\1\2\0\0\0" + bytes(200),
        b"%PDF-1.4\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\x08\xf2\xa6\xb6" + bytes(200),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
    ],
    ids=["empty", "text", "html", "svg", "hdr", "exr", "pdf", "eps", "libvips", "heic"],
)
@pytest.mark.parametrize("name", ["a.png", "a.tga"])
def test_what_is_no_picture_is_refused_whatever_its_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert ("HEIC" if b"heic" in content else "not an image") in refusal(tmp_path / name)


def test_a_name_does_not_matter(tmp_path):
    saved(tmp_path / "a.svg", format="PNG")
    np.testing.assert_array_equal(pixels(tmp_path / "a.svg"), RGB)


@pytest.mark.parametrize(("kind", "reason"), [("float32", "type float"), ("int32", "type int"), ("lab", "Lab|lab")])
def test_what_is_neither_8_nor_16_bits_of_grey_or_colour_is_refused(tmp_path, kind, reason):
    path = tmp_path / "a.tif"
    Image.fromarray(RGB).convert("LAB").save(path) if kind == "lab" else saved(path, RGB[..., 0].astype(kind))
    assert any(part in refusal(path) for part in reason.split("|"))
    assert "5 channels" in refusal(from_libvips(path, np.dstack([RGB, RGB[..., :2]]), "multiband"))


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp", "avif", "gif", "bmp"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.95])
def test_a_file_cut_short_is_refused(tmp_path, ending, part):
    path = saved(tmp_path / f"a.{ending}", RNG.integers(0, 256, (60, 90, 3), np.uint8))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    refusal(path)


def test_a_wrong_checksum_is_refused(tmp_path):
    path = saved(tmp_path / "a.png")
    content = path.read_bytes()
    for at in (content.index(b"IDAT") + 8, content.index(b"IEND") - 5):  # in the data, and the checksum itself
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        refusal(path)


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "missing", "link to itself", "unreadable"])
def test_what_is_no_readable_file_is_refused_without_waiting(tmp_path, kind):
    path, reason = tmp_path / "a.png", "not a regular file"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "missing":
        reason = "No such file"
    elif kind == "link to itself":
        path.symlink_to(path)
        reason = "Too many levels of symbolic links"
    else:
        saved(path).chmod(0)
        reason = "Permission denied"
    if kind == "unreadable" and os.geteuid() == 0:
        os.seteuid(65534)
    try:
        assert reason in refusal(path)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


def test_a_fault_of_the_machine_is_not_the_pictures(tmp_path):
    path, limit = saved(tmp_path / "a.png"), resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):  # neither pictures nor refusals keep files open
        pixels(path)
        with contextlib.suppress(BrokenImage):
            open_picture(path, max_pixels=1)
    assert len(os.listdir("/proc/self/fd")) < before + 10
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limit[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            open_picture(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


@pytest.mark.parametrize(("seconds", "least"), [(3, 15), pytest.param(20, 160, marks=pytest.mark.slow)])
def test_damaged_bytes_end_in_a_picture_or_a_refusal(tmp_path, seconds, least):
    argv = [sys.executable, f"{ROOT}/tests/inference/image_fuzz.py", tmp_path, str(seconds)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60, env=env)
    assert process.returncode == 0 and process.stderr == "", process.stdout[-200:] + process.stderr[-3000:]
    pictures, _, refused, _ = process.stdout.splitlines()[-1].split()
    assert min(int(pictures), int(refused)) >= least
