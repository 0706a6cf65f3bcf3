"""srgan export --checkpoint RUN -o FOLDER --to FORMAT ...: a trained network for other programs, with a README."""

import argparse
from pathlib import Path

from srgan_jax.commands.pictures import interrupted
from srgan_jax.commands.which import add_which
from srgan_jax.errors import UserError, printable
from srgan_jax.inference.export import SHAPES, export
from srgan_jax.inference.export_formats import FORMATS
from srgan_jax.training.trained import load_generator


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="srgan export",
        description=__doc__,
        epilog="To the code of other SRGAN projects: srgan convert export.",
    )
    parser.add_argument("--checkpoint", required=True, metavar="RUN", help="a run, a .safetensors, a built-in name")
    add_which(parser)
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FOLDER", help="made if need be")
    parser.add_argument("--to", required=True, nargs="+", choices=FORMATS, help="onnx needs onnx and onnxruntime")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    args = parser.parse_args(argv)

    generator = load_generator(args.checkpoint, field="--checkpoint", which=args.which)
    if generator.config.scale == 1:
        raise UserError(
            f"--checkpoint={args.checkpoint}: image to image is not exported; srgan translate takes the run"
        )
    with interrupted():
        written = export(
            generator.network,
            generator.variables,
            generator.config,
            generator.name,
            output=args.output,
            formats=args.to,
            overwrite=args.overwrite,
        )
    for file in written:
        compared = f"at most {file.difference:.2g} from the network on {len(SHAPES)} shapes"
        size = (args.output / file.name).stat().st_size
        print(f"{printable(str(args.output / file.name))}: {compared}, {size} bytes, sha256 {file.sha256}")
    return 0
