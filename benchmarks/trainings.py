"""The shipped trainings that benchmarks measure, by their names in tables. Without torch."""

from pathlib import Path

from ml_collections import ConfigDict

from srgan_jax import config as configs

CONFIGS = Path(__file__).parent.parent / "configs"
KINDS = {"SRResNet": "srresnet_mse", "SRGAN": "srgan_vgg54"}
TINY = [
    *("generator.blocks=1", "generator.features=8", "discriminator.features=8", "discriminator.dense=16"),
    *("discriminator.stages=1", "data.crop=32", "data.augment=False"),
]


def load(kind: str, quick: bool, *overrides: str) -> ConfigDict:
    """The shipped config of `kind`, on the bundled photographs, with random weights for phi."""
    fields = ["data.source=bundled", "data.pipeline=device", "loss.feature.weights=random", *TINY * quick, *overrides]
    return configs.load(str(CONFIGS / f"{KINDS[kind]}.py"), [f"--config.{field}" for field in fields])
