"""srgan train --config=FILE --workdir=DIR [--config.FIELD=VALUE ...]"""

import argparse
from pathlib import Path

from srgan_jax import config as configs
from srgan_jax.training.loop import train


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="srgan train", allow_abbrev=False, description=__doc__)
    parser.add_argument("--config", required=True, help="a file of configs/, or one like it")
    parser.add_argument("--workdir", required=True, type=Path, help="the run's folder; resumed if it has checkpoints")
    args, overrides = parser.parse_known_args(argv)
    train(configs.load(args.config, overrides), args.workdir)
    return 0
