"""The small SRResNet for pictures that were saved as JPEG: srresnet_small, trained on with what JPEG does to LR.

python -m srgan_jax train --config=configs/srresnet_small_jpeg.py --workdir=runs/srresnet_small_jpeg_first \
    --config.data.path=PHOTOGRAPHS --config.validation.path=HELD_OUT_PHOTOGRAPHS --config.init_from=srresnet_small

What is shipped was trained on from there; the command, figures, time and the photographs are in
docs/models/srresnet_small_jpeg.md.
"""

from ml_collections import ConfigDict

from configs import srresnet_small


def get_config() -> ConfigDict:
    c = srresnet_small.get_config()
    c.steps = 10_000
    c.data.jpeg = (40, 100)
    c.optimizer.learning_rate = 5e-4
    return c
