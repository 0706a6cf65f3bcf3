"""The five losses of the paper's table 1 on the quickstart network: in minutes, on a CPU, on the bundled photographs.

    python -m srgan_jax ablate --grid=configs/grids/quickstart_table1.py --workdir=runs/quickstart_table1

VGG16 with torchvision's ImageNet weights stands for the paper's VGG19, so phi_5,3 for its phi_5,4. They are what
`srgan convert vgg16` writes; -- --config.loss.feature.weights=FILE names another place. At phi_2,2 the weight is the
one that `srgan calibrate` proposes against Caffe's VGG19, SR by this grid's SRResNet-MSE; at phi_5,3, for which there
was no reference, it is the 45 that reimplementations gave torchvision's VGG19.

Time: 7 min 28 s on 2 CPU cores (2026-11-21). The figures are in docs/reproduction.md.
"""

from typing import Any

from srgan_jax.weights.fetch import cache_dir

COMMON = ["batch_size=16", "data.crop=48", "validation.every=200", "checkpoint.every=200", "log.every=20"]
MSE = ["loss.pixel.kind=mse"]
VGG16 = [
    "loss.pixel.weight=0.0",
    "loss.feature.weight_for=torchvision",
    "loss.feature.network=vgg16",
    "loss.feature.origin=torchvision",
    f"loss.feature.weights={cache_dir()}/vgg16_torchvision.safetensors",
]
PHI22 = ["loss.feature.layer=2.2", "loss.feature.weight=3600.0"]
PHI53 = ["loss.feature.layer=5.3", "loss.feature.weight=45.0"]
GAN = ["steps=400", "loss.adversarial.weight=1e-3"]


def get_grid() -> dict[str, Any]:
    def srresnet(*overrides: str) -> dict[str, Any]:
        return {"config": "configs/quickstart.py", "overrides": [*COMMON, *overrides]}

    def srgan(*overrides: str) -> dict[str, Any]:
        fields = [*COMMON, *GAN, *overrides]
        return {"config": "configs/quickstart_gan.py", "overrides": fields, "init_from": "SRResNet-MSE"}

    rows = {
        "SRResNet-MSE": srresnet(*MSE),
        "SRResNet-VGG16-2.2": srresnet("steps=400", *VGG16, *PHI22, "loss.tv.weight=2e-8"),
        "SRGAN-MSE": srgan(*MSE),
        "SRGAN-VGG16-2.2": srgan(*VGG16, *PHI22),
        "SRGAN-VGG16-5.3": srgan(*VGG16, *PHI53),
    }
    return {"seeds": [0], "rows": rows, "sets": [""]}
