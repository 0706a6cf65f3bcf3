"""Input: crops per second of both pipelines and of torch's DataLoader on PNG files, and what they cost training.

    python -m benchmarks.input_speed [--photographs DIR] [--rounds 5] [--quick] [--config.FIELD=VALUE ...]

The largest photographs of DIR (default: the bundled ones) are copied to PNG, and all read the same files, ours from the
store that was made of them. Then updates of SRResNet (configs/srresnet_mse.py) with crops handed in and with crops cut
inside, in turn; and a short training, whose log says how long it waited for data.
"""

import argparse
import json
import logging
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from ml_collections import ConfigDict
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler

from benchmarks.side_by_side import Contender, interleave, machine, start, table
from srgan_jax import config as configs
from srgan_jax.data.feed import make_feed
from srgan_jax.data.images import BrokenImage, image_size, list_images, read_image, write_png
from srgan_jax.data.sources import SAMPLES, make_source
from srgan_jax.errors import UserError
from srgan_jax.fields import check
from srgan_jax.models.build import build_discriminator, build_generator
from srgan_jax.training import parallel
from srgan_jax.training.call import make_call
from srgan_jax.training.loop import train
from srgan_jax.training.start import with_fields
from srgan_jax.training.state import create_state
from srgan_jax.training.steps import make_update

ROOT = Path(__file__).parent.parent
WORKERS = 2
SMALL = {"generator.blocks": 1, "generator.features": 8, "data.crop": 32, "data.tile": 64, "batch_size": 4}


class Photographs(Dataset):
    """PNG files as a user of torch reads them: uint8[3, crop, crop] at a random place, mirrored or not."""

    def __init__(self, paths: list[Path], crop: int) -> None:
        self.paths, self.crop = paths, crop

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as opened:
            image = opened.convert("RGB")
        left, top = (int(torch.randint(side - self.crop + 1, ())) for side in image.size)
        image = image.crop((left, top, left + self.crop, top + self.crop))
        if torch.rand(()) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def dataloader(paths: list[Path], batch_size: int, crop: int) -> Iterator[torch.Tensor]:
    """Endless batches; its workers live as long as it is referred to."""
    photographs = Photographs(paths, crop)
    endless = RandomSampler(photographs, replacement=True, num_samples=10**9)
    loader = DataLoader(
        photographs, batch_size, sampler=endless, num_workers=WORKERS, multiprocessing_context="forkserver"
    )
    return iter(loader)


def rate(batches: Iterator, seconds: float) -> float:
    """Crops per second over `seconds` or more, once what was read ahead while starting is used up."""
    for _ in range(2 * WORKERS):
        next(batches)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        batch = jax.block_until_ready(next(batches))
        count += math.prod(batch.shape[:-3])  # on accelerators the host pipeline hands over several batches at once
    return count / (time.perf_counter() - began)


def input_rows(config: ConfigDict, paths: list[Path], *, rounds: int, seconds: float) -> list[list[str]]:
    """Contenders in turn; each starts anew in its turn, and is gone in the others'."""
    source, size, crop = make_source(config.data), config.batch_size, config.data.crop

    def host() -> Iterator:
        return make_feed(with_fields(config, {"data.pipeline": "host", "data.threads": WORKERS}), source).start(0)

    device = make_feed(with_fields(config, {"data.pipeline": "device"}), source)
    tiles = jax.device_put(next(device.start(0)))
    cut = jax.jit(lambda tiles, step: device.crops(tiles, 0, step))

    def cut_on_device() -> Iterator:
        return (cut(tiles, jnp.int32(step)) for step in range(10**9))

    torch_name = f"torch DataLoader, {WORKERS} workers, PNG"
    contenders: dict[str, Callable[[], Iterator]] = {
        torch_name: lambda: dataloader(paths, size, crop),
        f"host pipeline, {WORKERS} threads, store": host,
        "device pipeline": cut_on_device,
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds or 1):  # 0: --quick
        for name, begin in contenders.items():
            rates[name].append(rate(begin(), seconds))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return [[name, f"{value:.0f}", f"{value / medians[torch_name]:.1f}"] for name, value in medians.items()]


