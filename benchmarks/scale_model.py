"""What published figures of interconnects make of an update's bytes: expected, not measured. See docs/scaling.md."""

import math
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import collectives

if TYPE_CHECKING:
    from benchmarks.scale_cost import Cost

CHIPS = (8, 64, 256, 1024)
BACKWARD_SHARE = 2 / 3  # of the compute, beside which gradients may travel
HEAD = "update | on | chips | compute, ms | latency, ms | bytes, ms | efficiency | overlapped | BatchNorm per replica"


class Level(NamedTuple):
    """Chips, or groups of them, that an all-reduce treats alike: at most `size`; bandwidth: bytes/s of each, one way.

    dims: of the torus they form, whose rings close from `closed` chips on; 0: a switch. step: seconds from one chip to
    the next, or through the switches.
    """

    size: int
    bandwidth: float
    step: float
    dims: int = 0
    closed: int = 0


class Fabric(NamedTuple):
    """peak: bfloat16 FLOP/s of a chip. levels: from the inside out. launch: seconds that any all-reduce takes."""

    peak: float
    levels: tuple[Level, ...]
    launch: float


# Bandwidths and peaks are the vendors' (docs/scaling.md says where); launch and step are assumptions.
FABRICS = {
    "TPU v5e": Fabric(197e12, (Level(256, 200e9, 1e-6, 2, 256), Level(1024, 3.125e9, 25e-6)), 2e-6),
    "TPU v5p": Fabric(459e12, (Level(6144, 600e9, 1e-6, 3, 64),), 2e-6),
    "H100, H200": Fabric(989e12, (Level(8, 450e9, 2e-6), Level(1024, 50e9, 5e-6)), 10e-6),
}


def all_reduce(fabric: Fabric, chips: int, size: float) -> tuple[float, float]:
    """(seconds of latency, seconds of bytes) for `size` bytes on each of so many chips.

    Inside each level reduce-scatter, then all-reduce of the shares in the next one, then all-gather: a ring moves
    2 (n - 1) / n of its bytes through each chip, whatever it is made of.
    """
    latency, seconds = fabric.launch, 0.0
    for level in fabric.levels:
        n = min(chips, level.size)
        chips //= n
        closed = not level.dims or n >= level.closed
        seconds += 2 * (n - 1) / n * size / (level.bandwidth if closed else level.bandwidth / 2)
        if level.dims:
            side = n ** (1 / level.dims)
            steps = 2 * level.dims * (side / 2 if closed else side - 1)
        else:
            steps = 2 * math.ceil(math.log2(n))
        latency += steps * level.step
        size /= n
    return latency, seconds


def rows(kind: str, cost: "Cost", flops: float, share: float, slower: float) -> list[str]:
    """One for each fabric and number of chips. flops: of one chip's update; slower: factor on all latencies."""
    size = collectives.by_kind(cost.found)
    gradients = cost.expected[collectives.GRADIENTS]  # sent once: see docs/scaling.md
    statistics = size.get(collectives.FORWARD, 0) + size.get(collectives.BACKWARD, 0)
    players = 2 if kind == "SRGAN" else 1  # G's update waits for D's, and for its gradients
    lines = []
    for name, fabric in FABRICS.items():
        compute = flops / (fabric.peak * share)
        for chips in CHIPS:
            latency, seconds = all_reduce(fabric, chips, gradients + statistics)
            latency *= slower
            waits = cost.depth() * latency
            exposed = max(0.0, seconds - BACKWARD_SHARE * compute)
            figures = [f"{1e3 * value:.3g}" for value in (compute, waits, seconds)]
            shares = [seconds + waits, exposed + waits, exposed + players * latency]
            shown = [f"{100 * compute / (compute + lost):.0f} %" for lost in shares]
            lines.append(f"| {' | '.join([kind, name, str(chips), *figures, *shown])} |")
    return lines
