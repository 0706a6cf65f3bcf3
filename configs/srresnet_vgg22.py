"""SRResNet-VGG22, the paper's table 1, column 2: SRResNet trained on features phi_2,2 and a little total variation.

    python -m srgan_jax train --config=configs/srresnet_vgg22.py --workdir=runs/srresnet_vgg22 \
        --config.data.source=folder --config.data.path=PHOTOGRAPHS --config.loss.feature.weights=VGG19

VGG19 is the file of Caffe's weights that `srgan convert vgg19 --download` writes; the feature scale is for these. The
feature loss takes the place of the pixel loss. Starts from scratch: how the paper's network began is not stated.

Time: not measured here yet.
Figures (PSNR-Y in dB / SSIM-daala), paper: Set5 30.51 / .8803, Set14 27.19 / .7807. Here: not measured yet.
"""

from ml_collections import ConfigDict

from configs import srresnet_mse


def get_config() -> ConfigDict:
    c = srresnet_mse.get_config()
    c.loss.pixel.weight = 0.0
    c.loss.feature.weight = 1.0
    c.loss.feature.layer = "2.2"
    c.loss.tv.weight = 2e-8
    return c
