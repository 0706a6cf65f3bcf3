"""srgan replay --workdir=DIR: runs the update again at which a run diverged, and says which figures are not finite."""

import argparse
import math
from pathlib import Path

from srgan_jax.training.replay import replay


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="srgan replay", allow_abbrev=False, description=__doc__)
    parser.add_argument("--workdir", required=True, type=Path, help="the run's folder")
    args = parser.parse_args(argv)
    for name, value in replay(args.workdir).items():
        print(f"{name:28}{value:.6g}{'' if math.isfinite(value) else '   not finite'}")
    return 0
