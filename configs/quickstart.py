"""A small SRResNet that a laptop's CPU trains in minutes on the bundled photographs.

python -m srgan_jax train --config=configs/quickstart.py --workdir=runs/quickstart
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.steps = 2000
    c.data.pipeline = "device"
    c.data.crop = 64
    c.generator.blocks = 3
    c.generator.features = 32
    c.generator.norm = "none"
    c.generator.skip = "bicubic"
    c.generator.first_kernel = 5
    c.generator.last_kernel = 3
    c.loss.pixel.kind = "l1"
    c.optimizer.learning_rate = 2e-3
    c.optimizer.schedule = "cosine"
    c.log.every = 100
    c.checkpoint.every = 500
    c.validation.every = 500
    return c
