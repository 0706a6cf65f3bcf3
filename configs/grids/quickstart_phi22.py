"""How much the adversarial loss weighs beside phi_2,2, at a laptop's size: see docs/reproduction.md.

    python -m srgan_jax convert vgg16
    python -m srgan_jax ablate --grid=configs/grids/quickstart_phi22.py --workdir=runs/quickstart_phi22

SRGAN-VGG 2.2 of quickstart_table1.py, the same without D, and with features divided by 127.5 once more.
"""

import runpy
from pathlib import Path
from typing import Any


def get_grid() -> dict[str, Any]:
    grid = runpy.run_path(str(Path(__file__).with_name("quickstart_table1.py")))["get_grid"]()
    rows = {name: grid["rows"][name] for name in ("SRResNet-MSE", "SRGAN-VGG16-2.2")}
    changes = {
        "VGG16-2.2-without-D": ["loss.adversarial.weight=0.0", "discriminator.name=none"],
        "SRGAN-VGG16-2.2-divided": ["loss.feature.weight=0.2214"],  # 3600 / 127.5**2
    }
    for name, fields in changes.items():
        base = rows["SRGAN-VGG16-2.2"]
        rows[name] = {**base, "overrides": [*base["overrides"], *fields]}
    return {**grid, "rows": rows}
