"""srgan data check|prepare DIR: says which images below a folder can be trained on, or decodes them for training."""

import argparse
import shlex
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from srgan_jax.data.images import BrokenImage, images_and_others, read_image
from srgan_jax.data.source import too_small
from srgan_jax.data.sources import folder_source
from srgan_jax.data.store import default_folder, prepare
from srgan_jax.errors import UserError, printable

CROP = 96  # as in configs/base.py


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="srgan data", description=__doc__)
    parser.add_argument("action", choices=["check", "prepare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--crop", type=int, default=CROP, help=f"side of the HR crop that training will cut (default {CROP})"
    )
    parser.add_argument("-o", "--output", type=Path, help="prepare: folder of the decoded photographs (default: cache)")
    args = parser.parse_args(argv)
    if args.crop < 1:
        raise UserError(f"--crop={args.crop}: must be 1 or more")
    if str(args.output) == "none":
        raise UserError("-o none: to data.store that means nowhere; give another name")
    if args.action == "prepare":
        return _prepare(args.folder, args.output, args.crop)
    if args.output:
        parser.error("-o belongs to prepare")
    return _check(args.folder, args.crop)


def _prepare(folder: Path, output: Path | None, crop: int) -> int:
    source = folder_source(folder, crop, "DIR", crop_field="--crop")
    store = output or default_folder(str(folder.resolve()))
    entries = prepare(source, store, "-o")
    broken = {name: entries[mark] for name, mark in zip(source.names, source.marks, strict=True)}
    broken = {name: fault for name, fault in broken.items() if isinstance(fault, str)}
    for name, fault in broken.items():
        print(printable(f"{folder / name}: broken: {fault}"))
    print(printable(f"{len(source) - len(broken)} photographs ready in {store}, {len(broken)} broken"))
    if len(broken) == len(source):
        raise UserError(f"{folder}: none of the {len(source)} images can be decoded")
    fields = f"--config.data.source=folder --config.data.path={shlex.quote(str(folder))}"
    fields += f" --config.data.store={shlex.quote(str(store))}" if output else ""
    fields += f" --config.data.crop={crop}" if crop != CROP else ""
    print(printable(f"train with {fields}"))
    return 0


def _check(folder: Path, crop: int) -> int:
    paths, others = images_and_others(folder, "DIR")

    def fault(path: Path) -> tuple[str, str]:
        """(kind, reason) of what keeps a file out of training; ("usable", "") for a good one."""
        try:
            size = read_image(path).shape[:2]
        except BrokenImage as error:
            return "broken", str(error)
        return ("too small", too_small(size, crop)) if min(size) < crop else ("usable", "")

    count = {"usable": 0, "too small": 0, "broken": 0}
    with ThreadPoolExecutor() as pool:
        for path, (kind, reason) in zip(paths, pool.map(fault, paths), strict=True):
            count[kind] += 1
            if reason:
                print(printable(f"{path}: {reason if kind == 'too small' else f'broken: {reason}'}"))
    print(", ".join(f"{number} {kind}" for kind, number in count.items()))
    if others:
        numbers = Counter(path.suffix.lower() or "(none)" for path in others)
        endings = ", ".join(f"{number} {ending}" for ending, number in numbers.most_common())
        print(printable(f"left out for their endings: {endings}"))
    if not count["usable"]:
        raise UserError(f"{folder}: none of the {len(paths)} images is usable for crops of {crop}")
    return 0
