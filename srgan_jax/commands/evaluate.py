"""srgan evaluate [--checkpoint RUN ...] [--set DIR ...]: PSNR, SSIM and LPIPS on data sets, beside bicubic."""

import argparse
import os
import sys
from pathlib import Path

from ml_collections import ConfigDict

from srgan_jax.commands.which import add_which
from srgan_jax.data.images import write_png
from srgan_jax.data.pairs import DIRECTIONS
from srgan_jax.data.prepare import INPUTS
from srgan_jax.data.sources import SAMPLES
from srgan_jax.errors import UserError, printable
from srgan_jax.evaluation import paper
from srgan_jax.evaluation.evaluate import evaluate, strip
from srgan_jax.evaluation.fid import make_fid
from srgan_jax.evaluation.pairs import SEEN, Pairs, as_jpeg, find_set, load_pairs, set_name
from srgan_jax.evaluation.table import load_result, merge, table
from srgan_jax.files import replacing
from srgan_jax.inference.lpips import make_lpips
from srgan_jax.metrics import to_json
from srgan_jax.ops.bicubic import PADDING
from srgan_jax.training.trained import load_generator
from srgan_jax.weights.builtin import BUILTIN, located
from srgan_jax.weights.lpips_file import default_lpips, find_lpips


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="srgan evaluate", description=__doc__)
    parser.add_argument(
        "--checkpoint", nargs="+", default=[], metavar="RUN", help="runs, .safetensors files, built-in names"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="data sets: folders with HR/ and LRx4/, or with HR images alone (default: held-out bundled photographs)",
    )
    parser.add_argument("--hr", type=Path, help="one data set, given by its folder of HR images ...")
    parser.add_argument("--lr", type=Path, help="... and of LR images (default: made from HR by MATLAB bicubic)")
    parser.add_argument("--boundary", choices=PADDING, default="symmetric", help="of that bicubic (old MATLAB: clamp)")
    parser.add_argument("--jpeg", type=int, metavar="QUALITY", help="save each LR picture as JPEG first (1 to 100)")
    parser.add_argument(
        "--input",
        choices=[name for name in INPUTS if name != "lr"],
        help="image to image: what is made of each picture for a network (default: as it was trained; files: pair)",
    )
    parser.add_argument("--direction", choices=DIRECTIONS, help="of pairs (default: as trained; files: AtoB)")
    add_which(parser, "each run")
    parser.add_argument(
        "--lpips",
        nargs="*",
        metavar="alex|vgg|FILE",
        help="LPIPS by these networks (default: alex, once `srgan convert lpips` brought its weights)",
    )
    parser.add_argument(
        "--ensemble", action="store_true", help="mean over eight ways to turn and mirror each picture; RUN+ in tables"
    )
    parser.add_argument("--fid", type=Path, metavar="FILE", help="FID, by weights that `srgan convert inception` wrote")
    parser.add_argument(
        "--add", nargs="+", type=Path, default=[], metavar="JSON", help="show these earlier results too"
    )
    parser.add_argument("--against", choices=["paper"], help="the paper's figures, and the differences")
    parser.add_argument("--each", action="store_true", help="print every image, not the means alone")
    parser.add_argument("--json", type=Path, help="write every figure with its provenance here")
    parser.add_argument("--picture", type=Path, help="write a PNG of the first set here: LR | bicubic | runs ... | HR")
    args = parser.parse_args(argv)

    for field, path, ending in (("--json", args.json, ""), ("--picture", args.picture, ".png")):
        if path:
            _refuse_output(field, path, ending)
    if args.json and args.json.exists():
        load_result(args.json, "--json")  # nothing else is replaced
    for folder in [*args.set, *filter(None, (args.hr, args.lr))]:
        if args.picture and folder.resolve() in args.picture.resolve().parents:
            raise UserError(f"--picture={args.picture}: would lie among what is measured, {folder}; give another place")
    if args.lr and not args.hr:
        raise UserError(f"--lr={args.lr}: needs --hr, the folder of HR images that it belongs to")
    if args.jpeg is not None and not 1 <= args.jpeg <= 100:
        raise UserError(f"--jpeg={args.jpeg}: must be a whole number from 1 to 100")
    earlier = [(str(path), load_result(path)) for path in args.add]
    generators = [load_generator(run, field="--checkpoint", which=args.which) for run in args.checkpoint]
    scales = {generator.config.scale for generator in generators} or {4}
    if len(scales) > 1:
        raise UserError(f"--checkpoint: the runs are of different scales {sorted(scales)}; evaluate them one by one")
    (scale,) = scales
    for field, value in (("--input", args.input), ("--direction", args.direction)):
        if value and scale > 1:
            raise UserError(f"{field}={value}: is for networks from image to image, not for x{scale}")
    if args.ensemble and (scale == 1 or not generators):
        what = "networks from image to image" if generators else "bicubic alone; give --checkpoint,"
        raise UserError(f"--ensemble: is for super-resolution, not for {what} or leave it out")
    names = [generator.name + "+" * args.ensemble for generator in generators]
    names.insert(0, "bicubic" if scale > 1 else "input")
    if len(set(names)) < len(names):
        raise UserError(f"--checkpoint: methods need different names, not {', '.join(names)}")

    sets = _sets(args, scale, _inputs(args, [generator.config for generator in generators]) if scale == 1 else None)
    networks = default_lpips() if args.lpips is None else dict.fromkeys(args.lpips)
    lpips = [make_lpips(find_lpips(network, "--lpips"), "--lpips") for network in networks]
    few = [name for name, pairs in sets.items() if len(pairs.hr) < 2]
    if args.fid and few:
        raise UserError(f"--fid={args.fid}: {few[0]} has one picture, FID takes two or more of a set; leave --fid out")
    fid = make_fid(args.fid, "--fid") if args.fid else None
    result, outputs = evaluate(generators, sets, lpips, fid, args.ensemble)
    result["command"] = ["srgan", "evaluate", *argv]
    if earlier:
        result = merge([("this measurement", result), *earlier])
    if args.json:
        with replacing(args.json) as partial:
            partial.write_text(to_json(result, indent=2) + "\n")
    named = ["LR", *names] if scale > 1 else names  # there LR is the first of them
    if args.picture:
        first = next(iter(sets))
        write_png(args.picture, strip(sets[first], outputs[first] if scale > 1 else outputs[first][1:]))
    print(table(result, each=args.each, against_paper=args.against == "paper"))  # which a reader may not wait for
    if not lpips and args.lpips is None:
        print("LPIPS was not measured: `srgan convert lpips` brings its weights")
    for line in paper.warnings(result) if args.against else []:
        print(line, file=sys.stderr)
    begun = [generator.config.get("init_from") for generator in generators]
    builtin = [run for run, init in zip(args.checkpoint, begun, strict=True) if located(run) != run or init in BUILTIN]
    if builtin and not args.set and not args.hr:
        why = "brushes and dogs were trained on, in a larger size, so that these figures flatter; give --set or --hr"
        print(f"warning: {', '.join(builtin)}: {why}", file=sys.stderr)
    if args.json:
        print(printable(f"figures with provenance: {args.json}"))
    if args.picture:
        print(printable(f"{' | '.join(named)} | HR: {args.picture}"))
    return 0


