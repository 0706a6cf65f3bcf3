"""Files as they arrive: every mode becomes uint8 RGB, and every damage a BrokenImage with a reason."""

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from srgan_jax.__main__ import main
from srgan_jax.data.images import BrokenImage, image_size, is_grey, list_images, read_image, write_png

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


def png(tmp_path, name="a.png", pixels=RGB):
    path = tmp_path / name
    Image.fromarray(pixels).save(path)
    return path


def damaged(tmp_path, kind):
    """A file of the given kind of damage, and what the message says about it."""
    path = tmp_path / f"broken.{'jpg' if 'jpeg' in kind else 'png'}"
    Image.fromarray(RGB).save(path)
    content = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
        return path, "not an image"
    if kind == "text":
        path.write_text("<html>404 Not Found</html>")
        return path, "not an image"
    if kind == "bad crc":  # one byte of the first data chunk
        at = content.index(b"IDAT") + 8
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        return path, "broken PNG file|CRC|checksum"
    path.write_bytes(content[: int(len(content) * 0.7)])
    return path, "truncated|Truncated|broken"


@pytest.mark.parametrize("kind", ["empty", "text", "truncated png", "truncated jpeg", "bad crc"])
def test_a_damaged_file_is_refused_with_a_reason(tmp_path, kind):
    path, reason = damaged(tmp_path, kind)
    with pytest.raises(BrokenImage) as caught:
        read_image(path)
    message = str(caught.value)
    assert re.search(reason, message) and "\n" not in message and len(message) <= 120


@pytest.mark.parametrize("kind", ["empty", "text"])
def test_the_size_of_no_image_is_refused(tmp_path, kind):
    path, reason = damaged(tmp_path, kind)
    with pytest.raises(BrokenImage, match=reason):
        image_size(path)


@pytest.mark.parametrize("function", [read_image, image_size])
@pytest.mark.parametrize("kind", ["fifo", "folder", "missing", "dangling link", "link to itself"])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, kind, function):
    path = tmp_path / "a.png"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere.png")
    elif kind == "link to itself":
        path.symlink_to(path)
    with pytest.raises(BrokenImage, match="not a regular file"):
        function(path)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = png(tmp_path)
    for function in (read_image, image_size):
        with pytest.raises(BrokenImage, match="more than 0 megapixels; cut it into parts"):
            function(path)


def test_rgb_is_read_as_it_is(tmp_path):
    image = read_image(png(tmp_path))
    np.testing.assert_array_equal(image, RGB)
    assert image.flags.writeable


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "link.png").symlink_to(png(tmp_path))
    np.testing.assert_array_equal(read_image(tmp_path / "link.png"), RGB)


def test_grey_is_repeated(tmp_path):
    image = read_image(png(tmp_path, pixels=RGB[..., 0]))
    np.testing.assert_array_equal(image, RGB[..., :1].repeat(3, axis=-1))


def test_16_bit_grey_is_rounded_to_8(tmp_path):
    levels = np.array([[0, 128, 129, 257, 65535, 32768, 65406, 65407]], np.uint16)
    image = read_image(png(tmp_path, pixels=levels))
    assert image.shape == (1, 8, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image[0, :, 0], [0, 0, 1, 1, 255, 128, 254, 255])
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_levels_that_are_no_8_or_16_bits_are_refused(tmp_path):
    for name, levels in (
        ("unit", np.random.default_rng(0).random((9, 8), np.float32)),
        ("wide", np.full((9, 8), 70000)),
    ):
        Image.fromarray(levels.astype(np.float32 if name == "unit" else np.int32)).save(tmp_path / f"{name}.tif")
        with pytest.raises(BrokenImage, match="8 and 16 bits without sign are read"):
            read_image(tmp_path / f"{name}.tif")
    (tmp_path / "wide.pgm").write_bytes(b"P5 2 1 65535\n" + bytes([255, 255, 128, 128]))
    np.testing.assert_array_equal(read_image(tmp_path / "wide.pgm")[0, :, 0], [255, 128])


def test_grey_is_what_the_file_holds(tmp_path):
    level = np.arange(72, dtype=np.uint8).reshape(9, 8)
    for image, ending, grey in (
        (Image.fromarray(level), "png", True),
        (Image.fromarray(level.astype(np.uint16) * 257), "png", True),
        (Image.fromarray(level).convert("LA"), "png", True),
        (Image.fromarray(level), "jpg", True),
        (Image.fromarray(level).convert("RGB"), "png", False),
        (Image.fromarray(level).convert("P"), "png", False),
    ):
        image.save(tmp_path / f"a.{ending}")
        assert is_grey(tmp_path / f"a.{ending}") == grey, image.mode


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped(tmp_path, mode):
    source = Image.fromarray(RGB).convert(mode)
    source.putalpha(Image.fromarray(RGB[..., 1]))
    source.save(tmp_path / "a.png")
    expected = RGB if mode == "RGBA" else np.asarray(Image.fromarray(RGB).convert("L"))[..., None].repeat(3, axis=-1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(0, 256, 4))], ids=["opaque", "one", "each"])
