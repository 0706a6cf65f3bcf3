"""Updates of SRResNet-MSE and SRGAN-VGG54 against PyTorch.

    python -m benchmarks.train_speed [--batch 16 64 256] [--dtype bfloat16] [--rounds 7] [--profile DIR] [--quick]

Ours is the program that training compiles, the cutting of crops, flips and bicubic in it; torch is handed finished
batches that lie on the device. VGG's weights are random: only its shape costs time. Memory is what an update needs
beyond weights, Adam's means and crops. First both make three updates from equal weights on equal crops, in float32, and
must have equal losses. torch uses one device: hide further ones.
"""

import argparse
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from ml_collections import ConfigDict

from benchmarks import torch_peer
from benchmarks.flops import peak_flops, update_flops
from benchmarks.kernels import profile
from benchmarks.side_by_side import (
    Contender,
    arguments,
    check_equal,
    footer,
    full_precision,
    interleave,
    megabytes,
    ratio,
    same_device,
    start,
    table,
)
from benchmarks.trainings import KINDS, load
from srgan_jax.data.feed import make_feed
from srgan_jax.data.prepare import prepare
from srgan_jax.data.sources import make_source
from srgan_jax.models.build import build_discriminator, build_features, build_generator
from srgan_jax.training import parallel
from srgan_jax.training.call import make_call
from srgan_jax.training.start import load_features
from srgan_jax.training.state import create_state
from srgan_jax.training.steps import make_update

HEAD = "update | batch | by | ms | images/s | ratio to torch's best | TFLOP/s | of peak | memory, MB"


class Ours(NamedTuple):
    """A training ready to go: what the loop has before it compiles."""

    config: ConfigDict
    state: Any
    features: dict[str, Any]
    fed: Any
    crops: Any
    call: Any
    flag: Any


def build(config: ConfigDict) -> Ours:
    """As training does it."""
    layout = parallel.make_layout(config)
    features = layout.replicate(load_features(config))
    state = layout.replicate(create_state(config, build_generator(config), build_discriminator(config)))
    feed = make_feed(config, make_source(config.data))
    fed = layout.feed(next(feed.start(0)), batched=feed.batched)
    update = make_update(config, build_features(config))
    call = layout.jit(make_call(config, update, feed.crops, layout), batched=feed.batched)
    return Ours(config, state, features, fed, feed.crops, call, layout.flag(False))


def batch_of(ours: Ours, step: int) -> tuple[np.ndarray, np.ndarray]:
    """(lr, hr) of an update without flips."""
    config = ours.config

    @jax.jit
    def cut(fed: Any, step: int) -> tuple[jax.Array, jax.Array]:
        return prepare(ours.crops(fed, 0, step)[0], scale=config.scale, data=config.data)

    lr, hr = cut(ours.fed, np.int32(step))
    return np.asarray(lr), np.asarray(hr)


def theirs(ours: Ours, variant: torch_peer.Variant, dtype: str) -> torch_peer.Update:
    """torch's update from our weights."""
    g, d = ours.state.g, ours.state.d
    generator = torch_peer.srresnet_from(g.variables())
    discriminator = torch_peer.discriminator_from(d.variables(), ours.config.data.crop) if d else None
    vgg = torch_peer.vgg_from(ours.features["feature"]) if ours.features else None
    return torch_peer.make_update(variant, generator, discriminator, vgg, dtype)


def check(kind: str, quick: bool) -> str:
    """Three updates of both, in float32; the third tells whether gradients and Adam agree, too."""
    ours = build(load(kind, quick, "data.augment=False", "batch_size=2"))
    update = theirs(ours, torch_peer.variants(())[-1], "float32")
    state, lines = ours.state, []
    exact = jax.default_backend() == "cpu"
    for step in range(3):
        batch = [torch_peer.to_torch(images, torch_peer.variants(())[-1]) for images in batch_of(ours, step)]
        with full_precision():
            state, metrics = ours.call(state, ours.features, ours.fed, ours.flag)
            losses = {name: float(value) for name, value in update(*batch).items()}
        tolerance = (1e-2 if step else 1e-4) if exact else (5e-2 if step else 1e-2)
        lines.append(check_equal(f"{kind}, update {step + 1}", metrics, losses, tolerance))
    return "\n".join([lines[0], lines[-1]])


