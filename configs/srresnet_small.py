"""The small SRResNet that is shipped: 8 blocks of 32 features over a bicubic enlargement, trained on a CPU.

python -m srgan_jax train --config=configs/srresnet_small.py --workdir=runs/srresnet_small_first \
    --config.data.path=PHOTOGRAPHS --config.validation.path=HELD_OUT_PHOTOGRAPHS

54 min on 2 cores that did other work besides. What is shipped was trained on from there; the command, figures, and
the photographs are in docs/models/srresnet_small.md.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.steps = 9_000
    c.data.source = "folder"
    c.data.pipeline = "device"
    c.generator.blocks = 8
    c.generator.features = 32
    c.generator.norm = "none"
    c.generator.skip = "bicubic"
    c.generator.first_kernel = 3
    c.generator.last_kernel = 3
    c.loss.pixel.kind = "l1"
    c.optimizer.learning_rate = 1e-3
    c.optimizer.schedule = "cosine"
    c.optimizer.warmup = 200
    c.ema = 0.999
    c.checkpoint.every = 500
    c.validation.every = 1000
    c.validation.crop = 512
    return c
