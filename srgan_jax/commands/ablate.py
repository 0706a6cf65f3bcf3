"""srgan ablate --grid=FILE --workdir=DIR [-- --config.FIELD=VALUE ...]: trains a grid, measures it, writes a report."""

import argparse
from pathlib import Path

from srgan_jax.data.sources import SAMPLES
from srgan_jax.errors import UserError, printable
from srgan_jax.evaluation.ablate import ablate
from srgan_jax.evaluation.grid import find_sets, load_grid
from srgan_jax.evaluation.processes import Stopped
from srgan_jax.evaluation.report import REPORT, write_report
from srgan_jax.evaluation.results import RESULTS, read_results


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="srgan ablate", allow_abbrev=False, description=__doc__)
    parser.add_argument("--grid", required=True, type=Path, help="a file of configs/grids/, or one like it")
    parser.add_argument("--workdir", required=True, type=Path, help="runs, results.jsonl and report.html; resumed")
    parser.add_argument("--seeds", nargs="+", type=int, help="instead of the grid's")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="these of the grid's rows alone")
    parser.add_argument("--set", nargs="+", metavar="DIR", help="data sets to measure on, instead of the grid's")
    args, overrides = parser.parse_known_args([argument for argument in argv if argument != "--"])
    grid = load_grid(args.grid, overrides)
    names = args.rows or list(grid.rows)
    unknown = [name for name in names if name not in grid.rows]
    if unknown:
        raise UserError(f"--rows: no row {unknown[0]!r}; the grid's are {', '.join(grid.rows)}")
    if args.seeds:
        if min(args.seeds) < 0 or max(args.seeds) >= 2**32:
            raise UserError("--seeds: must be whole numbers from 0 to 2**32 - 1")
        grid = grid._replace(seeds=list(dict.fromkeys(args.seeds)))
    if args.set:
        grid = grid._replace(sets=find_sets(args.set))
    if SAMPLES / "validation" in grid.sets and any(row.config.data.input == "pair" for row in grid.rows.values()):
        raise UserError("--set: a network of pairs is measured on pairs, which the bundled photographs are not")

    path = args.workdir / RESULTS
    try:
        ablate(grid, names, args.workdir, lambda line: print(printable(line), flush=True))
        code = 0
    except Stopped:
        print("stopped by a signal; the same command goes on")
        code = 1
    results = read_results(path) if path.exists() else []
    failed = [line for line in results if line["status"] == "failed"]
    if results:
        write_report(results, args.workdir / REPORT)
        told = f"{len(results) - len(failed)} runs done, {len(failed)} failed: {path}, {args.workdir / REPORT}"
        print(printable(told))
    return 1 if any(line["row"] in names and line["seed"] in grid.seeds for line in failed) else code
