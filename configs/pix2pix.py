"""pix2pix (Isola et al. 2017), the paper's U-Net and 70x70 PatchGAN at 256x256; as it stands, edges to photographs.

    python -m srgan_jax train --config=configs/pix2pix.py --workdir=runs/edges

runs on the bundled photographs. Pictures A|B, as the published data sets have them:

    python -m srgan_jax train --config=configs/pix2pix.py --workdir=runs/facades --config.data.source=folder \
        --config.data.path=facades/train --config.data.input=pair --config.data.direction=BtoA \
        --config.data.resize=256 --config.data.tile=256 --config.validation.every=0

200 epochs at batch 1: 80,000 updates on the 400 pictures of facades. The rate falls to 0 over the second half, as in
pytorch-CycleGAN-and-pix2pix; the paper's own code keeps it constant. For another number of steps set both:
--config.steps=N --config.optimizer.boundaries="(N // 2,)", with numbers. The network wants an accelerator; no figure of
this config has been measured yet. Translate and evaluate with --which latest: the best by L1 is an earlier one, from
before the adversarial loss has had its effect.
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
    c.generator.blocks = 9  # of a resnet
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
