"""srgan upscale -i FILE_OR_DIR -o OUT --checkpoint RUN: enlarges pictures; writes PNG."""

import argparse
import os
import sys
import time
from pathlib import Path

import jax

from srgan_jax.data.images import BrokenImage, list_images, read_image, write_png
from srgan_jax.errors import UserError
from srgan_jax.inference.upscale import make_upscale
from srgan_jax.training.trained import load_generator


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="srgan upscale", description=__doc__)
    parser.add_argument("-i", "--input", required=True, type=Path, help="a picture, or a folder of them")
    parser.add_argument("-o", "--output", required=True, type=Path, help="a .png file, or a folder")
    parser.add_argument("--checkpoint", required=True, help="the workdir of a run")
    parser.add_argument("--which", choices=["best", "latest"], default="best", help="checkpoint of the run")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures that are there")
    args = parser.parse_args(argv)

    jobs = plan(args.input, args.output)
    if any(os.path.realpath(source) == os.path.realpath(target) for source, target in jobs.items()):
        raise UserError(f"-o: {args.output} would replace what is read from -i; choose another place")
    there = [str(target) for target in jobs.values() if target.exists()]
    if there and not args.overwrite:
        raise UserError(f"-o: {there[0]} is there already; give --overwrite to replace it")
    generator = load_generator(args.checkpoint, field="--checkpoint", which=args.which)
    upscale = make_upscale(generator.network)

    failed = 0
    for source, target in jobs.items():
        start = time.monotonic()
        try:
            small = read_image(source)
            large = upscale(generator.variables, small)
            write_png(target, large)
        except (BrokenImage, OSError) as error:
            failed += 1
            print(f"{source}: {error}", file=sys.stderr)
            continue
        except (MemoryError, jax.errors.JaxRuntimeError):
            failed += 1
            print(f"{source}: {small.shape[1]}x{small.shape[0]} needs more memory than there is", file=sys.stderr)
            continue
        sizes = " -> ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (small, large))
        print(f"{source} -> {target}  {sizes}  {time.monotonic() - start:.2f} s")
    if failed == len(jobs):
        return 2
    return 1 if failed else 0


def plan(source: Path, output: Path) -> dict[Path, Path]:
    """Which file becomes which. Where two differ only in their ending all keep it: a.jpg.png and a.png.png.

    Raises:
      UserError: no such input, a folder without images, or an output that does not fit.
    """
    if source.is_dir():
        paths = list_images(source)
        if not paths:
            raise UserError(f"-i: {source} holds no image")
        if output.is_file():
            raise UserError(f"-o: {output} is a file, but -i is a folder")
        names = [path.relative_to(source) for path in paths]
        targets = [name.with_suffix(".png") for name in names]
        if len(set(targets)) < len(targets):
            targets = [Path(f"{name}.png") for name in names]
        return {path: output / target for path, target in zip(paths, targets, strict=True)}
    if not source.exists():
        raise UserError(f"-i: {source}: no such file or folder")
    if output.suffix.lower() == ".png":
        return {source: output}
    if output.suffix and not output.is_dir():
        raise UserError(f"-o: {output}: pictures are written as .png; give such a name, or a folder")
    return {source: output / source.with_suffix(".png").name}
