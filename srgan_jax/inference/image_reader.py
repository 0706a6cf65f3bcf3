"""Whatever arrives, by rows: files to uint8 or uint16 pixels, upright, with the metadata that a copy should keep."""

import logging
import os
import re
import stat
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from PIL import Image, UnidentifiedImageError

from srgan_jax.data.images import PASSING, BrokenImage, broken
from srgan_jax.errors import FULL, UserError

if (pyvips.version(0), pyvips.version(1)) < (8, 17):  # a system's, which pyvips was built with in place of ours
    remedy = "pip install --force-reinstall --no-deps pyvips-binary"
    raise UserError(f"libvips {pyvips.version(0)}.{pyvips.version(1)} is too old, 8.17 or newer is needed: {remedy}")
pyvips.cache_set_max(0)  # each picture is read once
# Its buffers grow with its threads: to read 80,000 columns takes 0.8 GB with 1 to 4, and 2.4 GB with 64
pyvips.concurrency_set(min(4, pyvips.concurrency_get()))
logging.getLogger("pyvips").propagate = False  # what is odd about a file but does no harm

Dtype = type[np.uint8] | type[np.uint16]
MAX_PIXELS = 1_000_000_000
# The kind is known by the first bytes, never by the name; what is not here is not decoded.
LOADERS = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"GIF8": "gif",
}
# What is looked for in a folder: these kinds, and HEIC, which is refused in words of its own
ENDINGS = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .mpo .tif .tiff .webp .avif .avifs .gif .bmp .dib .ppm .pgm .pbm .pnm .pfm .tga"
    " .heic .heif .hif".split()
)
SEVERAL = "an animation, or several pages, not one picture"
CHANNELS = {"b-w": (1, 2), "grey16": (1, 2), "srgb": (3, 4), "rgb16": (3, 4)}
DTYPES: dict[str, Dtype] = {"uchar": np.uint8, "ushort": np.uint16}
KEPT = ("icc-profile-data", "xmp-data", "iptc-data", "resolution-unit")


@dataclass(frozen=True)
class Picture:
    """A picture whose pixels are yet to be read.

    height, width: as displayed. channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA; alpha is not premultiplied.
    rows(top, bottom) gives dtype[bottom - top, width, channels]. To be called from the top to the bottom, each row
    once; it raises BrokenImage where the file is damaged, OSError or MemoryError where the machine is at fault.
    resolution: (x, y) in pixels per mm, or None where the file has none. metadata: libvips' fields (ICC, XMP, IPTC,
    EXIF without orientation and thumbnail; of TIFF no EXIF is read).
    """

    height: int
    width: int
    channels: int
    dtype: Dtype
    rows: Callable[[int, int], np.ndarray]
    resolution: tuple[float, float] | None
    metadata: dict[str, Any]