def _refuse_output(field: str, path: Path, ending: str) -> None:
    """Before anything is measured."""
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    writable = existing.is_dir() and os.access(existing, os.W_OK)
    if not writable or (path.exists() and not path.is_file()):
        raise UserError(f"{field}={path}: no file can be written there")
    if path.suffix.lower() != ending and ending:
        raise UserError(f"{field}={path}: is written as {ending}; give such a name")


def _inputs(args: argparse.Namespace, configs: list[ConfigDict]) -> ConfigDict:
    """What the networks, of scale 1, are given: as they were trained, or by options; files do not say."""
    default = {"input": "pair", "boundary": args.boundary, "shrink": 4, "direction": "AtoB"}
    stated = [config.data for config in configs if "data" in config] or [default]
    inputs = [ConfigDict({field: each[field] for field in SEEN}) for each in stated]
    for each in inputs:
        each.input = args.input or each.input
        each.direction = args.direction or each.direction
    if any(each != inputs[0] for each in inputs):
        raise UserError("--checkpoint: the networks were trained on different inputs; evaluate them one by one")
    if args.direction and inputs[0].input != "pair":
        raise UserError(f"--direction={args.direction}: is for pairs, not for --input={inputs[0].input}; leave it out")
    return inputs[0]


def _sets(args: argparse.Namespace, scale: int, data: ConfigDict | None) -> dict[str, Pairs]:
    folders = args.set or ([] if args.hr else [SAMPLES / "validation"])
    names = [set_name(folder) for folder in [*folders, *([args.hr] if args.hr else [])]]
    if len(set(names)) < len(names):
        fields = "--set, --hr" if args.hr else "--set"
        raise UserError(f"{fields}: data sets need different names, not {', '.join(names)}; rename a folder")
    sets = dict(find_set(folder, scale=scale, boundary=args.boundary, data=data) for folder in folders)
    if args.hr:
        sets[set_name(args.hr)] = load_pairs(args.hr, args.lr, scale=scale, boundary=args.boundary, data=data)
    return {name: as_jpeg(pairs, args.jpeg) for name, pairs in sets.items()} if args.jpeg else sets
