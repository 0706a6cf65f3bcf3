"""Networks of no use, trained in seconds, for tests.

python -m srgan_jax ablate --grid=configs/grids/tiny.py --workdir=runs/tiny_grid
"""

from typing import Any


def get_grid() -> dict[str, Any]:
    rows = {
        "tiny": {"config": "configs/tiny.py"},
        "tiny-gan": {"config": "configs/tiny_gan.py", "overrides": ["steps=4"], "init_from": "tiny"},
    }
    return {"seeds": [0, 1], "rows": rows, "sets": [""]}
