"""Pictures to files, from bands of rows and in bounded memory: libvips reads an uncompressed PNG out of a pipe."""

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyvips

from srgan_jax.errors import UserError
from srgan_jax.files import replacing
from srgan_jax.inference.image_reader import Picture, fault

ROWS = 64  # packed at a time
EXIF, ALL_BUT_EXIF = 1, 30  # libvips' flags of what to keep


def numbers(first: int, last: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(first, last + 1))


class Format(NamedTuple):
    """What a format holds (longest side in pixels, bits of a sample, alpha), and the options with all their values."""

    saver: str
    side: int
    bits: int
    alpha: bool
    defaults: dict[str, Any]
    options: dict[str, tuple[str, ...]]


YES_NO = ("0", "1")
DEFLATE = {"compression": "deflate", "predictor": "horizontal"}
PNG = Format("png", 100_000_000, 16, True, {}, {"compression": numbers(0, 9)})
TIFF = Format("tiff", 100_000_000, 16, True, DEFLATE, {"compression": ("deflate", "lzw", "none")})
JPEG = Format("jpeg", 65_500, 8, False, {"Q": 95}, {"Q": numbers(1, 100), "subsample_mode": ("auto", "on", "off")})
WEBP = Format("webp", 16_383, 8, True, {"Q": 95}, {"Q": numbers(0, 100), "lossless": YES_NO, "effort": numbers(0, 6)})
AVIF = Format(
    "heif",
    16_384,
    8,
    True,
    {"compression": "av1", "Q": 80},
    {"Q": numbers(1, 100), "lossless": YES_NO, "effort": numbers(0, 9), "bitdepth": ("8", "10", "12")},
)
FORMATS = {".png": PNG, ".tif": TIFF, ".tiff": TIFF, ".jpg": JPEG, ".jpeg": JPEG, ".webp": WEBP, ".avif": AVIF}


def check_output(
    path: str | Path, *, height: int, width: int, channels: int, dtype: np.typing.DTypeLike, options: Mapping[str, str]
) -> None:
    """Whether such a picture can be written there: channels and dtype as of Picture, the format by the ending.

    AVIF takes 16 bits where the option bitdepth says how many of them to keep.

    Raises:
      UserError: no such format or option, or one that cannot hold the picture; the message says which can.
    """
    path = Path(path)
    ending, bits = path.suffix.lower(), 8 * np.dtype(dtype).itemsize
    if ending not in FORMATS:
        raise UserError(f"{path}: pictures are written as {', '.join(FORMATS)}; choose one of these endings")
    known = FORMATS[ending].options
    for name, value in options.items():
        if name not in known:
            raise UserError(f"{path}: no option {name} for {ending}, which has {', '.join(known)}")
        if value not in known[name]:
            values = known[name]
            span = f"{values[0]} to {values[-1]}" if len(values) > 3 else ", ".join(values)
            raise UserError(f"{path}: option {name}={value}: give {span}")

    def faults(kind: Format) -> list[str]:
        room = 16 if "bitdepth" in options and "bitdepth" in kind.options else kind.bits
        return [
            *([f"{width}x{height} pixels"] if max(height, width) > kind.side else []),
            *([f"{bits} bits"] if bits > room else []),
            *(["alpha"] if channels in (2, 4) and not kind.alpha else []),
        ]

    if found := faults(FORMATS[ending]):
        able = ", ".join(ending for ending, kind in FORMATS.items() if not faults(kind))
        raise UserError(f"{path}: {ending} cannot hold {' and '.join(found)}; choose {able}")


