"""python image_fuzz.py FOLDER SECONDS: small pictures of every format, damaged, in and out; exits 0 if all went well.

A process of its own, because a fault in a decoder may end it. The last input stays in FOLDER, its seed is printed.
"""

import faulthandler
import io
import itertools
import logging
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pyvips
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from srgan_jax.data.images import BrokenImage
from srgan_jax.inference.image_reader import open_picture
from srgan_jax.inference.image_writer import write_picture

PIXELS = np.clip(np.random.default_rng(0).normal(128, 40, (20, 28, 3)), 0, 255).astype(np.uint8)


def corpus():
    """Files of every kind that is read."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rgb = Image.fromarray(PIXELS)
    metadata = {"exif": exif, "dpi": (300, 300), "icc_profile": icc}
    pictures = [(rgb, kind, metadata) for kind in ("PNG", "JPEG", "TIFF", "WEBP", "AVIF")]
    pictures += [(rgb, kind, {}) for kind in ("PNG", "GIF", "BMP", "PPM", "TGA")]
    pictures += [(rgb.convert(mode), "PNG", {}) for mode in ("1", "L", "LA", "P", "RGBA")]
    pictures += [
        (rgb, "TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
    ]
    pictures += [(rgb.convert("CMYK"), kind, {}) for kind in ("JPEG", "TIFF")]
    pictures += [(rgb, "JPEG", {"progressive": True}), (rgb.convert("RGBA"), "WEBP", {"lossless": True})]
    frames = {"save_all": True, "append_images": [rgb.rotate(180)]}
    pictures += [(rgb, kind, frames) for kind in ("PNG", "GIF", "TIFF", "WEBP", "AVIF")]
    for picture, kind, options in pictures:
        file = io.BytesIO()
        picture.save(file, kind, **options)
        yield kind, file.getvalue()
    deep = pyvips.Image.new_from_array(PIXELS.astype(np.uint16) * 257)
    yield "PNG", deep.pngsave_buffer(interlace=True)
    yield "TIFF", deep.tiffsave_buffer(tile=True, compression="deflate", predictor="horizontal")
    yield "AVIF", deep.heifsave_buffer(compression="av1", bitdepth=10)


FILES = list(corpus())


def damage(content, edits):
    """Each edit: what, where (0 to 1), how many bytes, which."""
    for what, where, length, filling in edits:
        at = int(where * len(content))
        if what == "flip":
            content = (
                content[:at] + bytes(b ^ f for b, f in zip(content[at:], filling, strict=False)) + content[at:][8:]
            )
        elif what == "cut":
            content = content[:at] + content[at + length :]
        elif what == "insert":
            content = content[:at] + filling + content[at:]
        elif what == "zero":
            content = content[:at] + bytes(len(content[at : at + length])) + content[at + length :]
    return content


def mended(png):
    """With right checksums, or the damage would go no further than them."""
    at, parts = 8, [png[:8]]
    while at < len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        parts += [png[at:end], zlib.crc32(png[at + 4 : end]).to_bytes(4, "big")]
        at = end + 4
    return b"".join(parts)


def there_and_back(source, target):
    """Whether it was a picture; then its copy has its shape, or else there is none."""
    try:
        picture = open_picture(source, max_pixels=1_000_000, first_frame=True)
        steps = range(0, picture.height, 7)
        bands = (picture.rows(top, min(top + 7, picture.height)) for top in steps)
        write_picture(target, bands, height=picture.height, width=picture.width, like=picture)
    except BrokenImage as error:
        assert 3 < len(str(error)) <= 120 and "\n" not in str(error), error
        assert not list(target.parent.iterdir())
        return False
    copy = pyvips.Image.new_from_file(str(target), fail_on="error")
    copy.avg()
    assert (copy.height, copy.width, copy.bands) == (picture.height, picture.width, picture.channels)
    assert copy.format == ("uchar" if picture.dtype is np.uint8 else "ushort")
    assert list(target.parent.iterdir()) == [target]
    target.unlink()
    return True


EDIT = st.tuples(
    st.sampled_from(["flip", "flip", "cut", "insert", "zero"]),
    st.floats(0, 1),
    st.integers(1, 200),
    st.binary(min_size=1, max_size=8),
)
SEEN = {True: 0, False: 0}


@settings(max_examples=50, deadline=None, database=None)
@given(st.sampled_from(FILES), st.lists(EDIT, max_size=4), st.booleans(), st.sampled_from([".png", ".tif"]))
def goes_well(file, edits, mend, ending):
    kind, content = file
    content = damage(content, edits)
    if mend and kind == "PNG":
        content = mended(content)
    source = FOLDER / f"in.{kind.lower()}"
    source.write_bytes(content)
    faulthandler.dump_traceback_later(20, exit=True)  # a hang
    SEEN[there_and_back(source, FOLDER / "out" / f"a{ending}")] += 1


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1])
    (FOLDER / "out").mkdir()
    logging.basicConfig()  # as the command line has it: to stderr
    end = time.monotonic() + float(sys.argv[2])
    for number in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()):
        print(f"seed {number}", flush=True)
        seed(number)(goes_well)()
    faulthandler.cancel_dump_traceback_later()
    print(f"{SEEN[True]} pictures, {SEEN[False]} refused")
