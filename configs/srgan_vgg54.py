"""SRGAN-VGG54, the paper's table 1, column 5, and the SRGAN of its other tables: features phi_5,4 and 1e-3 of the
adversarial loss.

    python -m srgan_jax train --config=configs/srgan_vgg54.py --workdir=runs/srgan_vgg54 \
        --config.data.source=folder --config.data.path=PHOTOGRAPHS --config.init_from=runs/srresnet_mse \
        --config.loss.feature.weights=VGG19

VGG19 is the file of Caffe's weights that `srgan convert vgg19 --download` writes; the feature scale is for these. The
feature loss takes the place of the pixel loss. Without --config.init_from the generator starts from scratch, which is
not the paper's way. Evaluate and upscale with --which latest (see srgan_mse.py).

Time: not measured here yet.
Figures (PSNR-Y in dB / SSIM-daala), paper: Set5 29.40 / .8472, Set14 26.02 / .7397. Here: not measured yet.
"""

from ml_collections import ConfigDict

from configs import srgan_vgg22


def get_config() -> ConfigDict:
    c = srgan_vgg22.get_config()
    c.loss.feature.layer = "5.4"
    return c