def write_picture(
    path: str | Path,
    bands: Iterable[np.ndarray],
    *,
    height: int,
    width: int,
    like: Picture | None = None,
    options: Mapping[str, str] | None = None,
) -> None:
    """Writes what the bands hold, from the top to the bottom, each [n, width, channels] of uint8 or uint16.

    Under a temporary name beside the target, then renamed; the metadata is that of `like`. TIFF is deflated, and
    BigTIFF above 4 GB. Whatever the bands raise comes out as it is. Memory: a few bands; WebP and AVIF need the whole
    picture. TIFF carries no EXIF; WebP and AVIF repeat grey as RGB.

    Raises:
      UserError: as check_output.
      OSError: no room, no permission.
      ValueError: bands that are not of one shape and dtype, or do not add up to the height.
    """
    path, options = Path(path), options or {}
    bands = iter(bands)
    first = next(bands, np.zeros((0, width, 1), np.uint8))
    channels, dtype = first.shape[2], first.dtype
    check_output(path, height=height, width=width, channels=channels, dtype=dtype, options=options)
    kind = FORMATS[path.suffix.lower()]
    arguments = kind.defaults | {k: int(v) if v.isdigit() else v for k, v in options.items()}
    if kind is TIFF:
        arguments["bigtiff"] = height * width * channels * dtype.itemsize > 4_000_000_000
    if arguments.get("compression") == "none":
        del arguments["predictor"]
    with replacing(path) as partial, partial.open("x+b") as file:
        pieces = packed(chain([first], bands), height, (width, channels), dtype)

        def save(pipe: int) -> None:
            source = pyvips.Source.new_from_descriptor(pipe)
            image = pyvips.Image.pngload_source(source, access="sequential", fail_on="truncated", unlimited=True)
            image, keep = with_metadata(image, like, kind.saver)
            target = pyvips.Target.new_to_descriptor(file.fileno())
            pyvips.Operation.call(f"{kind.saver}save_target", image, target, keep=keep, **arguments)

        try:
            pour(pieces, save)
        except pyvips.Error as error:
            raise fault(error, UserError, f"{path}: cannot be written") from error


def packed(bands: Iterable[np.ndarray], height: int, row: tuple[int, int], dtype: np.dtype) -> Iterator[bytes]:
    """An uncompressed PNG (W3C PNG, section 5), piece by piece."""
    deflate, above = zlib.compressobj(0), 0
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[row[1]]
    yield b"\x89PNG\r\n\x1a\n"
    yield from chunk(b"IHDR", struct.pack(">IIBBBBB", row[0], height, 8 * dtype.itemsize, colour, 0, 0, 0))
    for band in bands:
        above += len(band)
        if band.shape[1:] != row or band.dtype != dtype or above > height:
            raise ValueError(f"a band {band.dtype}{band.shape} in a picture of {height} rows {dtype}{row}")
        for top in range(0, len(band), ROWS):
            part = np.ascontiguousarray(band[top : top + ROWS], dtype.newbyteorder(">")).view(np.uint8)
            lines = np.pad(part.reshape(len(part), -1), ((0, 0), (1, 0)))  # a row begins with its filter, 0
            yield from chunk(b"IDAT", deflate.compress(lines.tobytes()))
    if above < height:
        raise ValueError(f"{above} rows of {height}")
    yield from chunk(b"IDAT", deflate.flush())
    yield from chunk(b"IEND", b"")


def chunk(name: bytes, content: bytes) -> tuple[bytes, ...]:
    return struct.pack(">I", len(content)) + name, content, struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))


def pour(pieces: Iterator[bytes], save: Callable[[int], None]) -> None:
    """The pieces through a pipe to save(its descriptor), which runs in a thread of its own.

    They are made in this one, so that Ctrl-C and whatever their making raises take the usual way.
    """
    read_end, write_end = os.pipe()
    failed: list[Exception] = []

    def until_the_end() -> None:
        try:
            save(read_end)
        except Exception as error:
            failed.append(error)
        while os.read(read_end, 1 << 20):  # lest the other end wait for ever
            pass
        os.close(read_end)

    with ThreadPoolExecutor(1) as pool, open(write_end, "wb") as pipe:
        pool.submit(until_the_end)
        for piece in pieces:
            if failed:
                break
            pipe.write(piece)
    if failed:
        raise failed[0]


def with_metadata(image: pyvips.Image, like: Picture | None, saver: str) -> tuple[pyvips.Image, int]:
    """The image with all of it that fits, and libvips' flags of what to keep, lest it make EXIF up."""
    metadata = dict(like.metadata) if like else {}
    if like and (like.channels < 3) != (image.bands < 3):
        metadata.pop("icc-profile-data", None)  # grey's, on RGB
    known = like.resolution if like else None
    xres, yres = known or (72 / 25.4, 72 / 25.4)
    image = image.copy(xres=xres, yres=yres)
    for name, value in metadata.items():
        kind = pyvips.GValue.blob_type if isinstance(value, bytes) else pyvips.GValue.gstr_type
        image.set_type(kind, name, value)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)  # or EXIF would go on to say what was applied
    image.set_type(pyvips.GValue.blob_type, "jpeg-thumbnail-data", b"")  # or the old one would stay
    in_exif = known is not None and saver not in ("png", "tiff")  # where the others have the resolution
    return image, ALL_BUT_EXIF + EXIF * ("exif-data" in metadata or in_exif)
