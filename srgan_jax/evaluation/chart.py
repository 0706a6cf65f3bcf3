"""Line charts as coordinates, for a template to draw."""

import math
from collections.abc import Sequence
from typing import Any

WIDTH, HEIGHT = 480, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 444, 10, 232  # of the plot
POINTS = 150  # a longer line is averaged down to so many

Points = Sequence[tuple[float, float]]


def chart(series: Sequence[tuple[str, int, Points]], *, log: bool) -> dict[str, Any]:
    """series: (label, colour, [(x, y), ...]), nowhere empty. log: a logarithmic axis, if every y is above 0.

    Returns {"lines": [{"label", "colour", "path"}], "x": ticks, "y": ticks, "log"}, a tick being (position, text), in
    the units of a WIDTH x HEIGHT drawing.
    """
    values = [y for _, _, points in series for _, y in points]
    if not values:
        return {"lines": [], "x": [], "y": [], "log": False}
    log = log and min(values) > 0
    height = math.log10 if log else float
    x_high = max(x for _, _, points in series for x, _ in points) or 1
    thinned = [(label, colour, thin(points)) for label, colour, points in series]
    heights = [height(y) for _, _, points in thinned for _, y in points]
    low, high = min(heights), max(heights)
    margin = 0.04 * (high - low) or 0.5 + 1e-9 * abs(high)  # more than rounding takes away
    low, high = low - margin, high + margin

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (RIGHT - LEFT) * x / x_high
        return across, BOTTOM - (BOTTOM - TOP) * (height(y) - low) / (high - low)

    lines = []
    for label, colour, points in thinned:
        places = [place(*point) for point in points]
        if len(places) == 1:  # of which nothing would be seen
            places = [(places[0][0] + aside, places[0][1]) for aside in (-3, 3)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        lines.append({"label": label, "colour": colour, "path": path})
    y_ticks = decades(low, high) if log and high - low > 1 else ticks(10**low, 10**high) if log else ticks(low, high)
    return {
        "lines": lines,
        "x": [(place(tick, values[0])[0], f"{tick:g}") for tick in ticks(0, x_high)],
        "y": [(place(0, tick)[1], f"{tick:g}") for tick in y_ticks],
        "log": log,
    }


def thin(points: Points) -> Points:
    """At most POINTS, each the mean of equally many in a row."""
    size = -(-len(points) // POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def ticks(low: float, high: float) -> list[float]:
    """Two to six round numbers between them."""
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return [round(index * step, 12) for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten, or the powers alone where many, between the logarithms `low` and `high`."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    factors = (1, 2, 5) if high - low < 3 else (1,)
    values = [factor * 10.0**power for power in powers for factor in factors]
    return [value for value in values if low <= math.log10(value) <= high]