def update_rows(config: ConfigDict, *, rounds: int) -> list[list[str]]:
    """ms per update with crops handed in, with crops cut inside, and of cutting alone."""
    layout = parallel.make_layout(config)
    source, count = make_source(config.data), config.steps_per_call
    runs: dict[str, Contender] = {}

    def contend(name: str, pipeline: str) -> None:
        feed = make_feed(with_fields(config, {"data.pipeline": pipeline}), source)
        state = layout.replicate(create_state(config, build_generator(config), build_discriminator(config)))
        fed, flag = layout.feed(next(feed.start(0)), batched=feed.batched), layout.flag(False)
        call = make_call(config, make_update(config, {}), feed.crops, layout)
        compiled = layout.jit(call, batched=feed.batched).lower(state, {}, fed, flag).compile()

        def update(times: int) -> None:
            nonlocal state
            for _ in range(times):
                state, _ = jax.block_until_ready(compiled(state, {}, fed, flag))

        runs[name] = Contender(update, count)
        if not feed.batched:
            cut = jax.jit(lambda fed, step: feed.crops(fed, 0, step))
            runs["cutting alone"] = Contender(partial(cut_alone, partial(cut, fed)))

    contend("SRResNet update, crops handed in", "host")
    contend("SRResNet update, crops cut inside", "device")
    seconds = interleave(runs, rounds)
    base = seconds.get(next(iter(runs)), math.nan)  # left out where its memory did not do
    return [[name, f"{1000 * value:.3g}", f"{100 * value / base:.2f} %"] for name, value in seconds.items()]


def cut_alone(cut: Callable[[int], object], times: int) -> None:
    """Crops go as soon as the next ones are there: thousands of a turn's would be a gigabyte."""
    for step in range(times):
        out = cut(step)
    jax.block_until_ready(out)


def wait_rows(config: ConfigDict, workdir: Path) -> list[list[str]]:
    """data_wait_percent of a training by each pipeline, as its log has it."""
    rows = []
    for pipeline in ("host", "device"):
        run = workdir / pipeline
        train(with_fields(config, {"data.pipeline": pipeline}), run)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        waits = [line["data_wait_percent"] for line in lines]
        rows.append([f"training, {pipeline} pipeline", f"{statistics.median(waits):.2f} %", f"{max(waits):.2f} %"])
    return rows


def copies(photographs: Path, folder: Path, count: int, crop: int) -> list[Path]:
    """The largest `count` photographs as PNG; broken ones, or narrower than a crop, are left out, as training does."""
    sizes: dict[Path, int] = {}
    for path in list_images(photographs):
        with suppress(BrokenImage):
            size = image_size(path)
            if min(size) >= crop:
                sizes[path] = math.prod(size)
    paths: list[Path] = []
    for path in sorted(sizes, key=lambda path: -sizes[path]):
        if len(paths) < count:
            with suppress(BrokenImage):
                image, copy = read_image(path), folder / f"{len(paths):02}.png"
                write_png(copy, image)
                paths.append(copy)
    if not paths:
        raise UserError(f"--photographs={photographs}: no image there that can be read and has {crop} pixels each way")
    return paths


def measure(photographs: Path, overrides: list[str], *, rounds: int, quick: bool) -> None:
    on_cpu = jax.default_backend() == "cpu"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = configs.load(f"{ROOT}/configs/srresnet_mse.py", overrides)
        crop = SMALL["data.crop"] if quick else config.data.crop
        paths = copies(photographs, folder / "png", 4 if quick else 12, crop)
        per_call, calls = (1, 8) if on_cpu else (20, 40)
        fields = {"data.path": str(folder / "png"), "data.store": str(folder / "store"), "validation.every": 0}
        fields |= {"steps_per_call": per_call, "steps": per_call * calls, "log.every": per_call * calls // 4}
        fields |= {"checkpoint.every": per_call * calls, "log.tensorboard": False}
        fields |= {} if on_cpu else {"dtype": "bfloat16"}
        config = with_fields(config, fields | (SMALL if quick else {}))
        check(config)

        side = [f"{w}x{h}" for h, w in map(image_size, paths)]
        print(f"{machine()}\n{len(paths)} photographs, {side[-1]} to {side[0]}; batch {config.batch_size}, ", end="")
        print(f"crop {config.data.crop}, {config.steps_per_call} updates per call, {config.dtype}\n")
        rows = input_rows(config, paths, rounds=rounds, seconds=0.2 if quick else 5.0)
        print(table("input | crops/s | times torch", rows) + "\n", flush=True)
        rows = update_rows(config, rounds=rounds)
        print(table("work | ms | of the first", rows) + "\n", flush=True)
        rows = wait_rows(config, folder)
        print(table("data wait, share of the time | median | highest", rows), flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="input_speed", allow_abbrev=False, description=__doc__.split("\n")[0])
    parser.add_argument("--photographs", type=Path, default=SAMPLES / "train", help="folder (default: the bundled)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each; medians are printed (default 5)")
    parser.add_argument("--quick", action="store_true", help="small shapes and few rounds: does it still run")
    args, overrides = parser.parse_known_args(argv)
    logging.basicConfig()
    start(args)
    try:
        measure(args.photographs, overrides, rounds=args.rounds, quick=args.quick)
    except UserError as error:
        print(f"input_speed: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
