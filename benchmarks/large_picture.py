"""Memory and time of enlarging pictures that are larger than memory would like.

    python -m benchmarks.large_picture [--side 20000] [--checkpoint WEIGHTS] [--output png] [--quick]

Writes a picture of side x side pixels, enlarges it by `srgan upscale` in a process of its own, and prints that
process's peak memory (resident, as the kernel counts it; Linux carries this process's own peak over into it, so that it
is at least that) and its seconds for each megapixel of the input. Without --checkpoint the network is small and
untrained, one block of 8 features: this is about memory, not quality.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from configs import base
from srgan_jax.inference.image_reader import open_picture
from srgan_jax.inference.image_writer import write_picture
from srgan_jax.models.build import build_generator
from srgan_jax.weights.generator_file import write_generator
from srgan_jax.weights.readers import flatten

BAND = 256


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--checkpoint")
    parser.add_argument("--output", default="png", choices=["png", "tif"])
    parser.add_argument("--quick", action="store_true", help="side 1500: to see that it runs")
    args = parser.parse_args(argv)
    side = 1500 if args.quick else args.side
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.png"), Path(folder, f"out.{args.output}")
        write_picture(source, smooth(side), height=side, width=side)
        weights = args.checkpoint or small(Path(folder, "small.safetensors"))
        seconds, peak = enlarge(source, target, str(weights))
        large = open_picture(target, max_pixels=10**12)
        megapixels = side * side / 1e6
        print("| input | output | file, MB | peak memory, MB | s | s per input megapixel |\n|---|---|---|---|---|---|")
        print(
            f"| {side}x{side} | {large.width}x{large.height} | {target.stat().st_size / 1e6:.0f} | {peak / 1e6:.0f} "
            f"| {seconds:.0f} | {seconds / megapixels:.2f} |"
        )
    return 0


def smooth(side: int) -> Iterator[np.ndarray]:
    """Waves, which compress well, in bands of rows of uint8[n, side, 3]."""
    wave = np.sin(np.arange(side) / 40)
    for top in range(0, side, BAND):
        rows = np.sin(np.arange(top, min(top + BAND, side)) / 60)[:, None]
        yield np.stack([(127 * (1 + rows * wave * gain)).astype(np.uint8) for gain in (1.0, 0.7, -0.5)], axis=-1)


def small(path: Path) -> Path:
    """An untrained generator that starts as bicubic."""
    config = base.get_config()
    config.generator.update(blocks=1, features=8, norm="none", skip="bicubic", first_kernel=3, last_kernel=3)
    network = build_generator(config)
    variables = network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)
    write_generator(path, dict(flatten(variables)), config, "small", {})
    return path


def enlarge(source: Path, target: Path, weights: str) -> tuple[float, int]:
    """(seconds, peak resident bytes) of the command."""
    argv = [sys.executable, "-m", "srgan_jax", "upscale", "-i", str(source), "-o", str(target), "--checkpoint", weights]
    began = time.monotonic()
    process = subprocess.Popen(argv)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"srgan upscale ended with {process.returncode}")
    return time.monotonic() - began, usage.ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
