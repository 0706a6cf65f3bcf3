"""Photographs in and out: files to uint8[h, w, 3] and back."""

import errno
import logging
import os
import stat
from collections.abc import Collection
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from srgan_jax.errors import UserError
from srgan_jax.files import replacing

Image.init()
log = logging.getLogger(__name__)
READABLE = frozenset(suffix for suffix, name in Image.EXTENSION.items() if name in Image.OPEN)
ORIENTATION = 0x0112  # EXIF's and TIFF's tag
SIXTEEN = ("PPM", "PNG")  # formats whose 16 bits Pillow may keep in its mode "I"; others have 32 there

# Faults of the machine at the moment, not of the file: to pass the file over would change the samples of a run
PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}


class BrokenImage(ValueError):
    """A file that cannot be used as a photograph; the message says why, in a few words."""


def list_images(folder: str | Path, endings: Collection[str] | None = READABLE) -> list[Path]:
    """Every file below the folder, links followed, of one of `endings` (those that Pillow can read; None: whatever they
    are); ordered by path.

    A folder that cannot be read is left out, with a warning; and so, without one, is what macOS puts beside files on
    other systems' disks, as ._NAME.
    """
    found, seen = [], set()
    for root, folders, names in os.walk(folder, onerror=_left_out, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        folders.sort()  # of a folder and a link to it the first by name is listed
        seen.add(real)
        found += [Path(root) / name for name in names if not name.startswith("._")]
    return sorted(path for path in found if endings is None or path.suffix.lower() in endings)


def images_in(folder: str | Path, field: str) -> list[Path]:
    """As list_images. Raises UserError, which names `field`, where there is no such folder, or no image in it."""
    return images_and_others(folder, field)[0]


def images_and_others(folder: str | Path, field: str) -> tuple[list[Path], list[Path]]:
    """Those of images_in, and the files whose endings Pillow does not know."""
    if not str(folder) or not Path(folder).is_dir():
        raise UserError(
            f"{field}={folder}: no such folder" if str(folder) else f"{field} is empty: no such folder; give one"
        )
    images: list[Path] = []
    others: list[Path] = []
    for path in list_images(folder, None):
        (images if path.suffix.lower() in READABLE else others).append(path)
    if not images:
        raise UserError(f"{field}={folder}: the folder holds no image")
    return images, others


def _left_out(error: OSError) -> None:
    log.warning("warning: %s: %s; what is in it is left out", error.filename, error.strerror)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) as displayed, from the header alone.

    Raises:
      BrokenImage: not a regular file, or not an image.
    """
    try:
        if not _regular(path):
            raise BrokenImage("not a regular file")
        with path.open("rb") as file, Image.open(file) as image:
            # PNG's own getexif decodes the whole of one without EXIF in the header, to look behind it
            turned = Image.Image.getexif(image).get(ORIENTATION) in (5, 6, 7, 8)
            width, height = image.size
            if ORIENTATION in getattr(image, "tag_v2", ()):  # of a TIFF, whose size Pillow turns; by XMP it does not
                turned = False
    except Exception as error:  # Pillow raises many kinds on damaged headers
        raise broken(error, path) from error
    return (width, height) if turned else (height, width)


def _regular(path: Path) -> bool:
    """Path.is_file, which from Python 3.14 on takes a disk's passing fault for an answer."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise


def is_grey(path: Path) -> bool:
    """Whether an image that can be read holds one channel (and alpha); RGB of equal levels does not count."""
    with Image.open(path) as image:
        return image.mode in ("1", "L", "LA", "I") or image.mode.startswith("I;16")


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """The picture, upright, as 8-bit RGB; grey is repeated, alpha is dropped.

    16 bits become 8: grey is rounded, of colours Pillow cuts the lower byte off.

    Raises:
      BrokenImage: not a regular file, not an image, truncated or damaged, or its levels are float or of 32 bits.
    """
    try:
        if not _regular(path):
            raise BrokenImage("not a regular file")
        # Given the name, Pillow maps some TIFFs into memory, and those that lie on their side it scrambles (12.3)
        with path.open("rb") as file:
            Image.open(file).verify()  # catches damaged PNG checksums, which load() passes over
            opened = Image.open(file)
            image = ImageOps.exif_transpose(opened)
            if opened.mode == "F" or (opened.mode == "I" and opened.format not in SIXTEEN):
                raise BrokenImage(
                    f"levels of mode {opened.mode} (float or 32 bits); 8 and 16 bits without sign are read"
                )
            if image.mode.startswith("I;16") or image.mode == "I":
                grey = np.asarray(image).astype(np.float64)
                return np.repeat(np.clip(grey / 257 + 0.5, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)
            if image.mode == "P":  # Pillow warns when it drops the transparency of a palette
                image = image.convert("RGBA")
            return np.array(image.convert("RGB"))
    except Exception as error:
        raise broken(error, path) from error


def write_png(path: str | Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """The path never holds half a picture. Folders that it lacks are made."""
    with replacing(Path(path)) as partial:
        Image.fromarray(image).save(partial, format="PNG")


def broken(error: Exception, path: str | Path | None = None) -> BrokenImage:
    """What decoding raised, as the photograph's fault; raises it again where it is the machine's, then with `path`."""
    if isinstance(error, BrokenImage):
        return error
    if isinstance(error, Image.DecompressionBombError):
        return BrokenImage(f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000} megapixels; cut it into parts")
    if isinstance(error, OSError) and error.errno in PASSING:
        error.filename = error.filename or path  # reading an open file names none
        raise error
    if isinstance(error, MemoryError):
        raise error
    if type(error).__name__ == "UnidentifiedImageError":
        return BrokenImage("not an image that can be read")
    return BrokenImage(" ".join((str(error) or type(error).__name__).split())[:120])
