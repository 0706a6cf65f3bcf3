"""The larger SRResNet that is shipped: srresnet_small with 16 blocks of 48 features, trained on a CPU.

python -m srgan_jax train --config=configs/srresnet_medium.py --workdir=runs/srresnet_medium_first \
    --config.data.path=PHOTOGRAPHS --config.validation.path=HELD_OUT_PHOTOGRAPHS

What is shipped was trained on from there; the command, figures and time are in docs/models/srresnet_medium.md.
"""

from ml_collections import ConfigDict

from configs import srresnet_small


def get_config() -> ConfigDict:
    c = srresnet_small.get_config()
    c.generator.blocks = 16
    c.generator.features = 48
    c.optimizer.learning_rate = 7e-4
    return c
