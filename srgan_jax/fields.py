"""What a config may hold: choices, ranges, and which fields do not go together."""

import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from srgan_jax import losses
from srgan_jax.data import pairs, prepare
from srgan_jax.errors import UserError
from srgan_jax.models import build, layers, lpips, patchgan, srresnet, vgg
from srgan_jax.ops.bicubic import PADDING

CHOICES = {
    "scale": (1, *srresnet.STAGES),
    "dtype": tuple(build.DTYPES),
    "data.source": ("bundled", "folder", "tfds"),
    "data.pipeline": ("auto", "host", "device"),
    "data.boundary": tuple(PADDING),
    "data.input": prepare.INPUTS,
    "data.direction": pairs.DIRECTIONS,
    "generator.name": tuple(build.GENERATORS),
    "generator.norm": layers.NORMS,
    "generator.inference_norm": layers.INFERENCE_NORMS,
    "generator.prelu": layers.PRELUS,
    "generator.output": srresnet.OUTPUTS,
    "generator.skip": srresnet.SKIPS,
    "discriminator.name": tuple(build.DISCRIMINATORS),
    "discriminator.norm": layers.NORMS,
    "discriminator.patch": tuple(patchgan.PATCHES),
    "loss.pixel.kind": losses.PIXEL_KINDS,
    "loss.lpips.network": tuple(lpips.TRUNKS),
    "loss.feature.network": vgg.NETWORKS,
    "loss.feature.kind": losses.FEATURE_KINDS,
    "loss.feature.channels": losses.CHANNEL_KINDS,
    "loss.feature.origin": vgg.ORIGINS,
    "loss.feature.weight_for": vgg.ORIGINS,
    "loss.adversarial.kind": losses.ADVERSARIAL_KINDS,
    "optimizer.name": ("adam", "sgd"),
    "parallel.mode": ("jit", "pmap", "shard_map"),
    "parallel.batch_norm": ("global", "replica"),
    "optimizer.schedule": ("constant", "step", "cosine", "linear"),
}
POSITIVE = (
    "steps steps_per_call batch_size data.crop data.tile data.threads generator.blocks generator.features "
    "generator.first_kernel generator.last_kernel generator.norm_epsilon discriminator.features "
    "discriminator.dense discriminator.updates discriminator.loss_weight data.shrink generator.levels log.every "
    "checkpoint.every checkpoint.keep optimizer.learning_rate optimizer.factor optimizer.eps validation.images "
    "loss.feature.scale parallel.accumulate guard.patience guard.factor discriminator.stages generator.growth"
).split()
NOT_NEGATIVE = (
    "seed data.cache_mb data.resize data.jitter discriminator.pool "
    "optimizer.warmup validation.every validation.crop loss.adversarial.gradient_penalty guard.rollbacks guard.watchdog"
).split() + [f"loss.{name}.weight" for name in losses.TERMS]
FRACTIONS = ("optimizer.b1", "optimizer.b2", "ema", "generator.dropout")  # in [0, 1)


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """{"loss.pixel.weight": 1.0, ...}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        nested = isinstance(value, ConfigDict | dict)
        flat |= flatten(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return flat


def check(config: ConfigDict) -> None:
    """Raises UserError, naming the field, for values that cannot work."""
    flat = flatten(config)
    missing = [field for field in (*CHOICES, *POSITIVE, *NOT_NEGATIVE, *FRACTIONS) if field not in flat]
    if missing:
        raise UserError(f"config.{missing[0]}: missing; let the config start from configs/base.py")
    for field in (name for name, value in flat.items() if value is None):
        raise UserError(f"config.{field}=None: must have a value; what is off is '' or 0")
    check_values(flat)
    for field in ("generator.first_kernel", "generator.last_kernel"):
        if flat[field] % 2 == 0:
            raise UserError(f"config.{field}={flat[field]}: must be odd")
    c = config
    if c.seed >= 2**32:
        raise UserError(f"config.seed={c.seed}: must be below 2**32")
    if c.data.source == "bundled" and c.data.split not in ("train", "validation"):
        raise UserError(f"config.data.split={c.data.split!r}: the bundled photographs have train and validation")
    for field, sources in (("path", ("folder", "tfds")), ("name", ("tfds",))):
        if c.data[field] and c.data.source not in sources:
            wanted = f"data.source={c.data.source} does not use it; set data.source to {' or '.join(sources)}"
            raise UserError(f"config.data.{field}={c.data[field]!r}: {wanted}")
    known = vgg.layer_names(c.loss.feature.network)
    if c.loss.feature.layer not in known:
        raise UserError(f"config.loss.feature.layer={c.loss.feature.layer!r}: must be one of {', '.join(known)}")
    smallest = 2 ** (int(c.loss.feature.layer[0]) - 1)  # what the pools before the layer leave a pixel of
    if c.loss.feature.weight and c.data.crop < smallest:
        raise UserError(
            f"config.data.crop={c.data.crop}: loss.feature.layer={c.loss.feature.layer} needs {smallest} or more"
        )
    network = c.loss.lpips.network
    if c.loss.lpips.weight and c.data.crop < lpips.SMALLEST[network]:
        raise UserError(f"config.data.crop={c.data.crop}: LPIPS of {network} needs {lpips.SMALLEST[network]} or more")
    whole = c.data.shrink if c.data.input == "upscaled" else c.scale  # validation pictures are cut to its multiples
    least = -(-(2 * c.scale + 11) // whole) * whole
    if c.validation.every and 0 < c.validation.crop < least:
        raise UserError(f"config.validation.crop={c.validation.crop}: must be 0 or at least {least}")
    check_translation(c)
    if c.data.crop % c.scale:
        raise UserError(f"config.data.crop={c.data.crop}: must be a multiple of config.scale={c.scale}")
    if c.data.pipeline == "device" and c.data.tile < c.data.crop:
        raise UserError(f"config.data.tile={c.data.tile}: must be at least config.data.crop={c.data.crop}")
    for field in ("steps", "log.every", "checkpoint.every", "validation.every"):
        if flat[field] % c.steps_per_call:
            raise UserError(
                f"config.{field}={flat[field]}: must be a multiple of config.steps_per_call={c.steps_per_call}"
            )
    if c.loss.adversarial.weight and c.discriminator.name == "none":
        raise UserError("config.discriminator.name='none': an adversarial loss needs one; set it to srgan or patchgan")
    if c.discriminator.name != "none" and not c.loss.adversarial.weight:
        raise UserError("config.loss.adversarial.weight=0: a discriminator is set but plays no part")
    if c.loss.adversarial.kind == "wgan-gp" and c.discriminator.norm == "batch":
        raise UserError("config.discriminator.norm='batch': wgan-gp penalises each image; set it to none or instance")
    if c.parallel.batch_norm == "replica" and c.parallel.mode == "jit":
        raise UserError("config.parallel.batch_norm='replica': jit sees the whole batch; choose another parallel.mode")
    d = c.discriminator
    if d.name == "srgan" and d.norm == "instance" and c.data.crop <= 2**d.stages:
        raise UserError(f"config.discriminator.stages={d.stages}: leaves instance norm a single pixel; lower it")
    q = c.data.jpeg
    if q and not (len(q) == 2 and {*map(type, q)} == {int} and 1 <= q[0] <= q[1] <= 100):
        raise UserError(f"config.data.jpeg={q}: must be (lowest, highest), whole numbers from 1 to 100, or ()")
    if not any(c.loss[name].weight for name in c.loss):
        raise UserError("config.loss: every weight is 0, there is nothing to train for")
    b = c.optimizer.boundaries
    if not all(isinstance(n, int) and n > before for before, n in zip((0, *b), b, strict=False)):
        raise UserError(f"config.optimizer.boundaries={b}: must be whole numbers above 0, each above the one before")
    if c.optimizer.schedule == "step" and not c.optimizer.boundaries:
        raise UserError("config.optimizer.boundaries=(): config.optimizer.schedule=step needs them")
    if c.optimizer.schedule == "linear" and not all(n < c.steps for n in c.optimizer.boundaries):
        raise UserError(f"config.optimizer.boundaries={c.optimizer.boundaries}: must be below config.steps={c.steps}")
    if c.optimizer.schedule == "linear" and len(c.optimizer.boundaries) > 1:
        raise UserError(
            f"config.optimizer.boundaries={c.optimizer.boundaries}: linear falls from one on; give one or ()"
        )


def check_translation(c: ConfigDict) -> None:
    """Raises UserError for fields of image-to-image training that do not go together."""
    generator, data = c.generator, c.data
    translates = generator.name in build.TRANSLATORS
    if translates != (c.scale == 1):
        wanted = (
            "needs config.scale=1" if translates else f"is for scales above 1; choose {' or '.join(build.TRANSLATORS)}"
        )
        raise UserError(f"config.generator.name={generator.name!r}: {wanted}")
    if translates != (data.input != "lr"):
        inputs = "lr" if c.scale > 1 else ", ".join(name for name in prepare.INPUTS if name != "lr")
        raise UserError(f"config.data.input={data.input!r}: at config.scale={c.scale} must be one of {inputs}")
    if data.input == "pair" and data.source == "bundled":
        raise UserError("config.data.input='pair': the bundled photographs are no pairs; choose another data.source")
    enlarges = {"norm": srresnet.NORMS, "inference_norm": ("running",), "dropout": (0.0,)}
    for field, choices in {} if translates else enlarges.items():
        if generator[field] not in choices:
            raise UserError(f"config.generator.{field}={generator[field]!r}: is for {' and '.join(build.TRANSLATORS)}")
    for section in ("data", "validation"):
        if c[section].target and data.input != "pair":
            raise UserError(f"config.{section}.target={c[section].target!r}: is for config.data.input=pair")
    if data.direction != "AtoB" and not (data.input == "pair" and data.source == "folder" and not data.target):
        raise UserError(
            f"config.data.direction={data.direction!r}: is for pictures side by side; otherwise exchange the two"
        )
    whole = {"unet": 2**generator.levels, "resnet": 4}.get(generator.name, 1)
    if data.crop % whole:
        raise UserError(
            f"config.data.crop={data.crop}: must be a multiple of {whole} for generator.name={generator.name}"
        )
    for field in ("resize", "jitter"):
        if 0 < data[field] < data.crop:
            raise UserError(f"config.data.{field}={data[field]}: must be 0, or at least config.data.crop={data.crop}")
    if data.input == "upscaled" and data.crop % data.shrink:
        raise UserError(f"config.data.crop={data.crop}: must be a multiple of config.data.shrink={data.shrink}")
    least = 3 * 2 ** patchgan.PATCHES[c.discriminator.patch]  # for one logit
    if c.discriminator.name == "patchgan" and data.crop < least:
        raise UserError(
            f"config.discriminator.patch={c.discriminator.patch}: too large for config.data.crop={data.crop}"
        )


def check_values(flat: Mapping[str, Any]) -> None:
    """Raises UserError for the first of these fields whose value is none of its choices or out of its range."""
    for field, choices in CHOICES.items():
        if field in flat and flat[field] not in choices:
            raise UserError(f"config.{field}={flat[field]!r}: must be one of {', '.join(map(str, choices))}")
    ranges = [(POSITIVE, "greater than 0", lambda x: x > 0), (NOT_NEGATIVE, "0 or greater", lambda x: x >= 0)]
    for fields, wanted, fits in (*ranges, (FRACTIONS, "in [0, 1)", lambda x: 0 <= x < 1)):
        for field in (field for field in fields if field in flat):
            if not (isinstance(flat[field], int | float) and math.isfinite(flat[field]) and fits(flat[field])):
                raise UserError(f"config.{field}={flat[field]}: must be {wanted}")
