"""ESRGAN's first stage (Wang et al. 2018, section 4.1): its generator, RRDBNet of 23 blocks, by L1.

    python -m srgan_jax train --config=configs/rrdb_l1.py --workdir=runs/rrdb_l1 \
        --config.data.source=folder --config.data.path=PHOTOGRAPHS

PHOTOGRAPHS is a folder; the paper took DIV2K, Flickr2K and OutdoorSceneTraining. Crops of 128 pixels, 2e-4 halved every
200,000 updates.

Time and figures: not measured here yet.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.data.source = "folder"
    c.data.crop = 128
    c.generator.name = "rrdb"
    c.generator.blocks = 23
    c.loss.pixel.kind = "l1"
    c.optimizer.learning_rate = 2e-4
    c.optimizer.schedule = "step"
    c.optimizer.boundaries = (200_000, 400_000, 600_000, 800_000)
    c.optimizer.factor = 0.5
    return c
