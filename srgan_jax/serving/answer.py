"""What is made of one uploaded file, within limits; every failure is one sentence for the page."""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from srgan_jax.data.images import BrokenImage
from srgan_jax.inference.enlarge import by_bicubic
from srgan_jax.inference.image_reader import open_picture
from srgan_jax.inference.image_writer import write_picture
from srgan_jax.library import Model, upscale

MADE = "made"  # the folder of results, below that of all files
SHOWN = 2048  # longest side in the slider: larger PNGs are slow in a browser
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """upload: bytes of a file. input_pixels, output_pixels: of a picture. queue: pictures waiting. seconds: for one."""

    upload: int
    input_pixels: int
    output_pixels: int
    queue: int
    seconds: float


class Refused(Exception):
    """The message is one sentence for the person who uploaded the file."""


class Answer(NamedTuple):
    """Two pictures of equal size to compare, by bicubic and by the network; the whole result; a sentence about them."""

    bicubic: Path
    network: Path
    result: Path
    said: str


def answer(upload: Path, model: Model, limits: Limits, folder: Path, progress: Callable[[float], None]) -> Answer:
    """Files in a new folder below `folder`/MADE. progress(fraction) is called after each tile.

    Raises:
      Refused: whatever the reason.
    """
    try:
        return _answer(upload, model, limits, folder, progress)
    except Refused:
        raise
    except BrokenImage as error:
        raise Refused(f"This file cannot be used: {error}.") from error
    except MemoryError as error:
        raise Refused("This picture needs more memory than there is: give a smaller one.") from error
    except Exception as error:
        log.exception("an upload failed")
        raise Refused("Something went wrong here, not with your picture: try again later.") from error


def _answer(upload: Path, model: Model, limits: Limits, folder: Path, progress: Callable[[float], None]) -> Answer:
    if upload.stat().st_size > limits.upload:
        raise Refused(f"The file is larger than the {limits.upload / 1e6:g} MB that are taken here.")
    scale = model.scale
    picture = open_picture(upload, max_pixels=min(limits.input_pixels, limits.output_pixels // scale**2))
    end = time.monotonic() + limits.seconds

    def after_each_tile(done: int, total: int) -> None:
        if time.monotonic() > end and done < total:
            raise Refused(f"The picture takes longer than the {limits.seconds:g} s allowed here: give a smaller one.")
        progress(done / total)

    small = picture.rows(0, picture.height)
    large = upscale(small, model, progress=after_each_tile)
    top, left = (max(0, (n * scale - SHOWN) // 2 // scale) for n in small.shape[:2])
    cut = small[top : top + SHOWN // scale, left : left + SHOWN // scale]
    bicubic = by_bicubic(cut, scale)
    network = large[top * scale :, left * scale :][: len(bicubic), : bicubic.shape[1]]

    place = folder / MADE / secrets.token_hex(16)  # not to be guessed: who knows the name may read it
    paths = place / "bicubic.png", place / "network.png", place / f"{upload.stem[:50]}_x{scale}.png"
    for path, image in zip(paths, (bicubic, network, large), strict=True):
        write_picture(path, [image], height=image.shape[0], width=image.shape[1], like=picture)
    said = f"{picture.width}x{picture.height} to {large.shape[1]}x{large.shape[0]} by {model.name}."
    if network.shape != large.shape:
        said = f"{said[:-1]}; the slider shows its middle, the download is whole."
    return Answer(*paths, said)
