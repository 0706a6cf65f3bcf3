"""ESRGAN (Wang et al. 2018, section 4.1): RRDBNet by features before the ReLU, a relativistic discriminator and L1.

    python -m srgan_jax convert vgg19 --download torchvision
    python -m srgan_jax train --config=configs/esrgan.py --workdir=runs/esrgan \
        --config.data.source=folder --config.data.path=PHOTOGRAPHS --config.init_from=runs/rrdb_l1 \
        --config.loss.feature.weights=VGG19

VGG19 is the file that the first command wrote (it needs torch). runs/rrdb_l1 is a finished run of configs/rrdb_l1.py;
a converted ESRGAN can stand there, too. The weights are the paper's: 5e-3 for the adversarial loss (of which BasicSR's
code takes half), 1e-2 for L1 on images in [0, 1], which is 5e-3 on ours, beside 1 for the features, compared by L1 as
in that code. Its discriminator has 5 halvings and 100 dense units, too; its strided kernels are 4 pixels wide, not 3.
Evaluate and upscale with --which latest (see srgan_mse.py).

Time and figures: not measured here yet.
"""

from ml_collections import ConfigDict

from configs import rrdb_l1


def get_config() -> ConfigDict:
    c = rrdb_l1.get_config()
    c.steps = 400_000
    c.discriminator.name = "srgan"
    c.discriminator.stages = 5
    c.discriminator.dense = 100
    c.loss.pixel.weight = 5e-3
    c.loss.feature.weight = 1.0
    c.loss.feature.weight_for = "torchvision"
    c.loss.feature.kind = "l1"
    c.loss.feature.after_relu = False
    c.loss.feature.scale = 1.0
    c.loss.feature.origin = "torchvision"
    c.loss.adversarial.kind = "relativistic"
    c.loss.adversarial.weight = 5e-3
    c.optimizer.learning_rate = 1e-4
    c.optimizer.boundaries = (50_000, 100_000, 200_000, 300_000)
    return c
