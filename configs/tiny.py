"""A network of no use that trains in seconds on a CPU, for tests.

python -m srgan_jax train --config=configs/tiny.py --workdir=runs/tiny
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.steps = 10
    c.batch_size = 4
    c.data.crop = 16
    c.data.tile = 64
    c.generator.blocks = 1
    c.generator.features = 8
    c.generator.first_kernel = 5
    c.generator.last_kernel = 3
    c.optimizer.learning_rate = 1e-3
    c.log.every = 2
    c.checkpoint.every = 5
    c.validation.every = 5
    c.validation.images = 1
    c.validation.crop = 48
    return c
