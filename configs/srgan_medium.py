"""The larger SRGAN that is shipped: the first stage of srresnet_medium, trained on by L1, LPIPS and a discriminator.

    python -m srgan_jax export --checkpoint runs/srresnet_medium_first --which latest -o first --to safetensors
    python -m srgan_jax train --config=configs/srgan_medium.py --workdir=runs/srgan_medium_first \
        --config.data.path=PHOTOGRAPHS --config.validation.path=HELD_OUT_PHOTOGRAPHS \
        --config.init_from=first/generator.safetensors --config.validation.lpips=alex

LPIPS, by VGG16's features from all five blocks, is that of `srgan convert lpips`. What is shipped was trained further
from there, four times; the commands, figures, time and the photographs are in docs/models/srgan_medium.md.
"""

from ml_collections import ConfigDict

from configs import srgan_lpips, srresnet_medium


def get_config() -> ConfigDict:
    c = srresnet_medium.get_config()
    c.steps = 4_000
    c.batch_size = 8
    c.discriminator.name = "srgan"
    c.discriminator.features = 32
    c.discriminator.dense = 256
    srgan_lpips.losses(c)
    c.optimizer.learning_rate = 3e-4
    c.optimizer.warmup = 0
    c.ema = 0.998
    c.validation.every = 500
    return c
