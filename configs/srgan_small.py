"""The small SRGAN that is shipped: srresnet_small's first stage, trained on by VGG16's features and a discriminator.

    python -m srgan_jax train --config=configs/srgan_small.py --workdir=runs/srgan_small \
        --config.data.path=PHOTOGRAPHS --config.validation.path=HELD_OUT_PHOTOGRAPHS \
        --config.init_from=runs/srresnet_small_first --config.loss.feature.weights=VGG16 --config.validation.lpips=alex
    python -m srgan_jax convert interpolate runs/srresnet_small_first runs/srgan_small \
        --share 0.8 --which latest -o FILE

VGG16 is the file that `srgan convert vgg16` writes, LPIPS that of `srgan convert lpips`. Figures, time and the
photographs are in docs/models/srgan_small.md.
"""

from ml_collections import ConfigDict

from configs import srgan_vgg53, srresnet_small


def get_config() -> ConfigDict:
    c = srresnet_small.get_config()
    c.steps = 6_000
    c.batch_size = 8
    c.discriminator.name = "srgan"
    c.discriminator.features = 32
    c.discriminator.dense = 256
    srgan_vgg53.losses(c)
    c.optimizer.learning_rate = 3e-4
    c.optimizer.warmup = 0
    c.ema = 0.998
    return c
