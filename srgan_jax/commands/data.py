"""srgan data check DIR: decodes every image below a folder and says which can be trained on."""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from srgan_jax.data.images import BrokenImage, list_images, read_image
from srgan_jax.data.sources import too_small
from srgan_jax.errors import UserError


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="srgan data", description=__doc__)
    parser.add_argument("action", choices=["check"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--crop", type=int, default=96, help="side of the HR crop that training will cut (default 96)")
    args = parser.parse_args(argv)
    if not args.folder.is_dir():
        raise UserError(f"{args.folder}: no such folder")
    paths = list_images(args.folder)
    if not paths:
        raise UserError(f"{args.folder}: the folder holds no image")

    def fault(path: Path) -> tuple[str, str]:
        """(kind, reason) of what keeps a file out of training; ("usable", "") for a good one."""
        try:
            size = read_image(path).shape[:2]
        except BrokenImage as error:
            return "broken", str(error)
        return ("too small", too_small(size, args.crop)) if min(size) < args.crop else ("usable", "")

    count = {"usable": 0, "too small": 0, "broken": 0}
    with ThreadPoolExecutor() as pool:
        for path, (kind, reason) in zip(paths, pool.map(fault, paths), strict=True):
            count[kind] += 1
            if reason:
                print(f"{path}: {reason if kind == 'too small' else f'broken: {reason}'}")
    print(", ".join(f"{number} {kind}" for kind, number in count.items()))
    if not count["usable"]:
        raise UserError(f"{args.folder}: none of the {len(paths)} images is usable for crops of {args.crop}")
    return 0
