"""The small SRGAN that is shipped: the paper's SRGAN-VGG22 losses on the small generator, trained on a CPU.

python -m srgan_jax train --config=configs/srgan_small.py --workdir=runs/srgan_small \
    --config.init_from=runs/srresnet_small --config.loss.feature.weights=VGG19 \
    --config.data.path=PHOTOGRAPHS --config.validation.path=HELD_OUT_PHOTOGRAPHS

VGG19 is an .npz or .safetensors file of the original Caffe weights. Evaluate and upscale with --which latest: the best
by PSNR-Y would be the one that has learnt least.
"""

from ml_collections import ConfigDict

from configs import srresnet_small


def get_config() -> ConfigDict:
    c = srresnet_small.get_config()
    c.steps = 2_500
    c.data.crop = 64
    c.discriminator.name = "srgan"
    c.discriminator.features = 32
    c.discriminator.dense = 256
    c.loss.pixel.weight = 1e-2
    c.loss.feature.weight = 1.0
    c.loss.feature.layer = "2.2"
    c.loss.adversarial.weight = 1e-3
    c.optimizer.learning_rate = 2e-4
    c.optimizer.warmup = 100
    c.ema = 0.995
    c.checkpoint.every = 250
    c.validation.every = 500
    return c
