"""The small SRGAN for pictures that were saved as JPEG: srresnet_small_jpeg, trained on as srgan_medium is.

    python -m srgan_jax train --config=configs/srgan_small_jpeg.py --workdir=runs/srgan_small_jpeg \
        --config.data.path=PHOTOGRAPHS --config.validation.path=HELD_OUT_PHOTOGRAPHS \
        --config.init_from=srresnet_small_jpeg --config.validation.lpips=alex

LPIPS, by VGG16's features from all five blocks, is that of `srgan convert lpips`. What is shipped is blended; the
command, figures, time and the photographs are in docs/models/srgan_small_jpeg.md.
"""

from ml_collections import ConfigDict

from configs import srgan_medium, srresnet_small_jpeg


def get_config() -> ConfigDict:
    c = srgan_medium.get_config()
    small = srresnet_small_jpeg.get_config()
    c.generator = small.generator
    c.data.jpeg = small.data.jpeg
    return c
