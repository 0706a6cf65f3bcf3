"""One self-contained HTML page to compare versions of a picture by eye."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from srgan_jax.errors import UserError
from srgan_jax.evaluation.page import version, write_page
from srgan_jax.inference.enlarge import by_bicubic
from srgan_jax.library import Model, upscale


class Shown(NamedTuple):
    """image: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA. profile: its ICC profile, by which a browser shows it."""

    image: UInt8[np.ndarray, "h w c"]
    profile: bytes | None


def enlarge(small: Shown, models: Sequence[Model]) -> list[Shown]:
    """`small` by bicubic, to the largest of the models' scales, and by each model; all have its profile."""
    image, scale = small.image, max(model.scale for model in models)
    made = [by_bicubic(image, scale), *(upscale(image, model) for model in models)]
    return [Shown(each, small.profile) for each in made]


def write_comparison(pictures: Sequence[tuple[str, Shown]], output: Path, *, title: str) -> None:
    """A slider between any two of them, and zoom; smaller ones are shown at the size of the largest.

    Raises:
      UserError: one does not go a whole number of times into the largest.
    """
    largest, (height, width, _) = max(
        ((label, shown.image.shape) for label, shown in pictures), key=lambda each: each[1][:2]
    )
    versions = []
    for label, shown in pictures:
        own_height, own_width, _ = shown.image.shape
        times = width // own_width
        if (own_height * times, own_width * times) != (height, width):
            raise UserError(
                f"{label}: {own_width}x{own_height} does not go a whole number of times into the {width}x{height} of "
                f"{largest}; give pictures of one size, or of sizes that do"
            )
        note = f"{own_width}x{own_height}" + (f", each pixel shown {times} times as wide and high" if times > 1 else "")
        versions.append(version(label, _png(*shown), note))
    write_page(output, "compare.html.j2", {"title": title, "versions": versions, "size": (width, height)})


def _png(image: UInt8[np.ndarray, "h w c"], profile: bytes | None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(buffer, format="PNG", icc_profile=profile)
    return buffer.getvalue()
