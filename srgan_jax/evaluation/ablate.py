"""Runs a grid: trains each row and seed in a process of its own and measures it. What is done is not done again."""

import signal
from collections.abc import Callable, Collection
from pathlib import Path

from ml_collections import ConfigDict

from srgan_jax import config as configs
from srgan_jax.errors import UserError
from srgan_jax.evaluation.grid import Grid, Row
from srgan_jax.evaluation.measure import FIGURES, measured
from srgan_jax.evaluation.processes import Child, children
from srgan_jax.evaluation.results import RESULTS, Line, read_results, run_folder, seconds_trained, write_results
from srgan_jax.fields import flatten
from srgan_jax.training.saved_step import saved_steps
from srgan_jax.training.start import lock, refuse_workdir
from srgan_jax.training.trained import load_config

Say = Callable[[str], None]


class Failed(Exception):
    """A run that cannot be had, with the reason in one line."""


def ablate(grid: Grid, names: Collection[str], workdir: Path, say: Say) -> None:
    """Trains and measures the rows `names` of the grid. `workdir`/results.jsonl tells of all runs so far.

    A line: {"row", "seed", "status": "done" | "failed", "reason", "paper", "init_from", "differences": [...] to the
    first row, "command", "step", "seconds": of training, "figures": {set: {figure: mean}}}; the last three of a run
    that is done alone. Seeds come one after another, each with all its rows.

    Raises:
      UserError: `workdir` is in use, cannot be written, or holds runs of other configs; nothing is started then.
      Stopped: by a signal. What is done is in results.jsonl; the same call goes on.
    """
    refuse_workdir(workdir)
    base = next(iter(grid.rows.values()))
    rows = [row for name, row in grid.rows.items() if name in names]
    path = workdir / RESULTS
    order = {name: place for place, name in enumerate(grid.rows)}  # what the grid no longer has comes last
    with lock(workdir, "runs a grid"), children(say) as child:
        lines = {
            (line["row"], line["seed"]): line
            for line in (read_results(path) if path.exists() else [])
            if line["status"] == "failed" or run_folder(workdir, line["row"], line["seed"]).is_dir()  # not removed
        }
        for row in grid.rows.values():  # one page compares all of them
            there = {int(run.name[4:]) for run in (workdir / row.name).glob("seed*") if run.name[4:].isdecimal()}
            for seed in sorted(there.union(grid.seeds)):  # the others as well: one mean is taken over all
                _refuse_changes(row, seed, workdir)
        for seed in grid.seeds:
            for row in rows:
                name = f"{row.name} seed {seed}"
                line: Line = {
                    "row": row.name,
                    "seed": seed,
                    "paper": row.paper,
                    "init_from": row.init_from,
                    "differences": differences(base.config, row.config),
                    "command": ["srgan", *_arguments(row, seed, workdir)],
                }
                if newest_step(run_folder(workdir, row.name, seed)) >= row.config.steps and (row.name, seed) in lines:
                    trained = lines[row.name, seed]  # by which, the grid's file may have changed since
                    line |= {"command": trained["command"], "differences": trained["differences"]}
                try:
                    line |= {"status": "done", "reason": ""} | _run(grid, row, seed, workdir, child, say)
                    figures = line["figures"].items()
                    result = "  ".join(f"{of} {means['psnr_y']:.2f} dB" for of, means in figures)
                    say(f"{name}: done, step {line['step']}, {line['seconds']:.0f} s of training; PSNR-Y {result}")
                except Failed as error:
                    line |= {"status": "failed", "reason": str(error)}
                    say(f"{name}: failed: {error}")
                lines[row.name, seed] = line
                lines = dict(sorted(lines.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0][1])))
                write_results(path, lines.values())


def newest_step(run: Path) -> int:
    """0 for a run without a checkpoint."""
    return next(iter(saved_steps(run / "checkpoints")), 0)  # by names alone: devices are the children's


def differences(base: ConfigDict, other: ConfigDict) -> list[str]:
    """`field: value there -> value here`, of every field; seed and init_from belong to a run and not to a row."""
    a, b = flatten(base), flatten(other)
    return [f"{name}: {a.get(name)!r} -> {b.get(name)!r}" for name in sorted(a | b) if a.get(name) != b.get(name)]


def _run(grid: Grid, row: Row, seed: int, workdir: Path, child: Child, say: Say) -> Line:
    """Trains and measures, unless that is done: {"step", "seconds", "figures"}. Raises Failed or Stopped."""
    run, steps, name = run_folder(workdir, row.name, seed), row.config.steps, f"{row.name} seed {seed}"
    if row.init_from and not saved_steps(run / "checkpoints"):  # one that has begun does not look back
        start = run_folder(workdir, row.init_from, seed)
        if newest_step(start) < grid.rows[row.init_from].config.steps:
            raise Failed(f"starts from {row.init_from}, which failed or is not trained")
    run.mkdir(parents=True, exist_ok=True)
    log = run / "train.log"
    if newest_step(run) < steps:
        say(f"{name}: training to step {steps}; see {log}")
        if not newest_step(run):
            (run / FIGURES).unlink(missing_ok=True)  # of what was trained there before
        code = child(["srgan_jax", *_arguments(row, seed, workdir)], log)
        if code:
            raise Failed(_reason(code, log))
        if newest_step(run) < steps:
            raise Failed(f"stopped at step {newest_step(run)} of {steps} by a signal; the same command goes on")
    step = newest_step(run)
    result = measured(run, step, grid.sets)
    if result is None:
        say(f"{name}: measuring")
        log = run / "measure.log"
        code = child(["srgan_jax.evaluation.measure", str(run), *map(str, grid.sets)], log)
        result = measured(run, step, grid.sets)
        if code or result is None:
            raise Failed(_reason(code, log))
    figures = {of: found["mean"] for of, found in result["methods"][1]["sets"].items()}
    return {"step": step, "seconds": seconds_trained(run), "figures": figures}


def _arguments(row: Row, seed: int, workdir: Path) -> list[str]:
    fields = [*row.overrides, f"--config.seed={seed}"]
    if row.init_from:
        fields.append(f"--config.init_from={run_folder(workdir, row.init_from, seed)}")
    return ["train", f"--config={row.file}", f"--workdir={run_folder(workdir, row.name, seed)}", *fields]


def _refuse_changes(row: Row, seed: int, workdir: Path) -> None:
    """Before anything starts: a run that is there must be of the row's config."""
    run = run_folder(workdir, row.name, seed)
    if not (run / "config.json").is_file():
        return
    wanted = row.config.copy_and_resolve_references()
    wanted.seed = seed
    saved = load_config(run, "--workdir")
    changed = configs.difference(saved, wanted)
    start = Path(saved.init_from)
    begun = start.parent.name if start.name == f"seed{seed}" else ""
    outside = not row.init_from and saved.init_from == wanted.init_from  # from another grid's run, say
    if begun != row.init_from and not outside:
        changed.append(f"init_from: {begun!r} -> {row.init_from!r}")
    if changed:
        raise UserError(f"--workdir={workdir}: {run} is of another config: {'; '.join(changed)}; use another --workdir")


def _reason(code: int, log: Path) -> str:
    """The last line that the process printed."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}; see {log}"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("srgan train: ")[:300] if lines else f"exit code {code}"