def test_a_palette_is_looked_up(tmp_path, transparency):
    source = Image.fromarray(RGB).quantize(64)
    options = {} if transparency is None else {"transparency": transparency}
    source.save(tmp_path / "a.png", **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.asarray(source.convert("RGB")))


def test_one_bit_is_black_and_white(tmp_path):
    image = read_image(png(tmp_path, pixels=RGB[..., 0] > 127))
    np.testing.assert_array_equal(image[..., 0], np.where(RGB[..., 0] > 127, 255, 0))


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (20, 12), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (12, 20, 3)
    np.testing.assert_allclose(image, np.broadcast_to([255, 0, 0], image.shape), atol=3)


TURNED = {  # what each EXIF orientation asks for, on rows and columns
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path, exif=exif)
    expected = TURNED[orientation](RGB)
    np.testing.assert_array_equal(read_image(path), expected)
    assert image_size(path) == expected.shape[:2]


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("orientation", TURNED)
def test_a_tiff_is_turned_once(tmp_path, orientation, mode, compression):
    path, levels = tmp_path / "a.tif", RGB[..., 0].astype(np.uint16) * 257
    image = Image.fromarray(levels) if mode == "I;16" else Image.fromarray(RGB).convert(mode)
    image.save(path, compression=compression, tiffinfo={0x0112: orientation})
    upright = RGB[..., :1].repeat(3, axis=-1) if mode == "I;16" else np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_image(path), TURNED[orientation](upright))
    assert image_size(path) == TURNED[orientation](upright).shape[:2]


@pytest.mark.parametrize("by", ["exif", "xmp"])
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "avif", "tif"])
def test_the_size_is_that_of_the_picture_on_its_side(tmp_path, ending, by):
    path, text, exif = tmp_path / f"a.{ending}", PngInfo(), Image.Exif()
    xmp = '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    text.add_itxt("XML:com.adobe.xmp", xmp)
    exif[0x0112] = 6
    options = {"exif": exif} if by == "exif" else {"pnginfo": text} if ending == "png" else {"xmp": xmp.encode()}
    if ending == "tif":
        options = {"tiffinfo": {0x0112: 6} if by == "exif" else {700: xmp.encode()}}
    Image.fromarray(RGB).save(path, **options)
    assert image_size(path) == read_image(path).shape[:2] == (20, 12)


def test_one_pixel(tmp_path):
    path = png(tmp_path, pixels=RGB[:1, :1])
    assert image_size(path) == (1, 1)
    np.testing.assert_array_equal(read_image(path), RGB[:1, :1])


def test_a_header_is_enough_for_the_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, options, size in [("a.png", {}, (12, 20)), ("b.png", {"exif": exif}, (20, 12))]:
        path = tmp_path / name
        Image.fromarray(RGB).save(path, **options)
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b"IDAT") + 20])
        assert image_size(path) == size


def test_list_images_goes_by_ending_and_sorts(tmp_path):
    for name in ("b.PNG", "a.jpg", "sub/deep/c.avif", "notes.txt", "noending", "d.png.partial", "._a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)] == [
        "a.jpg",
        "b.PNG",
        "sub/deep/c.avif",
    ]


def test_a_linked_folder_is_listed_once_by_the_first_of_its_names(tmp_path):
    for i in range(20):  # made in either order, which some file systems list them in
        for name in ("ab", "ba")[i % 2]:
            folder = tmp_path / f"{name}{i:02}"
            if name == "a":
                folder.mkdir()
                png(folder)
            else:
                folder.symlink_to(f"a{i:02}", target_is_directory=True)
    assert list_images(tmp_path) == [tmp_path / f"a{i:02}" / "a.png" for i in range(20)]


def test_a_folder_out_of_reach_is_told_of_once(tmp_path, monkeypatch, capsys):
    (tmp_path / "locked").mkdir()
    png(tmp_path)
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert main(["data", "check", str(tmp_path), "--crop", "8"]) == 0
    assert capsys.readouterr().err.count("locked: Permission denied; what is in it is left out") == 1


def test_write_png_round_trip_and_new_folders(tmp_path):
    path = tmp_path / "new" / "folder" / "a.png"
    write_png(path, RGB)
    np.testing.assert_array_equal(read_image(path), RGB)
    write_png(str(path), RGB[::-1])
    np.testing.assert_array_equal(read_image(path), RGB[::-1])
    assert os.listdir(path.parent) == ["a.png"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_png(path, RGB)

    def save(self, file, **_):
        with open(file, "wb") as half:
            half.write(b"\x89PNG half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="No space left"):
        write_png(path, RGB[::-1])
    monkeypatch.undo()
    np.testing.assert_array_equal(read_image(path), RGB)
    assert os.listdir(tmp_path) == ["a.png"]
