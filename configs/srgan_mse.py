"""SRGAN-MSE, the paper's table 1, column 3: mean squared error and 1e-3 of the adversarial loss.

    python -m srgan_jax train --config=configs/srgan_mse.py --workdir=runs/srgan_mse \
        --config.data.source=folder --config.data.path=PHOTOGRAPHS --config.init_from=runs/srresnet_mse

runs/srresnet_mse is a finished run of configs/srresnet_mse.py; without --config.init_from the generator starts from
scratch, which is not the paper's way. 1e5 updates at 1e-4, then 1e5 at 1e-5. The best checkpoint is the best by
PSNR, which this loss gives up on purpose: evaluate and upscale with --which latest.

Time: not measured here yet.
Figures (PSNR-Y in dB / SSIM-daala), paper: Set5 30.64 / .8701, Set14 26.92 / .7611. Here: not measured yet.
"""

from ml_collections import ConfigDict

from configs import srresnet_mse


def get_config() -> ConfigDict:
    c = srresnet_mse.get_config()
    c.steps = 200_000
    c.discriminator.name = "srgan"
    c.loss.adversarial.weight = 1e-3
    c.optimizer.learning_rate = 1e-4
    c.optimizer.schedule = "step"
    c.optimizer.boundaries = (100_000,)
    c.optimizer.factor = 0.1
    return c
