"""SRGAN by LPIPS, the distance as VGG16 sees it, at the paper's size: not a row of the paper.

    python -m srgan_jax train --config=configs/srgan_lpips.py --workdir=runs/srgan_lpips \
        --config.data.source=folder --config.data.path=PHOTOGRAPHS --config.init_from=runs/srresnet_mse

LPIPS is that of `srgan convert lpips`, by VGG16's features of all five blocks. The losses are those of
configs/srgan_medium.py.

Time and figures: not measured here yet; those of the same losses on a smaller network: docs/models/srgan_medium.md.
"""

from ml_collections import ConfigDict

from configs import srgan_mse


def losses(c: ConfigDict) -> None:
    c.loss.pixel.kind = "l1"
    c.loss.lpips.weight = 1.0
    c.loss.adversarial.kind = "relativistic"
    c.loss.adversarial.weight = 0.01


def get_config() -> ConfigDict:
    c = srgan_mse.get_config()
    losses(c)
    return c
