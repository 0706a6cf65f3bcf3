"""srgan upscale -i PICTURES -o OUT: enlarges pictures; one JSON line on standard output for each."""

import argparse
import glob
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from srgan_jax.commands.progress import Progress
from srgan_jax.data.images import BrokenImage, list_images
from srgan_jax.errors import UserError
from srgan_jax.inference.enlarge import LARGEST, Enlarger, make_enlarger, of_memory, output_size
from srgan_jax.inference.image_io import FORMATS, MAX_PIXELS, check_output, open_picture, write_picture
from srgan_jax.library import load
from srgan_jax.weights.builtin import BUILTIN, DEFAULT


def main(argv: list[str]) -> int:
    args = parse(argv)
    if args.scale is not None and not 1 / LARGEST <= args.scale <= LARGEST:
        raise UserError(f"--scale={args.scale:g}: give a factor from 1/{LARGEST} to {LARGEST}")
    jobs = plan(args.input, args.output, args.suffix, args.ext)
    made = {os.path.realpath(target): source for source, target in jobs.items()}
    clash = {source for source in jobs if os.path.realpath(source) in made}
    if args.overwrite and clash or any(made.get(os.path.realpath(source)) == source for source in clash):
        raise UserError(f"-o: {args.output}: would replace {min(clash)}, which -i reads; choose another place")
    if args.output in jobs.values() and not args.overwrite and args.output.exists():
        raise UserError(f"-o: {args.output} is there already; give --overwrite to replace it")
    model = load(args.checkpoint, which=args.which, field="--checkpoint")
    devices = args.devices or len(jax.local_devices())
    enlarger = make_enlarger(
        model.network, model.variables, tile=args.tile, halo=args.halo, batch=args.batch, devices=devices
    )
    scale = args.scale or float(model.scale)

    count = {"done": 0, "skipped": 0, "failed": 0}
    progress = Progress(len(jobs))
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        for source, target in jobs.items():
            progress.next(str(source))
            record = {"input": str(source), "output": str(target)}
            if source in clash:
                record |= {"status": "skipped", "error": f"it is what {made[os.path.realpath(source)]} becomes"}
            elif target.exists() and not args.overwrite:
                record |= {"status": "skipped", "error": "the output is there already; --overwrite replaces it"}
            else:
                record |= attempt(enlarger, source, target, scale, args, progress)
            count[record["status"]] += 1
            progress.say(json.dumps(record), record)
    except KeyboardInterrupt as stopped:
        progress.close()
        print(f"stopped after {sum(count.values())} of {len(jobs)}; the same command goes on", file=sys.stderr)
        return 128 + (stopped.args or (signal.SIGINT,))[0]
    finally:
        signal.signal(signal.SIGTERM, before)
    if len(jobs) > 1:
        print(", ".join(f"{number} {status}" for status, number in count.items()), file=sys.stderr)
    return (2 if count["failed"] == len(jobs) else 1) if count["failed"] else 0


def interrupt(number: int, frame: Any) -> None:
    """What Ctrl-C does, so that what is half written goes away."""
    raise KeyboardInterrupt(number)


