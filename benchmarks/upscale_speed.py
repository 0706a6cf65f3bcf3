"""Enlarging pictures by four with SRResNet, against PyTorch: uint8 in, uint8 out, BatchNorm folded on both sides.

    python -m benchmarks.upscale_speed [--size 128x128 480x270 960x540] [--dtype bfloat16] [--rounds 7] [--quick]

SIZE is width x height of the small picture. A time is of the whole call, from numpy to numpy; memory is what it needs
beyond the weights, ours as the compiler counts it. First both enlarge a picture in float32 with equal weights, and must
get the same within one level.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import torch
from ml_collections import ConfigDict

from benchmarks import torch_peer
from benchmarks.flops import generator_flops
from benchmarks.side_by_side import (
    Contender,
    arguments,
    footer,
    full_precision,
    interleave,
    megabytes,
    ratio,
    same_device,
    start,
    table,
)
from benchmarks.trainings import load
from srgan_jax.inference.fold import fold
from srgan_jax.inference.upscale import make_program
from srgan_jax.models.build import build_generator
from srgan_jax.training.state import create_state

Call = Callable[[np.ndarray], np.ndarray]
Memory = Callable[[Callable[[], None]], int | None]  # of what one run needs

SIZES = ("128x128", "480x270", "960x540")
HEAD = "picture | by | ms | megapixels/s | ratio to torch's best | TFLOP/s | memory, MB"


def weights(config: ConfigDict) -> Any:
    """A generator's variables with running statistics that are not those of the start, so that folding shows."""
    variables = create_state(config, build_generator(config), None).g.variables()
    rng = np.random.default_rng(0)
    stats = jax.tree.map(lambda x: x + rng.uniform(-0.3, 0.3, x.shape).astype(np.float32), variables["batch_stats"])
    return variables | {"batch_stats": stats}


def ready(config: ConfigDict) -> tuple[nn.Module, Any]:
    """Ours, as it is used: BatchNorm folded, kernels rounded to config.dtype, once and not in each call."""
    network, variables = fold(build_generator(config), weights(config))

    def cast(path: Any, x: jax.Array) -> jax.Array:
        return x.astype(config.dtype) if path[-1].key in ("kernel", "bias") else x

    return network, jax.tree.map_with_path(cast, variables)


def picture(size: str) -> np.ndarray:
    width, height = map(int, size.split("x"))
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


def contenders(config: ConfigDict, lr: np.ndarray, args: argparse.Namespace) -> dict[str, Contender]:
    """Ours and torch's variants, from equal weights; with --only one side's."""
    network, variables = ready(config)
    program = make_program(network)
    memory: dict[str, Memory] = {"ours": lambda run: our_memory(program, variables, lr)}
    calls = {} if args.only == "torch" else {"ours": ours(program, variables)}
    for variant in [] if args.only == "ours" else torch_peer.variants(args.compile):
        calls[f"torch, {variant.name}"] = theirs(config, weights(config), variant)
        memory[f"torch, {variant.name}"] = partial(torch_peer.peak_memory, variant)
    return {name: contender(call, lr, memory[name]) for name, call in calls.items()}


def our_memory(program: Any, variables: Any, lr: np.ndarray) -> int | None:
    """Of the picture, of the result, and in between. What was called before is not compiled again."""
    sizes = program.lower(variables, lr).compile().memory_analysis()
    return None if sizes is None else lr.nbytes + sizes.temp_size_in_bytes + sizes.output_size_in_bytes


def contender(call: Call, lr: np.ndarray, memory: Memory) -> Contender:
    def run(times: int) -> None:
        for _ in range(times):
            call(lr)

    return Contender(run, 1, lambda: memory(lambda: run(1)))


def ours(program: Any, variables: Any) -> Call:
    variables = jax.device_put(variables)
    return lambda lr: np.asarray(program(variables, lr))


def theirs(config: ConfigDict, variables: Any, variant: torch_peer.Variant) -> Call:
    upscale = torch_peer.make_upscale(variant, torch_peer.srresnet_from(variables), config.dtype)
    return lambda lr: upscale(torch.from_numpy(lr).to(torch_peer.device())).cpu().numpy()


def check(quick: bool) -> str:
    """A line for the output; SystemExit if the two pictures differ by more than a level, or in many values."""
    config, lr = load("SRResNet", quick), picture("40x24")
    network, variables = ready(config)
    with full_precision():
        calls = ours(make_program(network), variables), theirs(config, weights(config), torch_peer.variants(())[-1])
        pictures = [call(lr).astype(int) for call in calls]
    difference = np.abs(pictures[0] - pictures[1])
    share, largest = float((difference > 0).mean()), int(difference.max())
    most_levels, most_values = (1, 0.01) if jax.default_backend() == "cpu" else (2, 0.2)
    result = f"{share:.2%} of values differ, by {largest} levels at most"
    if largest > most_levels or share > most_values:
        raise SystemExit(f"enlarging: NOT equal: {result}")
    return f"enlarging: equal pictures from equal weights: {result}"


def measure(size: str, config: ConfigDict, args: argparse.Namespace) -> list[list[str]]:
    """The rows of one size."""
    lr = picture(size)
    torch._dynamo.reset()  # as in train_speed
    torch.cuda.empty_cache()
    found = contenders(config, lr, args)
    seconds = interleave(found, args.rounds)
    height, width = lr.shape[:2]
    flops = generator_flops(config, height * width)
    rows = []
    for name, value in seconds.items():
        row = [f"{size} to {4 * width}x{4 * height}", name, f"{1000 * value:.4g}"]
        row += [f"{16e-6 * height * width / value:.3g}", ratio(seconds, name), f"{flops / value / 1e12:.3g}"]
        rows.append([*row, megabytes(found[name].memory())])
        print(*rows[-1], sep="  ", flush=True)
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = arguments("upscale_speed", __doc__)
    parser.add_argument("--size", nargs="+", default=list(SIZES), metavar="SIZE")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="default bfloat16 on an accelerator")
    torch_peer.add_compile(parser)
    parser.set_defaults(give_back=True)  # as `srgan upscale` does
    args = parser.parse_args(argv)
    start(args)
    same_device(args.only)
    accelerator = jax.default_backend() != "cpu"
    config = load("SRResNet", args.quick, f"dtype={args.dtype or ('bfloat16' if accelerator else 'float32')}")
    if not args.only:
        print(check(args.quick), flush=True)
    rows = [row for size in (["24x16"] if args.quick else args.size) for row in measure(size, config, args)]
    print(f"\n{table(HEAD, rows)}\n{footer(args)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
