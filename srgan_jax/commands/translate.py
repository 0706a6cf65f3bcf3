"""srgan translate -i PICTURES -o OUT --checkpoint RUN: into others as large; one JSON line on standard output each.

What a picture has to be is what the network was trained on: grey, edges, or one half of a pair. It goes through whole.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from srgan_jax.commands.pictures import Made, Make, arguments, natural, process
from srgan_jax.errors import UserError
from srgan_jax.inference.image_reader import Picture
from srgan_jax.inference.upscale import make_upscale
from srgan_jax.training.trained import load_generator


def main(argv: list[str]) -> int:
    parser = arguments("srgan translate", __doc__, "_colour")
    parser.add_argument("--checkpoint", required=True, help="a run, or a .safetensors file")
    parser.add_argument(
        "--noise", type=natural, metavar="SEED", help="drop features as in training, another result for each seed"
    )
    args = parser.parse_args(argv)
    return process(args, lambda: translate(args))


def translate(args: argparse.Namespace) -> Make:
    trained = load_generator(args.checkpoint, field="--checkpoint", which=args.which)
    if trained.config.scale != 1:
        raise UserError(f"--checkpoint={args.checkpoint}: enlarges pictures; use srgan upscale")
    if args.noise is not None and args.noise >= 2**32:
        raise UserError(f"--noise={args.noise}: must be below 2**32")
    if args.noise is not None and not trained.network.dropout:
        raise UserError(f"--noise={args.noise}: the network was trained without dropout, it takes no noise")
    apply = make_upscale(trained.network, noise=args.noise)

    def make(picture: Picture, progress: Callable[[int, int], None]) -> Made:
        """RGB, and alpha as it was. A grey profile would not fit."""
        grey, alpha = picture.channels < 3, picture.channels in (2, 4)
        kept = {name: value for name, value in picture.metadata.items() if not (grey and name == "icc-profile-data")}

        def whole() -> np.ndarray:
            image = picture.rows(0, picture.height)
            colour = image[..., :1].repeat(3, axis=-1) if grey else image[..., :3]
            made = apply(trained.variables, colour)
            return np.concatenate([made, image[..., -1:]], axis=-1) if alpha else made

        like = replace(picture, channels=3 + alpha, metadata=kept)
        return Made(picture.height, picture.width, like, (each() for each in (whole,)))

    return make
