"""SRGAN-VGG22, the paper's table 1, column 4: features phi_2,2 and 1e-3 of the adversarial loss.

    python -m srgan_jax train --config=configs/srgan_vgg22.py --workdir=runs/srgan_vgg22 \
        --config.data.source=folder --config.data.path=PHOTOGRAPHS --config.init_from=runs/srresnet_mse \
        --config.loss.feature.weights=VGG19

VGG19 is the file of Caffe's weights that `srgan convert vgg19 --download` writes; the feature scale is for these. The
feature loss takes the place of the pixel loss. Without --config.init_from the generator starts from scratch, which is
not the paper's way. Evaluate and upscale with --which latest (see srgan_mse.py).

So read, the adversarial loss is of next to no account; another reading, --config.loss.feature.scale=6.15e-4, is in
docs/reproduction.md.

Time: not measured here yet.
Figures (PSNR-Y in dB / SSIM-daala), paper: Set5 29.84 / .8468, Set14 26.44 / .7518. Here: not measured yet.
"""

from ml_collections import ConfigDict

from configs import srgan_mse


def get_config() -> ConfigDict:
    c = srgan_mse.get_config()
    c.loss.pixel.weight = 0.0
    c.loss.feature.weight = 1.0
    c.loss.feature.layer = "2.2"
    return c
