"""On a CPU: enlarging and updates of the full-size networks, against PyTorch's best variant there.

    JAX_PLATFORMS=cpu python -m benchmarks.cpu_speed [--rounds 7] [--plain] [--quick]

The rows are those of upscale_speed and train_speed, in float32; their docstrings say what is measured and checked.
Ours and torch's take turns in processes of their own. Where they update, they keep the memory that they have freed, as
`srgan train` does (--give-back: do not); where they enlarge, they give it back, as `srgan upscale` does.
With --plain the same program is measured with XLA's own convolutions and settings, too: once a jaxlib is as fast with
them, the forms can go.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from unittest import mock

import jax
import torch

from benchmarks import torch_peer, train_speed, upscale_speed
from benchmarks.apart import Make, apart
from benchmarks.side_by_side import Contender, arguments, footer, interleave, ratio, start, table
from benchmarks.trainings import KINDS, load
from srgan_jax.models import vgg
from srgan_jax.ops import conv
from srgan_jax.ops.pool import plain as plain_pool

SIZES = ("64x64", "128x128", "480x270")
HEAD = "work | ours, ms | plain XLA, ms | torch's best, ms | which | ratio"


def main(argv: list[str] | None = None) -> int:
    parser = arguments("cpu_speed", __doc__)
    parser.add_argument("--size", nargs="*", default=list(SIZES), metavar="WIDTHxHEIGHT", help="of small pictures")
    parser.add_argument("--kind", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--batch", nargs="+", type=int, default=[4, 16])
    torch_peer.add_compile(parser)
    parser.add_argument("--plain", action="store_true", help="ours with XLA's own convolutions, too")
    args = parser.parse_args(argv)
    start(args)
    if jax.default_backend() != "cpu":
        raise SystemExit("cpu_speed: not on a CPU; set JAX_PLATFORMS=cpu")
    if torch.cuda.is_available():
        raise SystemExit("cpu_speed: torch would take the GPU; set CUDA_VISIBLE_DEVICES= (empty)")

    rows: list[list[str]] = []

    def row(work: str, make: Callable[[argparse.Namespace], dict[str, Contender]], args: argparse.Namespace) -> None:
        wanted = [args.only] if args.only else ["ours", "torch"]
        sides = [partial(make, argparse.Namespace(**vars(args) | {"only": side})) for side in wanted]
        if args.plain and args.only != "torch":
            sides.append(partial(plain, sides[0]))
        with apart(sides, args) as found:
            rows.append([work, *cells(interleave(found, args.rounds))])
        print(*rows[-1], sep="  ", flush=True)

    if args.size and not args.only:
        print(upscale_speed.check(args.quick), flush=True)
    for size in ["24x16"] if args.quick and args.size else args.size:
        config, lr = load("SRResNet", args.quick), upscale_speed.picture(size)
        gives_back = argparse.Namespace(**vars(args) | {"give_back": True})
        row(f"enlarge {size}", partial(upscale_speed.contenders, config, lr), gives_back)
    for kind in args.kind:
        if not args.only:
            print(train_speed.check(kind, args.quick), flush=True)
        for batch in [2] if args.quick else args.batch:
            config = load(kind, args.quick, f"batch_size={batch}")
            row(f"{kind} update, batch {batch}", partial(train_speed.contenders, config), args)
    print(f"\n{table(HEAD, rows)}\n{footer(args)}")
    return 0


def plain(make: Make) -> dict[str, Contender]:
    """Ours, compiled without the forms for CPUs of ops/conv.py and ops/pool.py."""
    convolutions = mock.patch.object(conv, "_convolve", lambda x, kernel, n, forms: forms.plain(x, kernel, n))
    pool = mock.patch.object(vgg, "max_pool", plain_pool)
    with convolutions, pool, mock.patch.object(conv, "accepted", return_value={}):
        contender = make()["ours"]
        contender.run(1)
    return {"plain": contender}


def cells(seconds: dict[str, float]) -> list[str]:
    theirs = {name: value for name, value in seconds.items() if name.startswith("torch")}
    best = min(theirs, key=lambda name: theirs[name], default="-")
    times = (f"{1000 * seconds[name]:.4g}" if name in seconds else "-" for name in ("ours", "plain", best))
    return [*times, best.removeprefix("torch, "), ratio(seconds, "ours")]


if __name__ == "__main__":
    sys.exit(main())
