"""The paper's table 1: five losses, each at full size, on one folder of photographs.

    python -m srgan_jax ablate --grid=configs/grids/paper_table1.py --workdir=runs/table1 --set set5 set14 \
        -- --config.data.path=PHOTOGRAPHS --config.loss.feature.weights=VGG19

PHOTOGRAPHS and VGG19 are what the configs' docstrings say. Without --set the bundled held-out photographs are
measured, for which the paper has no figures. Time: not measured here yet.
"""

from typing import Any


def get_grid() -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = {
        "SRResNet-MSE": {"config": "configs/srresnet_mse.py"},
        "SRResNet-VGG22": {"config": "configs/srresnet_vgg22.py"},
        "SRGAN-MSE": {"config": "configs/srgan_mse.py", "init_from": "SRResNet-MSE"},
        "SRGAN-VGG22": {"config": "configs/srgan_vgg22.py", "init_from": "SRResNet-MSE"},
        "SRGAN-VGG54": {"config": "configs/srgan_vgg54.py", "init_from": "SRResNet-MSE"},
    }
    for name, row in rows.items():
        row["paper"] = name
    return {"seeds": [0], "rows": rows, "sets": [""]}
