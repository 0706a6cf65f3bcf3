"""One self-contained HTML page to compare versions of a picture by eye."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from srgan_jax.errors import UserError
from srgan_jax.evaluation.page import version, write_page
from srgan_jax.library import Model, upscale
from srgan_jax.ops.bicubic import imresize

Picture = UInt8[np.ndarray, "h w c"]  # 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA


def enlarge(small: Picture, models: Sequence[Model]) -> list[Picture]:
    """`small` by bicubic, to the largest of the models' scales, and by each model."""
    return [imresize(small, scale=max(model.scale for model in models)), *(upscale(small, model) for model in models)]


def write_comparison(pictures: Sequence[tuple[str, Picture]], output: Path, *, title: str) -> None:
    """A slider between any two of them, and zoom; smaller ones are shown at the size of the largest.

    Raises:
      UserError: one does not go a whole number of times into the largest.
    """
    largest, (height, width, _) = max(((label, image.shape) for label, image in pictures), key=lambda each: each[1][:2])
    versions = []
    for label, image in pictures:
        own_height, own_width, _ = image.shape
        times = width // own_width
        if (own_height * times, own_width * times) != (height, width):
            raise UserError(
                f"{label}: {own_width}x{own_height} does not go a whole number of times into the {width}x{height} of "
                f"{largest}; give pictures of one size, or of sizes that do"
            )
        note = f"{own_width}x{own_height}" + (f", each pixel shown {times} times as wide and high" if times > 1 else "")
        versions.append(version(label, _png(image), note))
    write_page(output, "compare.html.j2", {"title": title, "versions": versions, "size": (width, height)})


def _png(image: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()
