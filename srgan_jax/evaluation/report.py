"""One self-contained HTML page about a grid: figures beside the paper's, curves, pictures to compare, provenance."""

import math
import shlex
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from srgan_jax.errors import UserError
from srgan_jax.evaluation import paper
from srgan_jax.evaluation.chart import chart
from srgan_jax.evaluation.measure import FIGURES
from srgan_jax.evaluation.page import version, write_page
from srgan_jax.evaluation.results import Line, logged, run_folder
from srgan_jax.evaluation.table import TITLES, identity
from srgan_jax.metrics import from_json
from srgan_jax.weights.vgg_file import digest

REPORT = "report.html"
# of data: what decides which photographs, or parts of them, a run is trained on
CHOSEN = tuple(f"data.{field}:" for field in "source path name input target direction split feature resize".split())
CURVES = {"g/loss": "Training loss, each row's own", "validation/psnr_y": "PSNR-Y on the validation photographs, dB"}


def write_report(results: Sequence[Line], output: Path) -> None:
    """`results` are the lines of a results.jsonl; the runs they tell of lie below the output's folder.

    Raises:
      UserError: what a run that is done left there is missing or damaged.
    """
    try:
        write_page(output, "report.html.j2", _view(results, output.parent))
    except (LookupError, AttributeError, TypeError, ValueError, ArithmeticError) as error:  # one was edited since
        where = f"{output.parent}: results.jsonl, or figures.json or metrics.jsonl of a run"
        raise UserError(f"{where}, is damaged ({error}); move it away and run the grid again") from error


def _view(results: Sequence[Line], folder: Path) -> dict[str, Any]:
    done = [line for line in results if line["status"] == "done"]
    measured = {(line["row"], line["seed"]): _figures(folder, line) for line in done}
    names = list(dict.fromkeys(line["row"] for line in results))
    sets = list(dict.fromkeys(name for result in measured.values() for name in result["data"]))
    return {
        "warnings": _other_training(done, measured),
        "rows": [next(line for line in results if line["row"] == name) for name in names],
        "runs": [line | {"shell": shlex.join(line["command"])} for line in results],
        "tables": [_table(name, names, results, measured) for name in sets],
        "charts": [_chart(folder, figure, title, names, done) for figure, title in CURVES.items()],
        "photographs": [photo for name in sets for photo in _photographs(folder, name, done)],
        "provenance": _provenance(measured),
    }


def _figures(folder: Path, line: Line) -> dict[str, Any]:
    path = run_folder(folder, line["row"], line["seed"]) / FIGURES
    try:
        result = from_json(path.read_text())
        assert {"methods", "convention", "code", "data", "trained_on"} <= result.keys() and len(result["methods"]) == 2
        assert all(map(identity, result["data"].values()))
        return result
    except (OSError, ValueError, LookupError, AttributeError, TypeError, AssertionError) as error:
        raise UserError(f"{path}: missing or damaged; run the grid again, which measures what lacks figures") from error


def _table(name: str, rows: Sequence[str], results: Sequence[Line], measured: dict[Any, Any]) -> dict[str, Any]:
    """Mean and spread over the seeds of every figure on one set, the control first, beside the paper's."""
    here = next(result for result in measured.values() if name in result["methods"][0]["sets"])
    control = here["methods"][0]["sets"][name]
    found = {here["methods"][0]["name"]: ("bicubic", [control["mean"]], "")}
    for row in rows:
        lines = [line for line in results if line["row"] == row]
        figures = [line["figures"][name] for line in lines if line["status"] == "done" and name in line["figures"]]
        found[row] = (lines[-1]["paper"], figures, next((line["reason"] for line in lines if line["reason"]), ""))
    scale = here["data"][name]["scale"]
    theirs = {row: paper.figures(name, {"name": of}, scale) for row, (of, _, _) in found.items()}
    columns = [figure for figure in TITLES if any(figure in each for _, each, _ in found.values() for each in each)]
    return {
        "name": name,
        "images": len(control["images"]),
        "columns": [TITLES[column] for column in columns],
        "rows": [
            {
                "name": row,
                "reason": reason,
                "seeds": len(figures),
                "cells": [_mean(column, figures) for column in columns],
                "paper": paper.against(theirs[row], figures),
            }
            for row, (_, figures, reason) in found.items()
        ],
        "against_paper": any(theirs.values()),
        "warnings": _other_data(name, measured)
        + [said for said in paper.warnings(here) if any(theirs.values()) and said.startswith(f"warning: {name}:")],
    }


