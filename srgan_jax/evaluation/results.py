"""results.jsonl of a grid, and what its runs left in their folders."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from srgan_jax.errors import UserError
from srgan_jax.evaluation.grid import is_name
from srgan_jax.files import replacing
from srgan_jax.metrics import from_json, to_json

RESULTS = "results.jsonl"
Line = dict[str, Any]


def read_results(path: Path) -> list[Line]:
    """The lines of a results.jsonl.

    Raises:
      UserError: no such file, or it is damaged.
    """
    try:
        lines = [from_json(line) for line in path.read_text().splitlines()]
        for line in lines:
            wanted = {"row", "seed", "reason", "paper", "init_from", "differences", "command"}
            if line["status"] != "failed":
                wanted |= {"step", "seconds", "figures"}
            missing = wanted - line.keys()
            if missing or line["status"] not in ("done", "failed") or not is_name(line["row"]):
                raise ValueError(f"a line that has no {', '.join(sorted(missing)) or 'known row or status'}")
        return lines
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; `srgan ablate --workdir={path.parent}` writes it") from error
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise UserError(
            f"{path}: damaged ({error}); move it away and run the grid again, which keeps its runs"
        ) from error


def write_results(path: Path, lines: Iterable[Line]) -> None:
    """Whole or not at all."""
    with replacing(path) as partial:
        partial.write_text("".join(to_json(line) + "\n" for line in lines))


def run_folder(workdir: Path, row: str, seed: int) -> Path:
    return workdir / row / f"seed{seed:d}"


def logged(run: Path) -> list[dict[str, Any]]:
    """The lines of its metrics.jsonl, [] without one; half a line, cut off by a kill, is passed over."""
    path = run / "metrics.jsonl"
    lines = []
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        with suppress(ValueError):
            lines.append(from_json(line))
    return lines


def seconds_trained(run: Path) -> float:
    """Without compiling, validating, saving, and steps that were lost; from metrics.jsonl."""
    total, before = 0.0, 0
    for line in logged(run):
        if "step_per_s" in line:
            total += (line["step"] - before) / line["step_per_s"]
            before = line["step"]
    return total
