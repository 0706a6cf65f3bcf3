"""srgan report DIR: writes the report of a grid's workdir again, without training or measuring."""

import argparse
from pathlib import Path

from srgan_jax.errors import printable
from srgan_jax.evaluation.report import REPORT, write_report
from srgan_jax.evaluation.results import RESULTS, read_results


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="srgan report", description=__doc__)
    parser.add_argument("workdir", type=Path, help="the --workdir of srgan ablate")
    args = parser.parse_args(argv)
    write_report(read_results(args.workdir / RESULTS), args.workdir / REPORT)
    print(printable(f"report: {args.workdir / REPORT}"))
    return 0
