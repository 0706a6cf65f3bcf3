"""Seconds from the start of `srgan train` to its first update, without and with compiled programs in the cache.

    python -m benchmarks.startup [--batch 4] [--runs 3] [--quick]

Every start is a process of its own with the bundled photographs; the cache is a new, empty one.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.side_by_side import machine, table
from benchmarks.trainings import CONFIGS, KINDS, TINY

HEAD = "training | cold, s | warm, s (median) | warm / cold | compiling cold, s | warm, s"
COMPILED = re.compile(r"compiled in ([\d.]+) s")


def first_update(kind: str, fields: list[str], cache: Path) -> tuple[float, float]:
    """Seconds (to the figures of the first update, compiling it); SystemExit if training fails."""
    own = ("JAX_COMPILATION", "JAX_PERSISTENT")  # settings that would stand in the way of the default ones
    env = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    env |= {"XDG_CACHE_HOME": str(cache)}
    output, seconds = "", 0.0
    with tempfile.TemporaryDirectory() as workdir:
        argv = [sys.executable, "-m", "srgan_jax", "train", f"--config={CONFIGS / KINDS[kind]}.py"]
        argv += [f"--workdir={workdir}/run", *(f"--config.{field}" for field in fields)]
        began = time.perf_counter()
        with subprocess.Popen(argv, cwd=CONFIGS.parent, env=env, stderr=subprocess.PIPE, text=True) as run:
            for line in run.stderr or ():
                output += line
                if line.startswith("step 1/"):
                    seconds = time.perf_counter() - began
    found = COMPILED.search(output)
    if run.returncode or not seconds or not found:
        raise SystemExit(f"startup: training failed:\n{output}")
    return seconds, float(found[1])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="startup", allow_abbrev=False, description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny SRResNet, one warm start: is it alive?")
    parser.add_argument("--kind", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3, help="warm starts; the median is printed (default 3)")
    args = parser.parse_args(argv)
    fields = ["data.source=bundled", "data.pipeline=device", "loss.feature.weights=random", "steps=1", "log.every=1"]
    fields += ["validation.every=0", "log.tensorboard=False", f"batch_size={args.batch}", *TINY * args.quick]
    rows = []
    for kind in args.kind[:1] if args.quick else args.kind:
        with tempfile.TemporaryDirectory() as cache:
            starts = range(2 if args.quick else 1 + args.runs)
            (cold, cold_compiling), *warm = (first_update(kind, fields, Path(cache)) for _ in starts)
        seconds, compiling = (statistics.median(values) for values in zip(*warm, strict=True))
        shown = [f"{value:.1f}" for value in (cold, seconds, cold_compiling, compiling)]
        rows.append([kind, *shown[:2], f"{seconds / cold:.2f}", *shown[2:]])
        print(*rows[-1], sep="  ", flush=True)  # all there is if it ends early
    print(f"\n{table(HEAD, rows)}\n\n{machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
