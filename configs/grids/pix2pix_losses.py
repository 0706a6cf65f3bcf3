"""The five losses that pix2pix compares (its table 1), at 64x64: grey to colour on the bundled photographs.

    python -m srgan_jax ablate --grid=configs/grids/pix2pix_losses.py --workdir=runs/pix2pix_losses

GAN's discriminator does not see the grey picture, cGAN's does. Edges instead: -- --config.data.input=edges
"""

from typing import Any


def get_grid() -> dict[str, Any]:
    no_l1, unseen = "loss.pixel.weight=0.0", "discriminator.conditional=False"
    overrides = {
        "L1": ["discriminator.name=none", "loss.adversarial.weight=0.0"],
        "GAN": [no_l1, unseen],
        "cGAN": [no_l1],
        "L1+GAN": [unseen],
        "L1+cGAN": [],
    }
    rows = {name: {"config": "configs/pix2pix_small.py", "overrides": fields} for name, fields in overrides.items()}
    return {"seeds": [0], "rows": rows, "sets": [""]}
