"""Figures with provenance: methods against bicubic on a folder of photographs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from srgan_jax import metrics
from srgan_jax.data.images import BrokenImage, list_images, read_image
from srgan_jax.errors import UserError
from srgan_jax.inference.pictures import Picture, comparison
from srgan_jax.inference.upscale import make_upscale
from srgan_jax.ops.bicubic import imresize
from srgan_jax.provenance import code_version, digest_files, digest_tree
from srgan_jax.training.checkpoint import Generator

TITLES = {"psnr_y": "PSNR-Y", "psnr_rgb": "PSNR-RGB", "ssim_wang": "SSIM", "ssim_daala": "SSIM-daala"}


class Pairs(NamedTuple):
    """HR photographs cut to multiples of the scale, their LR, and a statement of where both came from."""

    names: list[str]
    hr: list[Picture]
    lr: list[Picture]
    origin: dict[str, Any]


def load_pairs(hr_folder: Path, lr_folder: Path | None, *, scale: int, boundary: str) -> Pairs:
    """LR from its folder, matched by file name without ending, or else made by MATLAB bicubic with `boundary`.

    Raises:
      UserError: a folder is missing or empty, an image is broken, has no counterpart, or the sizes do not fit.
    """
    paths = _images(hr_folder, "--hr")
    origin: dict[str, Any] = {"hr": str(hr_folder), "hr_sha256": digest_files(paths), "scale": scale}
    hr = [_read(path) for path in paths]
    hr = [image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale] for image in hr]
    if lr_folder is None:
        origin["lr"] = f"MATLAB bicubic, boundary {boundary}"
        lr = [imresize(image, scale=1 / scale, boundary=boundary) for image in hr]
    else:
        lr_images = _images(lr_folder, "--lr")
        by_stem = {path.stem: path for path in lr_images}
        for stems in ([path.stem for path in lr_images], [path.stem for path in paths]):
            twice = [stem for stem in stems if stems.count(stem) > 1]
            if twice:
                raise UserError(f"--lr={lr_folder}: two images are named {twice[0]}; HR and LR are matched by that")
        missing = [path.name for path in paths if path.stem not in by_stem]
        if missing:
            raise UserError(f"--lr={lr_folder}: nothing there for {missing[0]} of --hr (matched without ending)")
        lr_paths = [by_stem[path.stem] for path in paths]
        lr = [_read(path) for path in lr_paths]
        origin |= {"lr": str(lr_folder), "lr_sha256": digest_files(lr_paths)}
    for path, large, small in zip(paths, hr, lr, strict=True):
        if large.shape[:2] != (small.shape[0] * scale, small.shape[1] * scale):
            sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (large, small))
            raise UserError(f"--lr: {path.stem}: HR and LR are {sizes}, not {scale} to 1")
        if min(large.shape[:2]) < 2 * scale + 11:
            raise UserError(f"--hr: {path}: too small to be measured")
    return Pairs([path.relative_to(hr_folder).as_posix() for path in paths], hr, lr, origin)


def evaluate(generators: Sequence[Generator], pairs: Pairs) -> tuple[dict[str, Any], list[list[Picture]]]:
    """(result, pictures): result is ready for JSON; pictures hold for each method, bicubic first, its outputs."""
    scale = pairs.origin["scale"]
    outputs = [[imresize(lr, scale=scale) for lr in pairs.lr]]
    methods: list[dict[str, Any]] = [{"name": "bicubic", "weights": "none: MATLAB bicubic, boundary symmetric"}]
    for generator in generators:
        upscale = make_upscale(generator.network)
        outputs.append([upscale(generator.variables, lr) for lr in pairs.lr])
        methods.append(
            {
                "name": generator.run.resolve().name,
                "run": str(generator.run),
                "step": generator.step,
                "weights_sha256": digest_tree(generator.variables),
                "config": generator.config.to_dict(),
            }
        )
    for method, pictures in zip(methods, outputs, strict=True):
        figures = [metrics.compare(sr, hr, border=scale) for sr, hr in zip(pictures, pairs.hr, strict=True)]
        method["images"] = dict(zip(pairs.names, figures, strict=True))
        method["mean"] = {name: float(np.mean([f[name] for f in figures])) for name in figures[0]}
    convention = metrics.CONVENTION | {"border_pixels": scale}
    return {"convention": convention, "code": code_version(), "data": pairs.origin, "methods": methods}, outputs


def table(result: dict[str, Any]) -> str:
    """A line for each image and method, then the means."""
    methods = result["methods"]
    rows = [(name, m["name"], m["images"][name]) for name in methods[0]["images"] for m in methods]
    rows += [("mean", m["name"], m["mean"]) for m in methods]
    wide, method_wide = (max(len(row[i]) for row in rows) for i in (0, 1))
    head = f"{'image':{wide}}  {'method':{method_wide}}" + "".join(f"{title:>12}" for title in TITLES.values())
    lines = []
    for image, method, figures in rows:
        cells = [f"{figures[n]:12.2f}" if n.startswith("psnr") else f"{figures[n]:12.4f}" for n in TITLES]
        lines.append(f"{image:{wide}}  {method:{method_wide}}" + "".join(cells))
    border = result["convention"]["border_pixels"]
    note = f"PSNR in dB; Y: BT.601 studio range; {border}-pixel border removed; {len(methods[0]['images'])} images"
    return "\n".join([head, *lines, note])


def strip(pairs: Pairs, outputs: list[list[Picture]]) -> Picture:
    """A row LR | each method | HR for each of the first four photographs."""
    first = range(min(4, len(pairs.hr)))
    return np.vstack([comparison(pairs.lr[i], [method[i] for method in outputs], pairs.hr[i]) for i in first])


def _images(folder: Path, field: str) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{field}={folder}: no such folder")
    paths = list_images(folder)
    if not paths:
        raise UserError(f"{field}={folder}: the folder holds no image")
    return paths


def _read(path: Path) -> Picture:
    try:
        return read_image(path)
    except BrokenImage as error:
        raise UserError(f"{path}: {error}") from error