def attempt(
    enlarger: Enlarger, source: Path, target: Path, scale: float, args: argparse.Namespace, progress: Progress
) -> dict[str, Any]:
    """What there is to say of one picture, which may be that it failed."""
    began = time.monotonic()
    try:
        picture = open_picture(source, max_pixels=args.max_pixels, first_frame=args.first_frame)
        size = picture.height, picture.width
        height, width = output_size(*size, scale)
        kind = {"channels": picture.channels, "dtype": picture.dtype, "options": args.format_options}
        check_output(target, height=height, width=width, **kind)
        bands = enlarger.bands(picture.rows, size, scale, progress.tiles)
        write_picture(target, bands, height=height, width=width, like=picture, options=args.format_options)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not of_memory(error):
            return {"status": "failed", "error": f"jax: {' '.join(str(error).split())[:200]}"}
        return {"status": "failed", "error": "needs more memory than there is; give a smaller --tile, or write PNG"}
    except (BrokenImage, UserError) as error:
        return {"status": "failed", "error": str(error)}
    except OSError as error:
        return {"status": "failed", "error": f"{error.strerror or error}"}
    seconds = round(time.monotonic() - began, 3)
    return {"status": "done", "size": [size[1], size[0]], "output_size": [width, height], "seconds": seconds}


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="srgan upscale", description=__doc__)
    add = parser.add_argument
    add(
        "-i",
        "--input",
        required=True,
        nargs="+",
        action="extend",
        help="pictures, folders of them, or patterns such as 'a/*.jpg'",
    )
    add("-o", "--output", required=True, type=Path, help=f"a file ({' '.join(FORMATS)}), or a folder")
    add("-s", "--scale", type=float, help="any factor: the network's own (default), then bicubic for what is left")
    add("--checkpoint", help=f"a run, a .safetensors file, or one of {', '.join(BUILTIN)} (default {DEFAULT})")
    add("--which", choices=["best", "latest"], default="best", help="checkpoint of a run")
    add("-t", "--tile", type=natural, help="side of the tiles in pixels; 0: none (default: by the free memory)")
    add("--halo", type=natural, help="pixels around a tile (default: all that the network sees; fewer may show seams)")
    add("--batch", type=positive, default=1, help="tiles at once on a device (default 1)")
    add("--devices", type=natural, default=0, help="so many of the devices (default: all)")
    add("--suffix", default="", help="between name and ending of what is written to a folder, such as _x4")
    add("--ext", default="png", help="ending of what is written to a folder (default png); auto: the picture's own")
    add("--format-options", type=options, default={}, metavar="NAME=VALUE,...", help="such as Q=90 for .jpg")
    add("--overwrite", action="store_true", help="replace pictures that are there")
    add("--first-frame", action="store_true", help="take the first of an animation, or of several pages")
    add("--max-pixels", type=positive, default=MAX_PIXELS, help=f"larger pictures are refused (default {MAX_PIXELS})")
    return parser.parse_args(argv)


def natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


def positive(text: str) -> int:
    if not natural(text):
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def options(text: str) -> Mapping[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name and value for name, _, value in pairs):
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME=VALUE, several with commas between them")
    return {name: value for name, _, value in pairs}


def plan(inputs: list[str], output: Path, suffix: str, ext: str) -> dict[Path, Path]:
    """Which file becomes which. Where two differ only in their ending all keep it: a.jpg.png and a.png.png.

    Raises:
      UserError: no such input, a folder without images, or an output that does not fit.
    """
    if os.sep in suffix:
        raise UserError(f"--suffix={suffix}: a part of a name, without {os.sep}")
    below = output.resolve()
    sources: dict[Path, Path] = {}  # each once, with its name below the output folder
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found = {image: image.relative_to(path) for image in list_images(path)}
            if path.resolve() in below.parents:  # then what an earlier call wrote is there too
                found = {image: name for image, name in found.items() if below not in image.resolve().parents}
        elif os.path.lexists(path):
            found = {path: Path(path.name)}
        else:
            found = {Path(match): Path(Path(match).name) for match in sorted(glob.glob(text, recursive=True))}
            found = {match: name for match, name in found.items() if not match.is_dir()}
        if not found:
            raise UserError(f"-i: {text}: " + ("holds no image" if path.is_dir() else "no such file or folder"))
        sources |= found
    if output.suffix.lower() in FORMATS and not output.is_dir():
        if len(sources) > 1:
            raise UserError(f"-o: {output} is one file for {len(sources)} pictures; give a folder")
        return {next(iter(sources)): output}
    if output.suffix and not output.is_dir():
        raise UserError(f"-o: {output}: pictures are written as {', '.join(FORMATS)}; give such a name, or a folder")
    if output.exists() and not output.is_dir():
        raise UserError(f"-o: {output} is a file; give a folder")
    if ext != "auto" and f".{ext.lstrip('.')}" not in FORMATS:
        raise UserError(f"--ext={ext}: choose one of auto, {', '.join(name[1:] for name in FORMATS)}")

    def target(name: Path, stem: str) -> Path:
        own = name.suffix.lower() if name.suffix.lower() in FORMATS else ".png"
        return output / name.with_name(f"{stem}{suffix}{own if ext == 'auto' else '.' + ext.lstrip('.')}")

    targets = [target(name, name.stem) for name in sources.values()]
    if len(set(targets)) < len(targets):
        targets = [target(name, name.name) for name in sources.values()]
    if len(set(targets)) < len(targets):
        raise UserError(f"-i: several pictures would be written to one file below {output}; give them one at a time")
    return dict(zip(sources, targets, strict=True))
