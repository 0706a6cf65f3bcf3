"""Validation while training: PSNR and SSIM on whole photographs, and a picture to look at."""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from srgan_jax import metrics
from srgan_jax.data.sources import SAMPLES, folder_source
from srgan_jax.inference.upscale import Upscale
from srgan_jax.ops.bicubic import imresize

MIN_SIDE = 32  # of a validation photograph; SSIM's window must fit after the border is cut
COLUMN = 160  # pixels, the side of each picture in the grid


class Validation:
    """HR photographs and their LR counterparts, read once.

    Raises:
      UserError: the folder of `config.validation.path` is missing or holds no usable image.
    """

    def __init__(self, config: ConfigDict) -> None:
        field = "config.validation.path"
        v = config.validation
        source = folder_source(v.path or SAMPLES / "validation", max(v.crop, MIN_SIDE), field)
        self.scale = config.scale
        photographs = [source.photograph(i) for i in range(min(v.images, len(source)))]
        self.hr = [centre(image, v.crop, self.scale) for image in photographs]
        self.lr = [imresize(hr, scale=1 / self.scale, boundary=config.data.boundary) for hr in self.hr]

    def run(self, upscale: Upscale, variables: Any) -> tuple[dict[str, float], UInt8[np.ndarray, "h w 3"]]:
        """(mean figures, grid with a row LR | bicubic | SR | HR for each of the first four photographs)."""
        figures, rows = [], []
        for lr, hr in zip(self.lr, self.hr, strict=True):
            sr = upscale(variables, lr)
            figures.append(metrics.compare(sr, hr, border=self.scale))
            if len(rows) < 4:
                nearest = lr.repeat(self.scale, axis=0).repeat(self.scale, axis=1)
                bicubic = imresize(lr, scale=self.scale)
                rows.append(np.hstack([window(image) for image in (nearest, bicubic, sr, hr)]))
        means = {name: float(np.mean([f[name] for f in figures])) for name in figures[0]}
        return means, np.vstack(rows)


def centre(image: UInt8[np.ndarray, "h w 3"], side: int, multiple: int) -> UInt8[np.ndarray, "H W 3"]:
    """The centre square of `side` (0 = all), cut to multiples of `multiple`."""
    height, width = (min(side or n, n) // multiple * multiple for n in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def window(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "COLUMN COLUMN 3"]:
    """The centre of a picture, with a black margin where it is smaller."""
    cut = centre(image, COLUMN, 1)
    return np.pad(cut, [(0, COLUMN - cut.shape[0]), (0, COLUMN - cut.shape[1]), (0, 0)])
