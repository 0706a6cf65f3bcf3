"""srgan evaluate --checkpoint RUN [RUN ...] --hr DIR [--lr DIR]: PSNR and SSIM against bicubic."""

import argparse
import json
from pathlib import Path

from srgan_jax.data.images import write_png
from srgan_jax.data.sources import SAMPLES
from srgan_jax.errors import UserError
from srgan_jax.evaluation.evaluate import evaluate, load_pairs, strip, table
from srgan_jax.ops.bicubic import PADDING
from srgan_jax.training.checkpoint import load_generator


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="srgan evaluate", description=__doc__)
    parser.add_argument("--checkpoint", nargs="+", required=True, metavar="RUN", help="workdirs of runs")
    parser.add_argument("--hr", type=Path, default=SAMPLES / "validation", help="default: held-out bundled photographs")
    parser.add_argument("--lr", type=Path, help="default: made from HR by MATLAB bicubic")
    parser.add_argument("--boundary", choices=PADDING, default="symmetric", help="of that bicubic (old MATLAB: clamp)")
    parser.add_argument("--which", choices=["best", "latest"], default="best", help="checkpoint of each run")
    parser.add_argument("--json", type=Path, help="write every figure with its provenance here")
    parser.add_argument("--picture", type=Path, help="write a PNG here: LR | bicubic | runs ... | HR")
    args = parser.parse_args(argv)

    for field, path in (("--json", args.json), ("--picture", args.picture)):
        if path and (path.is_dir() or not all(parent.is_dir() for parent in path.parents if parent.exists())):
            raise UserError(f"{field}={path}: no file can be written there")
    generators = [load_generator(run, field="--checkpoint", which=args.which) for run in args.checkpoint]
    names = [generator.run.resolve().name for generator in generators]
    if len(set(names)) < len(names):
        raise UserError(f"--checkpoint: runs need different folder names, not {', '.join(names)}")
    scales = {generator.config.scale for generator in generators}
    if len(scales) > 1:
        raise UserError(f"--checkpoint: the runs are of different scales {sorted(scales)}; evaluate them one by one")
    pairs = load_pairs(args.hr, args.lr, scale=scales.pop(), boundary=args.boundary)
    result, outputs = evaluate(generators, pairs)
    print(table(result))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n")
        print(f"figures with provenance: {args.json}")
    if args.picture:
        write_png(args.picture, strip(pairs, outputs))
        print(f"LR | bicubic | {' | '.join(names)} | HR: {args.picture}")
    return 0
