"""SRGAN by VGG16's features instead of VGG19's, which can be had from a package index alone: not a row of the paper.

    python -m srgan_jax train --config=configs/srgan_vgg53.py --workdir=runs/srgan_vgg53 \
        --config.data.source=folder --config.data.path=PHOTOGRAPHS --config.init_from=runs/srresnet_mse \
        --config.loss.feature.weights=VGG16

VGG16 is the file that `srgan convert vgg16` writes. Features are phi_5,3 before the ReLU; beside them stay the pixel
loss, as L1, and a relativistic adversarial loss, both as in ESRGAN (Wang et al. 2018). The weights were chosen so that
features and adversarial loss begin with gradients of about one size at the output of the small network.

Time and figures: not measured here yet. Those of the same losses on a small network are in docs/models/srgan_small.md.
"""

from ml_collections import ConfigDict

from configs import srgan_mse


def losses(c: ConfigDict) -> None:
    c.loss.pixel.kind = "l1"
    c.loss.feature.weight = 0.005
    c.loss.feature.weight_for = "torchvision"
    c.loss.feature.network = "vgg16"
    c.loss.feature.layer = "5.3"
    c.loss.feature.after_relu = False
    c.loss.feature.scale = 1.0
    c.loss.feature.origin = "torchvision"
    c.loss.adversarial.kind = "relativistic"
    c.loss.adversarial.weight = 0.005


def get_config() -> ConfigDict:
    c = srgan_mse.get_config()
    losses(c)
    return c
