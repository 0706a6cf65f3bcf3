"""Trained generators that come with the package: each a file in weights/files, with a card in docs/models."""

from pathlib import Path
from typing import NamedTuple

from srgan_jax.errors import UserError
from srgan_jax.weights.tensors import sha256

FILES = Path(__file__).parent / "files"


class Figures(NamedTuple):
    """Means over a set, from its own LR files, as `srgan evaluate` prints them."""

    psnr_y: float  # dB
    lpips_alex: float


class Builtin(NamedTuple):
    """What is known of one: where it comes from, and what it measures."""

    file: str
    sha256: str
    commands: tuple[str, ...]  # the card has them whole
    data: str
    licence: str
    set5: Figures
    set14: Figures


DEFAULT = "srresnet_small"
LICENCE = "of the photographs: CC0, CC-BY, CC-BY-SA, Unsplash, GPL-2+, free with notice; see the card"
BUILTIN = {
    "srresnet_small": Builtin(
        file="srresnet_small_x4.safetensors",
        sha256="38d788d07a0418d6254827d7251549e36e62f33632e4c11c5d8f5c2a696e203b",
        commands=(
            "srgan train --config=configs/srresnet_small.py --workdir=runs/srresnet_small_first",
            "--config.init_from=first/generator.safetensors --config.steps=12000",
        ),
        data="121 natural photographs",
        licence=LICENCE,
        set5=Figures(31.35, 0.1843),
        set14=Figures(27.99, 0.3020),
    ),
    "srresnet_small_jpeg": Builtin(
        file="srresnet_small_jpeg_x4.safetensors",
        sha256="f7cd50631e0ae1118999d7aa0f6c34b5dfbd82fda561621fa296543fc0838d77",
        commands=(
            "srgan train --config=configs/srresnet_small_jpeg.py --workdir=runs/srresnet_small_jpeg_first",
            "--config.init_from=first/generator.safetensors --config.seed=1 --config.steps=8000",
        ),
        data="121 natural photographs",
        licence=LICENCE,
        set5=Figures(30.11, 0.2508),
        set14=Figures(27.23, 0.3599),
    ),
    "srresnet_medium": Builtin(
        file="srresnet_medium_x4.safetensors",
        sha256="f1f1f22134a8c0aa637c0649bb4ed2e7cbf5df3297754cb4cff8490a7d8b9474",
        commands=(
            "srgan train --config=configs/srresnet_medium.py --workdir=runs/srresnet_medium_first",
            "--config.init_from=second/generator.safetensors --config.steps=9000",
        ),
        data="121 natural photographs",
        licence=LICENCE,
        set5=Figures(31.51, 0.1823),
        set14=Figures(28.07, 0.3007),
    ),
    "srgan_medium": Builtin(
        file="srgan_medium_x4.safetensors",
        sha256="cc34a560d0a0c7b70606669024c0c3304c5d24a00e6c2c4e693a8df4371ae93c",
        commands=(
            "srgan train --config=configs/srgan_medium.py --workdir=runs/srgan_medium_first",
            "--config.init_from=second/generator.safetensors",
            "srgan convert interpolate runs/srresnet_medium_second runs/srgan_medium_second --share 0.95",
            "--config.init_from=blended.safetensors",
            "srgan export --checkpoint runs/srgan_medium_third --which 3500",
            "--config.init_from=third/generator.safetensors",
            "--config.init_from=averaged.safetensors",
            "srgan convert interpolate fourth/generator.safetensors fifth/generator.safetensors --share 0.7",
        ),
        data="121 natural photographs",
        licence=LICENCE,
        set5=Figures(29.09, 0.0964),
        set14=Figures(26.27, 0.1733),
    ),
    "srgan_small_jpeg": Builtin(
        file="srgan_small_jpeg_x4.safetensors",
        sha256="2853c49b8f4c1fc107cf7ac723be3e31ad158604abc3b3ca2e9f9e90ab30e963",
        commands=(
            "srgan train --config=configs/srgan_small_jpeg.py",
            "srgan convert interpolate srresnet_small_jpeg runs/srgan_small_jpeg --share 0.8",
        ),
        data="121 natural photographs",
        licence=LICENCE,
        set5=Figures(27.89, 0.1822),
        set14=Figures(25.64, 0.2657),
    ),
    "srgan_small": Builtin(
        file="srgan_small_x4.safetensors",
        sha256="4610c80391d5f69284791911699c861c657aeb17365539b4963fb65d8fd4cc39",
        commands=(
            "srgan train --config=configs/srgan_small.py",
            "srgan convert interpolate runs/srresnet_small_first runs/srgan_small --share 0.8",
        ),
        data="121 natural photographs",
        licence=LICENCE,
        set5=Figures(28.80, 0.1273),
        set14=Figures(26.46, 0.2046),
    ),
}


def located(run: str | Path) -> str | Path:
    """What was given; if it is a name in BUILTIN, and no path that is there, its file. Errors of builtin_file."""
    return builtin_file(str(run)) if str(run) in BUILTIN and not Path(run).exists() else run


def builtin_file(name: str) -> Path:
    """The file of a name in BUILTIN.

    Raises:
      UserError: it is missing, or not the one that was shipped.
    """
    path = FILES / BUILTIN[name].file
    if not path.is_file() or sha256(path) != BUILTIN[name].sha256:
        raise UserError(f"{path}: the built-in weights {name} are missing or damaged; install the package again")
    return path
