"""Whether SRGAN's discriminator should see the LR image, enlarged by bicubic: quickstart size, bundled photographs.

python -m srgan_jax ablate --grid=configs/grids/conditional.py --workdir=runs/conditional
"""

from typing import Any


def get_grid() -> dict[str, Any]:
    srgan = {"config": "configs/quickstart_gan.py", "init_from": "SRResNet"}
    rows = {
        "SRResNet": {"config": "configs/quickstart.py"},
        "SRGAN": srgan,
        "SRGAN-conditional": srgan | {"overrides": ["discriminator.conditional=True"]},
    }
    return {"seeds": [0], "rows": rows, "sets": [""]}
