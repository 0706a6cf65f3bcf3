"""SRResNet-MSE, the paper's table 1, column 1: 16 blocks, mean squared error, 1e6 updates at 1e-4.

    python -m srgan_jax train --config=configs/srresnet_mse.py --workdir=runs/srresnet_mse \
        --config.data.source=folder --config.data.path=PHOTOGRAPHS

PHOTOGRAPHS is a folder; the paper took 350 thousand images of ImageNet. Add --config.validation.path=FOLDER to
choose the best checkpoint on photographs of your own.

Time: not measured here yet.
Figures (PSNR-Y in dB / SSIM-daala), paper: Set5 32.05 / .9019, Set14 28.49 / .8184. Here: not measured yet.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()  # its learning rate, batch, crop and number of updates are the paper's
    c.data.source = "folder"
    return c
