"""Validation while training: PSNR, SSIM and LPIPS on whole photographs, and a picture to look at."""

from itertools import islice
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from srgan_jax import metrics
from srgan_jax.data.sources import SAMPLES, folder_source
from srgan_jax.errors import UserError
from srgan_jax.inference.lpips import make_lpips
from srgan_jax.inference.pictures import Picture, centre, comparison
from srgan_jax.inference.upscale import Upscale
from srgan_jax.ops.bicubic import imresize
from srgan_jax.weights.lpips_file import find_lpips

MIN_SIDE = 32  # of a validation photograph; SSIM's window must fit after the border is cut


class Validation:
    """HR photographs and their LR counterparts, read once.

    Raises:
      UserError: the folder of `config.validation.path` is missing or holds no usable image; as make_lpips.
    """

    def __init__(self, config: ConfigDict) -> None:
        field = "config.validation.path"
        v = config.validation
        folder, side = v.path or SAMPLES / "validation", max(v.crop, MIN_SIDE)
        source = folder_source(folder, side, field, crop_field="config.validation.crop")
        self.scale = config.scale
        photographs = list(islice(source.usable(), v.images))
        if not photographs:
            raise UserError(f"{field}={folder}: not one photograph there can be read")
        self.hr = [centre(image, v.crop, self.scale) for image in photographs]
        field = "config.validation.lpips"
        self.lpips = [make_lpips(find_lpips(v.lpips, field), field)] if v.lpips else []
        for measure in self.lpips:
            if min(min(hr.shape[:2]) for hr in self.hr) < measure.smallest:
                raise UserError(f"{field}={v.lpips}: needs a config.validation.crop of {measure.smallest} or more")
        self.lr = [imresize(hr, scale=1 / self.scale, boundary=config.data.boundary) for hr in self.hr]

    def run(self, upscale: Upscale, variables: Any) -> tuple[dict[str, float], Picture]:
        """(mean figures, grid with a row LR | bicubic | SR | HR for each of the first four photographs)."""
        figures: list[dict[str, float]] = []
        rows: list[Picture] = []
        for lr, hr in zip(self.lr, self.hr, strict=True):
            sr = upscale(variables, lr)
            perceptual = {measure.name: measure(sr, hr) for measure in self.lpips}
            figures.append(metrics.compare(sr, hr, border=self.scale) | perceptual)
            if len(rows) < 4:
                rows.append(comparison(lr, [imresize(lr, scale=self.scale), sr], hr))
        means = {name: float(np.mean([f[name] for f in figures])) for name in figures[0]}
        return means, np.vstack(rows)