def contenders(config: ConfigDict, args: argparse.Namespace) -> dict[str, Contender]:
    """Ours and torch's variants, from equal weights; with --only one side's."""
    ours = build(config)
    lr, hr = batch_of(ours, 0)
    found = {} if args.only == "torch" else {"ours": our_training(ours)}
    for variant in [] if args.only == "ours" else torch_peer.variants(args.compile):
        found[f"torch, {variant.name}"] = torch_training(theirs(ours, variant, config.dtype), variant, lr, hr)
    return found


def our_training(ours: Ours) -> Contender:
    state = jax.tree.map(jnp.copy, ours.state)  # each call gives the state it was given away

    @cache
    def program() -> jax.stages.Compiled:
        return ours.call.lower(state, ours.features, ours.fed, ours.flag).compile()

    def run(calls: int) -> None:
        nonlocal state
        for _ in range(calls):
            state, metrics = program()(state, ours.features, ours.fed, ours.flag)
        jax.block_until_ready((state, metrics))

    def memory() -> int | None:
        sizes = program().memory_analysis()
        return None if sizes is None else sizes.temp_size_in_bytes

    return Contender(run, ours.config.steps_per_call, memory)


def torch_training(update: torch_peer.Update, variant: torch_peer.Variant, lr: np.ndarray, hr: np.ndarray) -> Contender:
    batch = [torch_peer.to_torch(images, variant) for images in (lr, hr)]

    def run(updates: int) -> None:
        for _ in range(updates):
            losses = update(*batch)
        [value.item() for value in losses.values()]  # as a log line would, once in a while
        torch_peer.wait()

    return Contender(run, 1, lambda: torch_peer.peak_memory(variant, lambda: run(1)))


def measure(kind: str, config: ConfigDict, args: argparse.Namespace, peak: float | None) -> list[list[str]]:
    """The rows of one kind and batch."""
    torch._dynamo.reset()  # it makes one program for all shapes, slower, of code that it has compiled before
    torch.cuda.empty_cache()  # what torch had for the last row, all of it where that was not enough, ours may need
    found = contenders(config, args)
    seconds = interleave(found, args.rounds)
    flops = update_flops(config)
    rows = []
    for name, value in seconds.items():
        speed = flops * config.batch_size / value
        rows.append(
            [kind, config.batch_size, name, f"{1000 * value:.4g}", f"{config.batch_size / value:.4g}"]
            + [ratio(seconds, name), f"{speed / 1e12:.3g}", f"{100 * speed / peak:.0f} %" if peak else "-"]
            + [megabytes(found[name].memory())]
        )
        print(*rows[-1], sep="  ", flush=True)
    for name in [name for name in seconds if args.profile and name.startswith("ours")]:
        folder = args.profile / f"{kind}_{config.batch_size}_{name.replace(', ', '_').replace(' ', '_')}"
        print(
            f"\n{kind}, {config.batch_size}, {name}\n\n{profile(found[name].run, found[name].pieces, folder)}\n",
            flush=True,
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = arguments("train_speed", __doc__)
    parser.add_argument("--kind", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--batch", nargs="+", type=int, help="default 16 64 256 on an accelerator, 4 16 on a CPU")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="default bfloat16 on an accelerator")
    parser.add_argument("--updates", type=int, help="in one call of ours; default 20 on an accelerator, 1 on a CPU")
    parser.add_argument("--profile", type=Path, help="folder for traces; prints where the time of ours goes")
    torch_peer.add_compile(parser)
    args = parser.parse_args(argv)
    start(args)
    same_device(args.only)
    accelerator = jax.default_backend() != "cpu"
    dtype = args.dtype or ("bfloat16" if accelerator else "float32")
    updates = args.updates or (20 if accelerator else 1)
    peak = peak_flops() * jax.device_count() if accelerator else None
    rows: list[list[str]] = []
    for kind in args.kind:
        if not args.only:
            print(check(kind, args.quick), flush=True)
        for batch in args.batch or ([2] if args.quick else [16, 64, 256] if accelerator else [4, 16]):
            fields = f"batch_size={batch}", f"dtype={dtype}", f"steps_per_call={updates}"
            rows += measure(kind, load(kind, args.quick, *fields), args, peak)
    print(f"\n{table(HEAD, rows)}\n{footer(args)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
