"""A small pix2pix that a laptop's CPU trains in minutes: grey to colour at 64x64, on the bundled photographs.

    python -m srgan_jax train --config=configs/pix2pix_small.py --workdir=runs/colour

2 min 40 s on 2 CPU cores (2026-11-21); L1 on the held-out photographs 0.1056, of the grey pictures themselves 0.1105
(2026-11-30, by --which latest).
"""

from ml_collections import ConfigDict

from configs import pix2pix


def get_config() -> ConfigDict:
    c = pix2pix.get_config()
    c.steps = 1000
    c.batch_size = 8
    c.data.pipeline = "device"
    c.data.input = "grey"
    c.data.crop = 64
    c.data.tile = 256
    c.data.jitter = 72
    c.generator.features = 32
    c.generator.levels = 6
    c.generator.norm = "instance"
    c.discriminator.features = 32
    c.discriminator.patch = 34
    c.discriminator.norm = "instance"
    c.optimizer.boundaries = (500,)
    c.log.every = 100
    c.checkpoint.every = 250
    c.validation.every = 250
    c.validation.crop = 0
    return c
