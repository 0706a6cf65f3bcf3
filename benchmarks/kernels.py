"""Where the time of a call goes on the device: its kernels by name, from a trace of JAX's profiler."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
from jax.profiler import ProfileData, ProfileEvent

from benchmarks.side_by_side import table

ROWS = 25
LOOP = ("while", "%while")
HEAD = "kernel | for each update | us | of all"


def profile(run: Callable[[int], None], updates: int, folder: Path) -> str:
    """Traces run(1), which makes so many updates; the trace stays in `folder`.

    A table of the kernels that take most, and how long the device works in the time that it takes for all. While a
    profiler looks, XLA runs a GPU's graphs as single launches, so that this time is not that of what is timed.
    """
    run(1)
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # only the device counts here
    with jax.profiler.trace(str(folder), profiler_options=options):
        run(1)
    newest = max(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    return summary(list(device_events(ProfileData.from_file(str(newest)))), updates)


def device_events(data: ProfileData) -> Iterable[ProfileEvent]:
    """What ran on accelerators' streams; on a CPU, XLA's operations on all threads.

    Loops are left out: their time is that of what is in them, which has events of its own.
    """
    for plane in data.planes:
        accelerator = plane.name.startswith("/device:")
        for line in plane.lines:
            if accelerator and line.name.startswith(("Stream", "XLA Ops")):
                yield from (event for event in line.events if not event.name.startswith(LOOP))
            elif plane.name == "/host:CPU" and jax.default_backend() == "cpu":
                operations = (event for event in line.events if any(name == "hlo_op" for name, _ in event.stats))
                yield from (event for event in operations if not event.name.startswith(LOOP))


def summary(events: list[ProfileEvent], updates: int) -> str:
    if not events:
        return "the profiler saw nothing of the device"
    sums: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for event in events:
        name = re.sub(r"[._\d]*$", "", event.name)[:90] or event.name
        sums[name][0] += 1
        sums[name][1] += event.duration_ns
    busy, until = 0.0, 0.0
    for start, end in sorted((event.start_ns, event.start_ns + event.duration_ns) for event in events):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    span = until - min(event.start_ns for event in events)
    total = sum(ns for _, ns in sums.values())
    most = sorted(sums.items(), key=lambda item: -item[1][1])[:ROWS]
    rows = [
        [name, f"{count / updates:.1f}", f"{ns / updates / 1e3:.1f}", f"{100 * ns / total:.1f} %"]
        for name, (count, ns) in most
    ]
    return (
        f"{table(HEAD, rows)}\n\n{len(events) / updates:.0f} kernels for each update; the device works "
        f"{busy / updates / 1e3:.0f} us of {span / updates / 1e3:.0f} ({100 * busy / span:.0f} %)"
    )
