"""srgan train --config=FILE --workdir=DIR [--config.FIELD=VALUE ...]"""

import argparse
from pathlib import Path

import jax

from srgan_jax import config as configs
from srgan_jax.errors import UserError, of_memory
from srgan_jax.training import guards, parallel
from srgan_jax.training.loop import train


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="srgan train", allow_abbrev=False, description=__doc__)
    parser.add_argument("--config", required=True, help="a file of configs/, or one like it")
    parser.add_argument("--workdir", required=True, type=Path, help="the run's folder; resumed if it has checkpoints")
    parser.add_argument(
        "--distributed",
        default="auto",
        metavar="auto|off|HOST:PORT,N,I",
        help="how several processes train together: as jax detects a cluster (TPU pod, SLURM, GKE, Open MPI), not at "
        "all, or N processes of which this is number I, the first of them at HOST:PORT",
    )
    args, overrides = parser.parse_known_args(argv)
    config = configs.load(args.config, overrides)
    parallel.start_processes(args.distributed)
    with guards.together():
        try:
            train(config, args.workdir)
        except jax.errors.JaxRuntimeError as error:
            if not of_memory(error) or jax.process_count() > 1:  # then another start may help
                raise
            remedy = "set parallel.accumulate, or take a smaller batch_size or data.crop"
            raise UserError(f"config.batch_size={config.batch_size}: too much for the memory; {remedy}") from error
    return 0
