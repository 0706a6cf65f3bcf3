"""srgan serve: a page in the browser to enlarge pictures. Needs gradio: pip install gradio."""

import argparse
import importlib.util
import logging

from srgan_jax.commands.which import add_which
from srgan_jax.errors import UserError
from srgan_jax.library import load
from srgan_jax.serving.answer import Limits
from srgan_jax.serving.page import serve
from srgan_jax.weights.builtin import BUILTIN

log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="srgan serve", description=__doc__)
    parser.add_argument(
        "--checkpoint", nargs="+", default=[], metavar="RUN", help="runs, weights to offer beside the built-in ones"
    )
    add_which(parser, "each run")
    parser.add_argument("--host", default="127.0.0.1", help="who may reach it (default: this machine alone)")
    parser.add_argument("--port", type=int, default=7860, help="0: any that is free (default: 7860)")
    parser.add_argument("--max-upload", type=float, default=20, metavar="MB", help="of one file (default: 20)")
    parser.add_argument(
        "--max-input", type=float, default=4, metavar="MEGAPIXELS", help="of one picture (default: 4 million pixels)"
    )
    parser.add_argument("--max-output", type=float, default=64, metavar="MEGAPIXELS", help="enlarged (default: 64)")
    parser.add_argument("--max-queue", type=int, default=10, metavar="N", help="pictures waiting (default: 10)")
    parser.add_argument(
        "--max-seconds", type=float, default=300, help="for one picture, looked at after each tile (default: 300)"
    )
    args = parser.parse_args(argv)

    for name in ("max_upload", "max_input", "max_output", "max_queue", "max_seconds"):
        if not 0 < getattr(args, name) < 10**6:
            raise UserError(f"--{name.replace('_', '-')}={getattr(args, name)}: give a number above 0")
    if not 0 <= args.port < 2**16:
        raise UserError(f"--port={args.port}: give a number from 0 to {2**16 - 1}")
    if importlib.util.find_spec("gradio") is None:
        raise UserError("gradio is not installed; pip install gradio")
    limits = Limits(
        upload=int(args.max_upload * 10**6),
        input_pixels=int(args.max_input * 10**6),
        output_pixels=int(args.max_output * 10**6),
        queue=args.max_queue,
        seconds=args.max_seconds,
    )
    models = {}
    for name in BUILTIN:
        try:
            models[name] = load(name)
        except UserError as error:
            log.warning("warning: not offered: %s", error)
    own = [load(run, which=args.which, field="--checkpoint") for run in args.checkpoint]
    for run, model in zip(args.checkpoint, own, strict=True):
        if model.scale == 1:
            raise UserError(f"--checkpoint={run}: is from image to image, which is not served; use srgan translate")
    names = [model.name for model in own]
    labels = names if len({*names, *BUILTIN}) == len(names) + len(BUILTIN) else args.checkpoint
    models |= dict(zip(labels, own, strict=True))
    if not models:
        raise UserError("--checkpoint: no weights to offer; give a run or a file")
    serve(models, limits, host=args.host, port=args.port)
    return 0