def _other_data(name: str, measured: dict[Any, Any]) -> list[str]:
    """A line if runs were measured on different pictures of one set name, or by different conventions."""
    known = {f"{r} seed {s}": of for (r, s), of in measured.items() if name in of["data"]}
    first, one = next(iter(known.items()))

    def differs(of: dict[str, Any]) -> bool:
        shared = one["convention"].keys() & of["convention"].keys()
        same = all(one["convention"][key] == of["convention"][key] for key in shared)
        return not same or identity(one["data"][name]) != identity(of["data"][name])

    others = ", ".join(run for run, of in known.items() if differs(of))
    line = f"warning: {name}: {others} measured on other pictures than {first}, or otherwise; rows do not compare: "
    return [f"{line}remove figures.json of every run and run the grid again, all rows on one set"] if others else []


def _other_training(done: Sequence[Line], measured: dict[Any, Any]) -> list[str]:
    """A line for each row whose seeds differ in updates, and one if runs were trained on different photographs."""
    steps: dict[str, set[int]] = {}
    for line in done:
        steps.setdefault(line["row"], set()).add(line["step"])
    lines = [
        f"warning: {row}: seeds of {' and '.join(map(str, sorted(of)))} updates are in one mean; run all of them again"
        for row, of in steps.items()
        if len(of) > 1
    ]
    known = {of["trained_on"]["photographs"] for of in measured.values()}
    meant = any(difference.startswith(CHOSEN) for line in done for difference in line["differences"])
    if len(known) > 1 and not meant:
        lines.append("warning: runs were trained on different photographs (below, Trained with); rows do not compare")
    return lines


def _mean(column: str, figures: Sequence[dict[str, float]]) -> tuple[str, str]:
    """(mean, standard deviation over seeds), "" for what there is not, or not of each."""
    values = [each[column] for each in figures if column in each]
    values = values if len(values) == len(figures) else []
    digits = 2 if column.startswith("psnr") else 4
    spread = f"{statistics.stdev(values):.{digits}f}" if len(values) > 1 and all(map(math.isfinite, values)) else ""
    return (f"{statistics.fmean(values):.{digits}f}" if values else "", spread)


def _chart(folder: Path, figure: str, title: str, names: list[str], done: Sequence[Line]) -> dict[str, Any]:
    """A line for every run that is done, coloured by its row."""
    series = []
    for line in done:
        run = run_folder(folder, line["row"], line["seed"])
        points = [(float(each["step"]), float(each[figure])) for each in logged(run) if each.get(figure) is not None]
        points = [point for point in points if math.isfinite(point[1])]
        if points:
            series.append((f"{line['row']} seed {line['seed']}", names.index(line["row"]), points))
    return {"title": title, **chart(series, log=figure == "g/loss")}


def _photographs(folder: Path, name: str, done: Sequence[Line]) -> list[dict[str, Any]]:
    """The cuts of one set, LR | bicubic | each row's first seed | HR."""
    rows: dict[str, Path] = {}
    for line in done:
        cuts = run_folder(folder, line["row"], line["seed"]) / "cuts" / name
        if name in line["figures"] and cuts.is_dir():
            rows.setdefault(line["row"], cuts)
    if not rows:
        return []
    photographs = []
    common = next(iter(rows.values()))
    for cut in sorted(path.name for path in common.iterdir() if path.is_dir()):
        enlarged = (common / cut / "bicubic.png").is_file()
        places = {"LR" if enlarged else "input": common / cut / "lr.png", "bicubic": common / cut / "bicubic.png"}
        places |= {label: cuts / cut / "sr.png" for label, cuts in rows.items()}
        places["HR"] = common / cut / "hr.png"
        versions = [version(label, path.read_bytes()) for label, path in places.items() if path.is_file()]
        if len(versions) > 1:  # else the measuring was cut off
            photographs.append({"set": name, "name": cut, "versions": versions, "left": int(enlarged)})
    return photographs


def _provenance(measured: dict[Any, dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """What made the figures; facts on which runs agree stand once."""

    def each(tell: Callable[[dict[str, Any]], dict[str, Any]]) -> list[str]:
        told: dict[str, list[str]] = {}
        for (row, seed), result in measured.items():
            for key, value in tell(result).items():
                told.setdefault(f"{key}: {value}", []).append(f"{row} seed {seed}")
        return [text + (f" ({', '.join(runs)})" if len(runs) < len(measured) else "") for text, runs in told.items()]

    def sets(result: dict[str, Any]) -> dict[str, Any]:
        return {f"{name}, {key}": value for name, origin in result["data"].items() for key, value in origin.items()}

    def trained_with(result: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in result["trained_on"].items() if value != digest({})}

    return [
        ("Code", each(lambda result: result["code"])),
        ("Convention", each(lambda result: result["convention"])),
        ("Measured on", each(sets)),
        ("Trained with (sha256)", each(trained_with)),
        ("Generator's weights (sha256)", each(lambda result: {"weights": result["methods"][1]["weights_sha256"]})),
    ]