def open_picture(path: str | Path, *, max_pixels: int = MAX_PIXELS, first_frame: bool = False) -> Picture:
    """Reads the header: PNG, JPEG, TIFF, WebP, AVIF, GIF, BMP and PPM, known by their first bytes, and TGA.

    Palettes and 1-bit pictures become 8 bits, CMYK becomes sRGB by the picture's own profile, the orientation is
    applied, 16 bits stay 16. Memory: rows of PNG, JPEG and TIFF are decoded as they are asked for. A picture that has
    to be turned is first decoded to memory or, above 100 MB, to a file in $TMPDIR. Interlaced PNG, progressive JPEG,
    WebP, AVIF, GIF and Pillow's formats are decoded whole, in memory.

    Args:
      max_pixels: height * width of the largest picture taken.
      first_frame: of an animation, or of a file of several pages, take the first; without it they are refused.

    Raises:
      BrokenImage: not a regular file, unreadable, of no known kind, damaged, too large, or of pixels that are neither
        8 nor 16 bits of grey, RGB or CMYK (float, HDR, Lab).
      OSError, MemoryError: a fault of the machine.
    """
    path = Path(path)
    head = first_bytes(path)
    try:
        image = load(path, head, "sequential", max_pixels)
        pages = image.get("n-pages") if image.get_typeof("n-pages") else 1
        if (pages > 1 or animated(head)) and not first_frame:
            raise BrokenImage(SEVERAL)
        if high_range(head):
            raise BrokenImage("HDR (PQ or HLG); save it as a picture of standard range")
        check_size(image.width, image.height, max_pixels)
        if preview(image, path, head):
            raise BrokenImage("a camera's raw file, of which a preview alone would be read; develop it first")
        if in_ycbcr(path, head):
            raise BrokenImage("a TIFF in YCbCr, not compressed as JPEG; save it as RGB")
        if image.format not in DTYPES:
            raise BrokenImage(f"pixels of type {image.format}; 8 and 16 bits without sign are read")
        avif = head[4:8] == b"ftyp"  # libvips has turned it already
        orientation = image.get("orientation") if image.get_typeof("orientation") else 1
        if orientation > 2:  # 2: mirrored, row by row
            image = load(path, head, "random", max_pixels)
        image = image.autorot()
        if image.format == "ushort" and avif:
            image |= image >> image.get("bits-per-sample")  # libvips leaves the bits below 0, so that white is not
        if image.interpretation == "cmyk":
            depth = 16 if image.format == "ushort" else 8
            colour = image[:4].icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth)
            image = colour.bandjoin(image[4:]) if image.bands > 4 else colour  # the transform spoils alpha of 16 bits
        if image.bands not in CHANNELS.get(image.interpretation, ()):
            raise BrokenImage(f"{image.bands} channels of kind {image.interpretation}; grey, RGB and CMYK are read")
        metadata = {name: image.get(name) for name in image.get_fields() if name in KEPT or name.startswith("exif-")}
        metadata.pop("exif-ifd0-Orientation", None)
        if (avif or orientation > 1) and "xmp-data" in metadata:  # it would go on to say what was applied
            metadata["xmp-data"] = re.sub(rb"(tiff:Orientation(?:=[\"']|>))[2-8]", rb"\g<1>1", metadata["xmp-data"])
        region = pyvips.Region.new(image)
    except pyvips.Error as error:
        raise fault(error) from error

    dtype = DTYPES[image.format]

    def rows(top: int, bottom: int) -> np.ndarray:
        try:
            pixels = region.fetch(0, top, image.width, bottom - top)
        except pyvips.Error as error:
            found = fault(error)
            if isinstance(found, OSError) and found.errno in FULL:  # a turned picture is kept there
                found.filename = os.environ.get("TMPDIR", "/tmp")
            raise found from error
        return np.frombuffer(pixels, dtype).reshape(bottom - top, image.width, image.bands)

    resolution = (image.xres, image.yres)
    known = resolution != (1, 1) and 0 < min(resolution) <= max(resolution) < 1e6  # 1: libvips' where there is none
    return Picture(image.height, image.width, image.bands, dtype, rows, resolution if known else None, metadata)


