"""srgan compare A B [C ...] -o PAGE.html: pictures in one HTML page, with a slider between any two, and zoom.

With --input PHOTO, A B ... are runs, converted weights or names of built-in ones, and the page shows what each makes
of the photograph.
"""

import argparse
import os
from pathlib import Path

import numpy as np

from srgan_jax.commands.which import add_which
from srgan_jax.data.images import BrokenImage
from srgan_jax.errors import UserError, printable
from srgan_jax.evaluation.compare import Shown, enlarge, write_comparison
from srgan_jax.inference.enlarge import NOTHING
from srgan_jax.inference.image_reader import open_picture
from srgan_jax.library import load
from srgan_jax.weights.builtin import BUILTIN
from srgan_jax.weights.generator_file import is_generator_file

PIXELS = 64 * 10**6  # of one version: browsers fail at several of much more


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="srgan compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("versions", nargs="+", metavar="A", help="pictures; with --input: weights")
    parser.add_argument("-o", "--output", required=True, type=Path, help="the page, an .html file")
    parser.add_argument("-i", "--input", type=Path, metavar="PHOTO", help="enlarged by bicubic and by each of A B ...")
    add_which(parser, "each run")
    parser.add_argument("--overwrite", action="store_true", help="replace a page that is there")
    args = parser.parse_args(argv)

    if args.output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"-o: {args.output}: the page is written as .html; give such a name")
    if args.output.exists() and not args.overwrite:
        raise UserError(f"-o: {args.output} is there already; give --overwrite to replace it")
    if args.input:
        models = [load(weights, which=args.which) for weights in args.versions]
        for name, model in zip(args.versions, models, strict=True):
            if model.scale == 1:
                raise UserError(f"{name}: {NOTHING}")
        small = _read(args.input, times=max(model.scale for model in models))
        pictures, title = enlarge(small, models), args.input.name
        names = ["bicubic", *(model.name for model in models)]
        paths = ["bicubic", *args.versions]
    else:
        weights = [each for each in args.versions if os.path.isdir(each) or is_generator_file(each)]
        weights += [each for each in args.versions if each in BUILTIN and not os.path.exists(each)]
        if weights:
            raise UserError(f"{weights[0]}: runs and weights need --input PHOTO, the picture that they are to enlarge")
        if len(args.versions) < 2:
            raise UserError(f"{args.versions[0]}: there is nothing to compare it with; give two pictures or more")
        pictures = [_read(Path(name)) for name in args.versions]
        names, paths = [Path(name).name for name in args.versions], args.versions
        title = " | ".join(names)
    labels = names if len(set(names)) == len(names) else paths
    write_comparison(list(zip(labels, pictures, strict=True)), args.output, title=title)
    print(f"page: {printable(str(args.output))}")
    return 0


def _read(path: Path, times: int = 1) -> Shown:
    """`times` is how much larger it will be shown."""
    try:
        picture = open_picture(path, max_pixels=PIXELS // times**2)
        pixels = picture.rows(0, picture.height)
    except BrokenImage as error:
        raise UserError(f"{path}: {error}") from error
    image = pixels if pixels.dtype == np.uint8 else (pixels / 257 + 0.5).astype(np.uint8)
    return Shown(image, picture.metadata.get("icc-profile-data"))
