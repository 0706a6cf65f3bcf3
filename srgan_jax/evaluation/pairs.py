"""The photographs that figures are measured on: HR and LR, and where both came from."""

from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from srgan_jax.data.images import BrokenImage, images_in, is_grey, read_image
from srgan_jax.data.pairs import halves
from srgan_jax.data.prepare import split
from srgan_jax.data.sources import SAMPLES
from srgan_jax.errors import UserError
from srgan_jax.inference.pictures import Picture
from srgan_jax.ops.bicubic import imresize
from srgan_jax.provenance import digest_files

SEEN = ("input", "boundary", "shrink", "direction")  # fields of config.data: what networks of scale 1 see of a file


class Pairs(NamedTuple):
    """HR photographs cut to multiples of the scale, their LR, and a statement of where both came from."""

    names: list[str]
    hr: list[Picture]
    lr: list[Picture]
    grey: list[bool]  # whether HR's file is: its levels then are Y
    origin: dict[str, Any]


def find_set(folder: Path, *, scale: int, boundary: str, data: ConfigDict | None = None) -> tuple[str, Pairs]:
    """(name, pairs) of a data set: HR/ with LRx4/ (or LRx2/, ...) in it, HR/ alone, or just images.

    data: at scale 1 the config's, which says what the inputs are; those of given pairs are in A/, the targets in B/ (or
    as data.direction has it), or both in one picture A|B.

    Raises:
      UserError: as load_pairs does.
    """
    hr, lr = folder / "HR", folder / f"LRx{scale}"
    if data is not None and data.input == "pair":
        lr, hr = (folder / name for name in ("AB" if data.direction == "AtoB" else "BA"))
        if lr.is_dir() != hr.is_dir():
            raise UserError(f"--set={folder}: has one of the folders A and B alone; give both, or pictures A|B")
        if folder.resolve() == (SAMPLES / "validation").resolve():
            raise UserError("--set: a network of pairs is measured on pairs, which the bundled photographs are not")
    if not (hr.is_dir() and lr.is_dir()) and folder.is_dir():
        for name in (path.name for path in folder.iterdir() if path.is_dir()):
            lone = not hr.is_dir() and (name.lower() == "hr" or name.lower().startswith("lrx"))
            if lone or (name != lr.name and name.lower() == lr.name.lower()):
                raise UserError(
                    f"--set={folder}: {name}: name the folders {hr.name} and {lr.name}, or give --hr and --lr"
                )
    found = hr if hr.is_dir() else folder, lr if lr.is_dir() else None
    return set_name(folder), load_pairs(*found, scale=scale, boundary=boundary, field="--set", data=data)


def set_name(folder: Path) -> str:
    """The folder's name; of a folder HR that of the data set it lies in."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "HR" else folder.name


def load_pairs(
    hr_folder: Path,
    lr_folder: Path | None,
    *,
    scale: int,
    boundary: str,
    field: str = "--hr",
    data: ConfigDict | None = None,
) -> Pairs:
    """LR from its folder, matched by its path below it without ending, or else made by MATLAB bicubic with `boundary`.

    data: at scale 1 LR is the input as its fields SEEN have it; "pair" takes it from the other half of each picture.

    Raises:
      UserError: a folder is missing or empty, an image is broken, has no counterpart, or the sizes do not fit.
    """
    lr_field = "--lr" if field == "--hr" else field
    paths = images_in(hr_folder, field)
    hr = [_read(path) for path in paths]  # before the digests: it does not wait for a FIFO
    grey = [is_grey(path) for path in paths]
    origin: dict[str, Any] = {"hr": str(hr_folder), "hr_sha256": digest_files(paths), "scale": scale}
    hr = [image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale] for image in hr]
    for path, image in zip(paths, hr, strict=True):
        if not image.size:
            raise UserError(f"{field}: {path}: too small to be measured")
    if lr_folder is None and data is not None:
        data = ConfigDict({name: data[name] for name in SEEN})
        how = {"pair": f" {data.direction}", "upscaled": f" x{data.shrink} of hr, boundary {data.boundary}"}
        origin["lr"] = data.input + how.get(data.input, " of hr")
        pairs = [_derived(path, image, data) for path, image in zip(paths, hr, strict=True)]
        lr, hr = [lr for lr, _ in pairs], [hr for _, hr in pairs]
    elif lr_folder is None:
        origin["lr"] = f"MATLAB bicubic, boundary {boundary}"
        lr = [imresize(image, scale=1 / scale, boundary=boundary) for image in hr]
    else:
        lr_images = images_in(lr_folder, lr_field)
        stems = [
            [p.relative_to(f).with_suffix("").as_posix() for p in of]
            for f, of in ((lr_folder, lr_images), (hr_folder, paths))
        ]
        for names in stems:
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise UserError(
                    f"{lr_field}={lr_folder}: two images are named {twice[0]}; HR and LR are matched by that"
                )
        by_stem = dict(zip(stems[0], lr_images, strict=True))
        missing = [path.name for path, stem in zip(paths, stems[1], strict=True) if stem not in by_stem]
        if missing:
            raise UserError(f"{lr_field}={lr_folder}: nothing there for {missing[0]} of HR (matched without ending)")
        lr_paths = [by_stem[stem] for stem in stems[1]]
        lr = [_read(path) for path in lr_paths]
        origin |= {"lr": str(lr_folder), "lr_sha256": digest_files(lr_paths)}
    for path, large, small in zip(paths, hr, lr, strict=True):
        if large.shape[:2] != (small.shape[0] * scale, small.shape[1] * scale):
            sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (large, small))
            raise UserError(f"{lr_field}: {path.stem}: HR and LR are {sizes}, not {scale} to 1")
        if min(large.shape[:2]) < 2 * scale + 11:
            raise UserError(f"{field}: {path}: too small to be measured")
    return Pairs([path.relative_to(hr_folder).as_posix() for path in paths], hr, lr, grey, origin)


def as_jpeg(pairs: Pairs, quality: int) -> Pairs:
    """The same, LR (or the input) saved by Pillow as JPEG of a quality from 1 to 100 and read again."""

    def saved(image: Picture) -> Picture:
        kept = BytesIO()
        Image.fromarray(image).save(kept, "JPEG", quality=quality)
        return np.asarray(Image.open(kept))

    return pairs._replace(lr=[saved(image) for image in pairs.lr], origin=pairs.origin | {"jpeg": quality})


def _derived(path: Path, image: Picture, data: ConfigDict) -> tuple[Picture, Picture]:
    """(input, target) of one picture."""
    try:
        whole = halves(image, data.direction) if data.input == "pair" else image
    except BrokenImage as error:
        raise UserError(f"{path}: {error}; give pictures A|B, or folders A and B") from error
    if data.input == "upscaled" and min(whole.shape[:2]) < data.shrink:
        raise UserError(f"{path}: too small to be shrunken {data.shrink} times")
    return split(whole, scale=1, data=data)


def _read(path: Path) -> Picture:
    try:
        return read_image(path)
    except BrokenImage as error:
        raise UserError(f"{path}: {error}") from error
