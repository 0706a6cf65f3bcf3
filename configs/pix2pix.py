"""pix2pix (Isola et al. 2017), the paper's U-Net and 70x70 PatchGAN at 256x256: edges to photographs as it stands.

    python -m srgan_jax train --config=configs/pix2pix.py --workdir=runs/edges

runs on the bundled photographs. Pictures A|B, as the published data sets have them:

    python -m srgan_jax train --config=configs/pix2pix.py --workdir=runs/facades --config.data.source=folder \
        --config.data.path=facades/train --config.data.input=pair --config.data.direction=BtoA \
        --config.data.resize=256 --config.validation.every=0

The paper trains 200 epochs at batch 1, the rate constant for 100: 80,000 updates on the 400 pictures of facades. The
network wants an accelerator; no figure of this config has been measured yet.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.scale = 1
    c.steps = 80_000
    c.batch_size = 1
    c.data.input = "edges"
    c.data.crop = 256
    c.data.tile = 512
    c.data.jitter = 286
    c.data.turn = False
    c.generator.name = "unet"
    c.generator.dropout = 0.5
    c.generator.inference_norm = "batch"
    c.discriminator.name = "patchgan"
    c.discriminator.conditional = True
    c.discriminator.loss_weight = 0.5
    c.loss.pixel.kind = "l1"
    c.loss.pixel.weight = 100.0
    c.loss.adversarial.weight = 1.0
    c.optimizer.learning_rate = 2e-4
    c.optimizer.b1 = 0.5
    c.optimizer.schedule = "linear"
    c.optimizer.boundaries = (40_000,)
    c.validation.crop = 256
    return c
