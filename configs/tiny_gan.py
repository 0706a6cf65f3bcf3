"""The tiny network with a second player, for tests.

python -m srgan_jax train --config=configs/tiny_gan.py --workdir=runs/tiny_gan --config.init_from=runs/tiny
"""

from ml_collections import ConfigDict

from configs import tiny


def get_config() -> ConfigDict:
    c = tiny.get_config()
    c.discriminator.name = "srgan"
    c.discriminator.features = 8
    c.discriminator.dense = 16
    c.discriminator.stages = 1
    c.loss.adversarial.weight = 1e-3
    return c