def open_file(path: Path) -> int:
    """A descriptor of the regular file; nothing else, a FIFO say, is waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in PASSING:
            raise
        raise BrokenImage(os.strerror(error.errno or 0)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BrokenImage("not a regular file")
    return descriptor


def first_bytes(path: Path) -> bytes:
    with open(open_file(path), "rb") as file:
        return file.read(1 << 16)


def check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BrokenImage(f"{width}x{height} is more than the {max_pixels} pixels allowed")


def load(path: Path, head: bytes, access: str, max_pixels: int, **options: int) -> pyvips.Image:
    kind = next((kind for magic, kind in LOADERS.items() if head.startswith(magic)), None)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        kind = "webp"
    if head[4:8] == b"ftyp":
        if b"avi" not in head[8:64]:
            raise BrokenImage("HEIC or a video; save it as JPEG, PNG, TIFF, WebP or AVIF")
        kind = "heif"
    if kind is None:
        return load_by_pillow(path, max_pixels)
    descriptor = open_file(path)
    try:
        source = pyvips.Source.new_from_descriptor(descriptor)
    finally:
        os.close(descriptor)  # libvips has its own copy
    if kind == "tiff":  # whose one strip, or Photoshop's layers beside it, may be more than libtiff's 50 MB
        options["unlimited"] = True
    return pyvips.Operation.call(f"{kind}load_source", source, access=access, fail_on="error", **options)


def preview(image: pyvips.Image, path: Path, head: bytes) -> bool:
    """Whether a larger picture lies within this one of a TIFF; in a pyramid they are smaller."""
    widths = []
    for index in range(image.get("n-subifds") if image.get_typeof("n-subifds") else 0):
        with suppress(pyvips.Error):  # of pixels that libvips does not read
            widths.append(load(path, head, "sequential", MAX_PIXELS, subifd=index).width)
    return max(widths, default=0) > image.width


def in_ycbcr(path: Path, head: bytes) -> bool:
    """Whether it is a TIFF of that kind which libvips takes for RGB, but for JPEG's."""
    if LOADERS.get(head[:4]) == "tiff":
        # What Pillow cannot open, libvips judges alone
        with suppress(Exception), open(open_file(path), "rb") as file, warnings.catch_warnings(action="ignore"):
            tags = getattr(Image.open(file, formats=["TIFF"]), "tag_v2", {})
            return bool(tags.get(262) == 6 and tags.get(259) not in (6, 7))
    return False


def load_by_pillow(path: Path, max_pixels: int) -> pyvips.Image:
    """What libvips does not read, whole; Pillow's own limit of pixels holds too."""
    formats = ["BMP", "PPM"] + ["TGA"] * (path.suffix.lower() == ".tga")  # nothing in TGA's bytes tells it from others
    try:
        with open(open_file(path), "rb") as file, warnings.catch_warnings(action="ignore"):
            opened = Image.open(file, formats=formats)
            check_size(*opened.size, max_pixels)
            maxval: Any = opened.tile[0].args
            if opened.mode == "RGB" and opened.tile[0].codec_name.startswith("ppm") and maxval[1] > 255:
                raise BrokenImage("RGB of 16 bits in PPM; PNG and TIFF are read with 16 bits")
            image = opened.convert({"1": "L", "P": "RGB"}[opened.mode]) if opened.mode in ("1", "P") else opened
            pixels = np.asarray(image, np.uint16 if image.mode == "I" else None)
    except UnidentifiedImageError as error:
        kinds = "PNG, JPEG, TIFF, WebP, AVIF, GIF, BMP, PPM and TGA are"
        raise BrokenImage(f"not an image that can be read; {kinds}") from error
    except Exception as error:
        raise broken(error) from error
    grey = "grey16" if image.mode == "I" else "b-w"
    kind = grey if len(image.getbands()) < 3 else "srgb"
    return pyvips.Image.new_from_array(pixels, interpretation=kind)


def animated(head: bytes) -> bool:
    """Of the kinds that libvips reads the first frame of without saying that there are more: APNG and AVIF."""
    return b"acTL" in head.partition(b"IDAT")[0] if head.startswith(b"\x89PNG") else head[4:12] == b"ftypavis"


def high_range(head: bytes) -> bool:
    """Whether levels of a PNG or AVIF are PQ's or HLG's, by ITU-T H.273's numbers, which libvips does not hand on."""
    if head.startswith(b"\x89PNG"):
        code = head.partition(b"IDAT")[0].partition(b"cICP")[2][1:2]
    else:
        code = head.partition(b"colrnclx")[2][3:4] if head[4:8] == b"ftyp" else b""
    return code in (b"\x10", b"\x12")


def fault(error: pyvips.Error, kind: type[Exception] = BrokenImage, what: str = "cannot be decoded") -> Exception:
    """The machine's where libvips' words say so, for it has no numbers (compare data.images.broken); else `kind`."""
    words = " ".join(error.detail.split())
    for number in (*PASSING, *FULL):
        if os.strerror(number) in words:
            return OSError(number, os.strerror(number))
    if "out of memory" in words:
        return MemoryError(words)
    return kind(f"{what} ({words[:90] or 'its header is damaged'})")
