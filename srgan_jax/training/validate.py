"""Validation while training: PSNR, SSIM and LPIPS on whole photographs, and a picture to look at."""

import logging
from itertools import islice
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from srgan_jax import metrics
from srgan_jax.data.prepare import split
from srgan_jax.data.source import Source
from srgan_jax.data.sources import SAMPLES, folder_of_pairs, folder_source
from srgan_jax.errors import UserError
from srgan_jax.inference.lpips import make_lpips
from srgan_jax.inference.pictures import Picture, centre, comparison
from srgan_jax.inference.upscale import Upscale
from srgan_jax.ops.bicubic import imresize
from srgan_jax.provenance import digest_tree
from srgan_jax.weights.lpips_file import find_lpips

log = logging.getLogger(__name__)
MIN_SIDE = 32  # of a validation photograph; SSIM's window must fit after the border is cut


class Validation:
    """HR photographs and their LR counterparts, read once; those of `training` among them are warned of.

    Raises:
      UserError: the folder of `config.validation.path` is missing or holds no usable image; as make_lpips.
    """

    def __init__(self, config: ConfigDict, training: Source | None = None) -> None:
        field = "config.validation.path"
        v = config.validation
        shrink = config.data.shrink if config.data.input == "upscaled" else 1
        folder, side = v.path or SAMPLES / "validation", max(v.crop, MIN_SIDE, shrink)
        crop_field = "config.validation.crop" if side == v.crop else ""
        if config.data.input == "pair":
            if not v.path:
                raise UserError(f"{field}='': validation needs pairs too; name a folder, or set validation.every=0")
            named = field, "config.validation.target"
            source = folder_of_pairs(folder, v.target, side, config.data, *named, crop_field=crop_field)
        else:
            source = folder_source(folder, side, field, crop_field=crop_field)
        self.scale = config.scale
        photographs = list(islice(source.usable(), v.images))
        if not photographs:
            raise UserError(f"{field}={folder}: not one photograph there can be read")
        cut = [centre(image, v.crop, self.scale) for image in photographs]
        pairs = [split(image, scale=self.scale, data=config.data, position=i) for i, image in enumerate(cut)]
        shared = len(_contents(source) & _contents(training)) if training else 0
        if shared:
            log.warning("warning: %s: %d of its photographs are trained on, too, and tell little", field, shared)
        self.lr, self.hr = [lr for lr, _ in pairs], [hr for _, hr in pairs]
        # a number, as other figures are: those of other pictures do not compete for the best checkpoint
        self.of = float(int(digest_tree({"lr": self.lr, "hr": self.hr})[:12], 16))
        field = "config.validation.lpips"
        self.lpips = [make_lpips(find_lpips(v.lpips, field), field)] if v.lpips else []
        for measure in self.lpips:
            if min(min(hr.shape[:2]) for hr in self.hr) < measure.smallest:
                raise UserError(f"{field}={v.lpips}: needs a config.validation.crop of {measure.smallest} or more")

    def run(self, upscale: Upscale, variables: Any) -> tuple[dict[str, float], Picture]:
        """(mean figures, picture of the first four photographs: LR | bicubic | SR | HR, or input | output | target)."""
        figures: list[dict[str, float]] = []
        rows: list[Picture] = []
        for lr, hr in zip(self.lr, self.hr, strict=True):
            sr = upscale(variables, lr)
            perceptual = {measure.name: measure(sr, hr) for measure in self.lpips}
            figures.append(metrics.figures(sr, hr, scale=self.scale) | perceptual)
            if len(rows) < 4:
                rows.append(comparison(lr, [*([imresize(lr, scale=self.scale)] if self.scale > 1 else []), sr], hr))
        means = {name: float(np.mean([f[name] for f in figures])) for name in figures[0]}
        return means, np.vstack(rows)


def _contents(source: Source) -> set[str]:
    """What tells each file from another, whatever its name: a mark's size and hash, which come last."""
    return {" ".join(mark.split(" ")[-2:]) for mark in source.marks}
