"""srgan upscale -i PICTURES -o OUT: enlarges pictures; one JSON line on standard output for each."""

import argparse
from collections.abc import Callable

import jax

from srgan_jax.commands.pictures import Made, Make, arguments, natural, positive, process
from srgan_jax.errors import UserError
from srgan_jax.inference.enlarge import FARTHEST, LARGEST, NOTHING, make_enlarger, output_size
from srgan_jax.inference.image_reader import Picture
from srgan_jax.library import load
from srgan_jax.weights.builtin import BUILTIN, DEFAULT


def main(argv: list[str]) -> int:
    args = parse(argv)
    if args.scale is not None and not 1 / LARGEST <= args.scale <= LARGEST:
        raise UserError(f"--scale={args.scale:g}: give a factor from 1/{LARGEST} to {LARGEST}")
    return process(args, lambda: enlarge(args))


def enlarge(args: argparse.Namespace) -> Make:
    model = load(args.checkpoint, which=args.which, field="--checkpoint")
    if model.scale == 1:
        raise UserError(f"--checkpoint={args.checkpoint}: {NOTHING}")
    devices = args.devices or len(jax.local_devices())
    settings = {name: getattr(args, name) for name in ("tile", "halo", "batch", "ensemble")}
    enlarger = make_enlarger(model.network, model.variables, devices=devices, **settings)
    scale = args.scale or float(model.scale)

    def make(picture: Picture, progress: Callable[[int, int], None]) -> Made:
        size = picture.height, picture.width
        return Made(*output_size(*size, scale), picture, enlarger.bands(picture.rows, size, scale, progress))

    return make


def parse(argv: list[str]) -> argparse.Namespace:
    parser = arguments("srgan upscale", __doc__, "_x4")
    add = parser.add_argument
    add("-s", "--scale", type=float, help="any factor: the network's own (default), then bicubic for what is left")
    add("--checkpoint", help=f"a run, a .safetensors file, or one of {', '.join(BUILTIN)} (default {DEFAULT})")
    add("-t", "--tile", type=natural, help="most that a tile's side is, in pixels; 0: no tiles (default: by memory)")
    add(
        "--halo",
        type=natural,
        help=f"pixels around a tile (default: all that the network sees, up to {FARTHEST}; fewer may show seams)",
    )
    add("--batch", type=positive, default=1, help="tiles at once on a device (default 1)")
    add("--devices", type=natural, default=0, help="so many of the devices (default: all), for tiles side by side")
    add(
        "--ensemble",
        action="store_true",
        help="mean over eight ways to turn and mirror it: nearer to the original, 8 times as long",
    )
    return parser.parse_args(argv)
