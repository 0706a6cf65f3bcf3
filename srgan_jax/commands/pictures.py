"""Files, folders and patterns of pictures through a network, one after another: what upscale and translate share."""

import argparse
import glob
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from srgan_jax.commands.progress import Progress
from srgan_jax.commands.which import add_which
from srgan_jax.data.images import BrokenImage, list_images
from srgan_jax.errors import FULL, UserError, of_memory
from srgan_jax.inference.image_reader import ENDINGS, MAX_PIXELS, SEVERAL, Picture, open_picture
from srgan_jax.inference.image_writer import FORMATS, check_output, write_picture
from srgan_jax.training.guards import handled, stops


class Made(NamedTuple):
    """What becomes of a picture: `like` has channels, dtype and metadata; bands are computed as they are asked for."""

    height: int
    width: int
    like: Picture
    bands: Iterator[np.ndarray]


Make = Callable[[Picture, Callable[[int, int], None]], Made]


def arguments(prog: str, description: str | None, example: str) -> argparse.ArgumentParser:
    """The options that such commands have in common."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    add = parser.add_argument
    add(
        "-i",
        "--input",
        required=True,
        nargs="+",
        action="extend",
        type=named,
        help="pictures, folders of them, or patterns such as 'a/*.jpg'",
    )
    add(
        "-o",
        "--output",
        required=True,
        type=lambda text: Path(named(text)),
        help=f"a file ({' '.join(FORMATS)}), or a folder",
    )
    add_which(parser)
    add("--suffix", default="", help=f"between name and ending of what is written to a folder, such as {example}")
    add("--ext", help="ending of what is written to a folder (default png); auto: the picture's own")
    add("--format-options", type=options, default={}, metavar="NAME=VALUE,...", help="such as Q=90 for .jpg")
    add("--overwrite", action="store_true", help="replace pictures that are there")
    add("--first-frame", action="store_true", help="take the first of an animation, or of several pages")
    add("--max-pixels", type=positive, default=MAX_PIXELS, help=f"larger pictures are refused (default {MAX_PIXELS})")
    return parser


def process(args: argparse.Namespace, load: Callable[[], Make]) -> int:
    """Every picture of `args` (arguments') through what `load` gives, which is called once all is checked: exit code.

    Raises:
      UserError: there is nothing to do, or the output does not fit the input.
    """
    jobs, made = plan(args.input, args.output, args.suffix, args.ext)
    places = {source: os.path.realpath(target) for source, target in jobs.items()}
    written = set(places.values()) if args.overwrite else ()
    read = ((source, os.path.realpath(source)) for source in jobs)
    if replaced := {s for s, place in read if place in written or (place == places[s] and s not in made)}:
        raise UserError(f"-o: {args.output}: would replace {min(replaced)}, which -i reads; choose another place")
    if args.output in jobs.values() and not args.overwrite and os.path.exists(args.output):
        raise UserError(f"-o: {args.output} is there already; give --overwrite to replace it")
    make = load()

    count = {"done": 0, "skipped": 0, "failed": 0}
    progress = Progress(len(jobs))
    try:
        with interrupted():
            for source, target in jobs.items():
                progress.next(str(source))
                record = {"input": str(source), "output": str(target)}
                if source in made:
                    record |= {"status": "skipped", "error": f"it is what {made[source]} becomes"}
                elif os.path.exists(target) and not args.overwrite:
                    record |= {"status": "skipped", "error": "the output is there already; --overwrite replaces it"}
                else:
                    record |= attempt(make, source, target, args, progress)
                count[record["status"]] += 1
                progress.say(json.dumps(record), record)
    except KeyboardInterrupt as stopped:
        progress.close()
        print(f"stopped after {sum(count.values())} of {len(jobs)}; the same command goes on", file=sys.stderr)
        return 128 + (stopped.args or (signal.SIGINT,))[0]
    if len(jobs) > 1:
        print(", ".join(f"{number} {status}" for status, number in count.items()), file=sys.stderr)
    return (2 if count["failed"] == len(jobs) else 1) if count["failed"] else 0


@contextmanager
def interrupted() -> Iterator[None]:
    """SIGTERM, and a terminal that goes, do what Ctrl-C does, so that what is half written goes away."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt(number)

    with handled([number for number in stops() if number != signal.SIGINT], interrupt):
        yield


def attempt(make: Make, source: Path, target: Path, args: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """What there is to say of one picture, which may be that it failed."""
    began = time.monotonic()
    try:
        picture = open_picture(source, max_pixels=args.max_pixels, first_frame=args.first_frame)
        made = make(picture, progress.tiles)
        height, width = made.height, made.width
        kind = {"channels": made.like.channels, "dtype": made.like.dtype, "options": args.format_options}
        check_output(target, height=height, width=width, **kind)
        write_picture(target, made.bands, height=height, width=width, like=made.like, options=args.format_options)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not of_memory(error):
            return {"status": "failed", "error": f"jax: {' '.join(str(error).split())[:200]}"}
        smaller = "a smaller picture or --tile" if "tile" in args else "a smaller picture"
        return {"status": "failed", "error": f"needs more memory than there is; give {smaller}, or write PNG"}
    except (BrokenImage, UserError) as error:
        more = "; --first-frame takes the first" if str(error) == SEVERAL else ""
        return {"status": "failed", "error": f"{error}{more}"}
    except OSError as error:
        return {"status": "failed", "error": fault(error, target)}
    seconds = round(time.monotonic() - began, 3)
    return {
        "status": "done",
        "size": [picture.width, picture.height],
        "output_size": [made.width, made.height],
        "seconds": seconds,
    }


def fault(error: OSError, target: Path) -> str:
    """In words, with the path that failed, where one is named; of a full disk else `target`."""
    path = error.filename or (target if error.errno in FULL else None)
    words = error.strerror or str(error)
    return words if path is None else f"{path}: {words}"


def natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


def named(text: str) -> str:
    if text == "-":
        raise UserError("-: pictures go through no pipe; give a file or a folder (./- if that is its name)")
    return text


def positive(text: str) -> int:
    if not natural(text):
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def options(text: str) -> Mapping[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name and value for name, _, value in pairs):
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME=VALUE, several with commas between them")
    return {name: value for name, _, value in pairs}


def plan(inputs: list[str], output: Path, suffix: str, ext: str | None) -> tuple[dict[Path, Path], dict[Path, Path]]:
    """Which file becomes which, and what of that is there as `written` tells.

    Where two differ only in their ending all keep it: a.jpg.png and a.png.png.

    Raises:
      UserError: no such input, a folder without images, or an output that does not fit.
    """
    if os.sep in suffix:
        raise UserError(f"--suffix={suffix}: a part of a name, without {os.sep}")
    below = os.path.join(os.path.realpath(output), "")
    sources: dict[Path, Path] = {}  # each once, with its name below the output folder
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found = {image: image.relative_to(path) for image in list_images(path, ENDINGS)}
            inside = os.path.join(os.path.realpath(path), "")
            if below.startswith(inside) and below != inside:  # then what an earlier call wrote is there too
                found = {image: name for image, name in found.items() if not os.path.realpath(image).startswith(below)}
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
        for option, value in (("--suffix", suffix), ("--ext", ext)):
            if value:
                raise UserError(f"{option}={value}: is for names in a folder, but -o: {output} is a file; leave it out")
        return {next(iter(sources)): output}, {}
    if output.suffix and not output.is_dir() and len(sources) == 1:
        raise UserError(
            f"-o: {output}: pictures are written as {', '.join(FORMATS)}; give such a name, or a folder that is there"
        )
    if output.exists() and not output.is_dir():
        raise UserError(f"-o: {output} is a file; give a folder")
    ext = ext or "png"
    if ext != "auto" and f".{ext.lstrip('.')}" not in FORMATS:
        raise UserError(f"--ext={ext}: choose one of auto, {', '.join(name[1:] for name in FORMATS)}")

    def target(name: Path, stem: str) -> Path:
        own = name.suffix.lower() if name.suffix.lower() in FORMATS else ".png"
        return output / name.with_name(f"{stem}{suffix}{own if ext == 'auto' else '.' + ext.lstrip('.')}")

    for stem in ("stem", "name"):
        jobs = {source: target(name, getattr(name, stem)) for source, name in sources.items()}
        made = written(jobs)
        targets = [target for source, target in jobs.items() if source not in made]
        if len(set(targets)) == len(targets):
            return jobs, made
    raise UserError(f"-i: several pictures would be written to one file below {output}; give them one at a time")


def written(jobs: Mapping[Path, Path]) -> dict[Path, Path]:
    """The sources that another one, of their folder or of one around it, becomes, an earlier call's results: which."""
    folder, place = cache(os.path.realpath), {source: os.path.realpath(source) for source in jobs}
    made: dict[str, Path] = {}
    for source, target in jobs.items():
        becomes = os.path.realpath(target)
        around = os.path.join(folder(source.parent), "")
        if becomes != place[source] and os.path.join(folder(target.parent), "").startswith(around):
            made.setdefault(becomes, source)
    return {source: made[place[source]] for source in jobs if place[source] in made}
