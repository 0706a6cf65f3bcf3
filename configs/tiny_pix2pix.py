"""A pix2pix of no use that trains in seconds on a CPU, for tests.

python -m srgan_jax train --config=configs/tiny_pix2pix.py --workdir=runs/tiny_pix2pix
"""

from ml_collections import ConfigDict

from configs import pix2pix_small


def get_config() -> ConfigDict:
    c = pix2pix_small.get_config()
    c.steps = 10
    c.batch_size = 4
    c.data.crop = 16
    c.data.tile = 64
    c.data.jitter = 18
    c.generator.blocks = 1
    c.generator.features = 8
    c.generator.levels = 4
    c.generator.norm = "batch"
    c.discriminator.features = 8
    c.discriminator.patch = 16
    c.discriminator.pool = 6
    c.discriminator.norm = "batch"
    c.optimizer.boundaries = (5,)
    c.log.every = 2
    c.checkpoint.every = 5
    c.validation.every = 5
    c.validation.images = 1
    c.validation.crop = 48
    return c
