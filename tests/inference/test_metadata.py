"""What a picture says beside its pixels, from writers other than ours, and TIFF of either kind and order of bytes."""

import struct

import numpy as np
import pytest
import pyvips
from PIL import Image
from test_image_writer import SMOOTH, copy

from srgan_jax.data.images import BrokenImage
from srgan_jax.inference.image_io import open_picture


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
