"""Contenders in turn, in one process: medians, ratios, checks, and what machine it was.

torch is imported where it is set up: benchmarks without it use the rest.
"""

import argparse
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax
from absl import flags

from srgan_jax.memory import keep_memory

TRIED = ("compile",)  # in names of contenders that may fail: others then stand
TOO_LITTLE = ("MemoryError", "RESOURCE_EXHAUSTED", "can't allocate memory")
WARM = 8  # runs on a CPU before the first that is timed: until then a process may grow (srgan_jax/memory.py)
TURN = 0.5  # seconds that a turn lasts, at least: then neither the clock nor a neighbour's spinning threads matter


class Contender(NamedTuple):
    """run(n) does the work n times and returns when it is done; one time is `pieces` updates or pictures.

    memory: bytes on the device that a piece needs beyond what is there before it; None where that cannot be known.
    """

    run: Callable[[int], None]
    pieces: int = 1
    memory: Callable[[], int | None] = lambda: None


def arguments(name: str, text: str) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(
        prog=name, allow_abbrev=False, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny networks and shapes: is it alive? no figures to quote"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="turns of each contender; medians are printed (default 7)"
    )
    parser.add_argument(
        "--give-back", action="store_true", help="freed memory goes back to the system, as malloc has it by itself"
    )
    parser.add_argument("--only", choices=["ours", "torch"], help="one side alone, its peak memory with it; no ratios")
    return parser


def start(args: argparse.Namespace) -> None:
    """Settings of both sides; before either has touched its device."""
    import torch

    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leaves torch its share of a GPU's memory
    flags.FLAGS.mark_as_parsed()  # Grain reads absl's flags
    # torch's threads wait for each other by spinning: on a machine that others use, one is far faster than all
    torch.set_num_threads(1 if args.quick else cores())
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True  # as ours has it; torch by itself has it in convolutions alone
    torch._dynamo.config.recompile_limit = 64  # its default counts all networks together, then falls back to eager
    if args.quick:
        args.rounds = 0
    if not vars(args).get("give_back"):
        keep_memory()  # as `srgan train` does; torch's blocks stay with the process, too


def same_device(only: str | None) -> None:
    """SystemExit where both sides would run, but on devices of two kinds: a ratio would be that of the devices."""
    import torch

    ours, theirs = jax.default_backend(), "gpu" if torch.cuda.is_available() else "cpu"
    if not only and ours != theirs:
        raise SystemExit(f"jax has a {ours} here, torch a {theirs}: measure one side, with --only ours or --only torch")


def cores() -> int:
    """That this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # macOS has none
    return len(allowed(0)) if allowed else os.cpu_count() or 1


@contextmanager
def full_precision() -> Iterator[None]:
    """Float32 products and convolutions of both sides as such; on a GPU they are TF32 otherwise."""
    import torch

    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        with jax.default_matmul_precision("highest"):
            yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def interleave(contenders: Mapping[str, Contender], rounds: int) -> dict[str, float]:
    """Median seconds of one piece for each, over `rounds` rounds in which each has one turn.

    Before that each runs WARM times, or three times on an accelerator (a CUDA graph is recorded in the second run);
    the last of them tells how often it fits into a turn. Of 0 rounds, for --quick, a turn is a single run. One of
    TRIED that fails there is named and left out, and so is whoever has not enough memory. A turn begins with a run
    that is not timed: it takes back from the caches the place that another's turn had. The order is turned by one
    place from round to round, so that nobody always follows the same neighbour.
    """
    import torch

    warm = WARM if rounds and jax.default_backend() == "cpu" else 3
    times: dict[str, int] = {}
    for name, contender in contenders.items():
        asked = time.perf_counter()
        try:
            for _ in range(warm - 1):
                contender.run(1)
            began = time.perf_counter()
            contender.run(1)
        except Exception as error:
            if not any(word in name for word in TRIED) and not out_of_memory(error):
                raise
            print(f"{name} left out: {(str(error) or type(error).__name__).splitlines()[0]}", flush=True)
            torch.cuda.empty_cache()  # what it had, others may need
            continue
        once = time.perf_counter() - began
        ready = began - asked  # compiled and warm
        # all there is if it ends early
        print(f"{name}: {1000 * once / contender.pieces:.4g} ms at first, after {ready:.0f} s", flush=True)
        times[name] = max(1, round(TURN / once)) if rounds else 1
    seconds: dict[str, list[float]] = {name: [] for name in times}
    order = list(times)
    for _ in range(rounds or 1):
        for name in order:
            if rounds:
                contenders[name].run(1)
            began = time.perf_counter()
            contenders[name].run(times[name])
            seconds[name].append((time.perf_counter() - began) / (times[name] * contenders[name].pieces))
        order = order[1:] + order[:1]
    return {name: statistics.median(values) for name, values in seconds.items()}


def out_of_memory(error: Exception) -> bool:
    """Of either side, here or in a process of its own, from which only the words come."""
    return any(words in f"{type(error).__name__}: {error}" for words in TOO_LITTLE)


def ratio(seconds: Mapping[str, float], name: str) -> str:
    """Time of `name`, one of ours, over that of torch's fastest; "-" for torch itself, or where only one side ran."""
    theirs = [value for other, value in seconds.items() if other.startswith("torch")]
    return f"{seconds[name] / min(theirs):.2f}" if theirs and name.startswith("ours") and name in seconds else "-"


def table(head: str, rows: Sequence[Sequence[object]]) -> str:
    """`head`: the columns' names, divided by " | "."""
    lines = [f"| {head} |", f"|{'---|' * (head.count(' | ') + 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, cells))} |" for cells in rows)])


def check_equal(what: str, ours: Mapping[str, float], theirs: Mapping[str, float], tolerance: float) -> str:
    """A line for the output; SystemExit if a figure differs by more than `tolerance` of torch's."""
    for name, value in theirs.items():
        if not abs(ours[name] - value) <= tolerance * abs(value):  # a nan differs, too
            raise SystemExit(f"{what}: NOT equal: {name} is {ours[name]:.6g}, torch's is {value:.6g}")
    figures = ", ".join(f"{name} {ours[name]:.6g} / {value:.6g}" for name, value in theirs.items())
    return f"{what}: equal within {tolerance:g} (ours / torch's): {figures}"


def machine() -> str:
    """One line: accelerators, processor, versions, settings that matter."""
    info = Path("/proc/cpuinfo")  # Linux alone has it
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    accelerators = sorted({d.device_kind for d in jax.devices() if d.platform != "cpu"})
    processor = f"{models[0] if models else platform.processor() or platform.machine()}, {cores()} cores"
    wanted = [name for name in ("jax", "jaxlib", "flax", "torch") if find_spec(name)]
    packages = [f"{name} {metadata.version(name)}" for name in wanted]
    settings = [f"{name}={os.environ[name]}" for name in ("OMP_WAIT_POLICY", "XLA_FLAGS") if os.environ.get(name)]
    return "; ".join([*accelerators, processor, *packages, f"Python {platform.python_version()}", *settings])


def megabytes(memory: int | None) -> str:
    return "-" if memory is None else f"{memory / 1e6:.0f}"


def footer(args: argparse.Namespace) -> str:
    """The machine; with --only the peak memory of a process, this one or one it began, which then is one side's."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    return f"\n{machine()}" + (f"\npeak memory of a process: {peak:.0f} MiB" if args.only else "")
