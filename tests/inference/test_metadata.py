"""What a picture says beside its pixels, from writers other than ours, and TIFF of either kind and order of bytes."""

import struct
import zlib

import numpy as np
import pytest
import pyvips
from PIL import Image, TiffImagePlugin
from test_image_writer import SMOOTH, copy

from srgan_jax.data.images import BrokenImage
from srgan_jax.inference.image_reader import open_picture


@pytest.mark.parametrize("ending", ["jpg", "webp", "avif"])
def test_a_resolution_without_exif_goes_where_the_format_has_it(tmp_path, ending):
    """Into EXIF: WebP and AVIF have it nowhere else."""
    Image.fromarray(SMOOTH).save(tmp_path / "a.png", dpi=(300, 300))
    copy(tmp_path / "a.png", tmp_path / f"b.{ending}")
    with Image.open(tmp_path / f"b.{ending}") as image:
        assert image.getexif()[0x011A] == pytest.approx(300, abs=0.01)


def test_an_orientation_that_xmp_has_as_an_element(tmp_path):
    """Once it is applied it must not be said any more."""
    said, exif = b"<x:xmpmeta><tiff:Orientation>6</tiff:Orientation></x:xmpmeta>", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", exif=exif, xmp=said)
    assert open_picture(tmp_path / "a.jpg").metadata["xmp-data"] == said.replace(b"6", b"1")


def test_iptc_is_kept(tmp_path):
    image = pyvips.Image.new_from_array(SMOOTH).copy()
    caption = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x08" + b"\x1c\x02\x78\0\x03abc"
    image.set_type(pyvips.GValue.blob_type, "iptc-data", caption)
    image.jpegsave(str(tmp_path / "a.jpg"))
    copy(tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert all(b"abc" in (tmp_path / name).read_bytes() for name in ("a.jpg", "b.jpg"))


def grey_tiff(image, order, big):
    """Of 8 bits, each of its tags one LONG; big: with offsets of 64 bits."""
    height, width = image.shape
    begin, size, entry, offset = (16, "Q", "HHQI4x", "Q") if big else (8, "H", "HHII", "I")
    data = begin + sum(struct.calcsize(f"={part}") for part in (size, 9 * entry, offset))
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: data, 277: 1, 278: height, 279: image.size}
    head = struct.pack(f"{order}HHHQ", 43, 8, 0, begin) if big else struct.pack(f"{order}HI", 42, begin)
    entries = b"".join(struct.pack(order + entry, tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack(order + size, len(tags)) + entries + struct.pack(order + offset, 0)
    return {"<": b"II", ">": b"MM"}[order] + head + directory + image.tobytes()


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_tiff_in_ycbcr_is_refused_where_libvips_would_show_it_as_rgb(tmp_path, compression):
    picture = Image.fromarray(SMOOTH)
    picture.save(tmp_path / "a.tif", compression="jpeg", quality=95)
    assert np.abs(open_picture(tmp_path / "a.tif").rows(0, len(SMOOTH)) - SMOOTH.astype(int)).mean() < 6
    picture.convert("YCbCr").save(tmp_path / "a.tif", compression=compression)
    with pytest.raises(BrokenImage, match="in YCbCr, not compressed as JPEG; save it as RGB"):
        open_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_either_order_and_size(tmp_path, order, big):
    (tmp_path / "a.tif").write_bytes(grey_tiff(SMOOTH[..., 0], order, big))
    found = open_picture(tmp_path / "a.tif").rows(0, len(SMOOTH))
    np.testing.assert_array_equal(found[..., 0], SMOOTH[..., 0])


@pytest.mark.parametrize(("transfer", "refused"), [(13, False), (16, True), (18, True)], ids=["sRGB", "PQ", "HLG"])
@pytest.mark.parametrize("ending", ["png", "avif"])
def test_levels_of_high_dynamic_range_are_refused(tmp_path, ending, transfer, refused):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(SMOOTH).save(path)
    content = bytearray(path.read_bytes())
    if ending == "png":
        chunk = b"cICP" + bytes([9, transfer, 0, 1])
        content[33:33] = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))  # after IHDR
    else:
        content[content.index(b"colrnclx") + 11] = transfer
    path.write_bytes(content)
    if refused:
        with pytest.raises(BrokenImage, match="HDR"):
            open_picture(path)
    else:
        assert open_picture(path).channels == 3


def test_a_tiff_may_have_photoshops_layers_beside_the_picture(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[37724], tags.tagtype[37724] = bytes(30_000_000), 7
    Image.fromarray(SMOOTH).save(tmp_path / "a.tif", tiffinfo=tags)
    np.testing.assert_array_equal(open_picture(tmp_path / "a.tif").rows(0, len(SMOOTH)), SMOOTH)


def test_a_full_temporary_folder_is_named(tmp_path, monkeypatch):
    """Where a turned picture is kept while it is read."""

    class Full:
        def fetch(self, *_):
            raise pyvips.Error("x", "write error: No space left on device")

    Image.fromarray(SMOOTH).save(tmp_path / "a.png")
    monkeypatch.setattr(pyvips.Region, "new", lambda image: Full())
    monkeypatch.setenv("TMPDIR", "/full")
    with pytest.raises(OSError, match="No space left") as caught:
        open_picture(tmp_path / "a.png").rows(0, 1)
    assert caught.value.filename == "/full"
