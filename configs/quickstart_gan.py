"""A small SRGAN that starts from the quickstart SRResNet: sharper to the eye, further from HR in dB.

    python -m srgan_jax train --config=configs/quickstart_gan.py --workdir=runs/quickstart_gan \
        --config.init_from=runs/quickstart
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
    c = quickstart.get_config()
    c.steps = 600
    c.discriminator.name = "srgan"
    c.discriminator.features = 16
    c.discriminator.dense = 64
    c.loss.adversarial.weight = 2e-3
    c.optimizer.learning_rate = 2e-4
    c.ema = 0.99
    c.checkpoint.every = 200
    c.validation.every = 200
    return c
