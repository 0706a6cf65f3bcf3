"""What a config may hold: what is refused, and in which words."""

from pathlib import Path

import pytest
from changed_config import changed, refusal

from configs import base
from srgan_jax import losses
from srgan_jax.config import FREE
from srgan_jax.data.sources import SAMPLES
from srgan_jax.fields import CHOICES, FRACTIONS, NOT_NEGATIVE, POSITIVE, check, flatten

BASE = Path(base.__file__)


@pytest.mark.parametrize("field", CHOICES)
def test_check_refuses_an_unknown_choice(field):
    value = 5 if field in ("scale", "discriminator.patch") else "other"
    message = refusal(check, changed(**{field.replace(".", "__"): value}))
    assert message.startswith(f"config.{field}={value!r}: must be one of ")
    assert all(str(choice) in message for choice in CHOICES[field])


@pytest.mark.parametrize("field", POSITIVE)
@pytest.mark.parametrize("value", [0, -1])
def test_check_refuses_what_is_not_positive(field, value):
    number = type(flatten(base.get_config())[field])(value)
    message = refusal(check, changed(**{field.replace(".", "__"): number}))
    assert message == f"config.{field}={number}: must be greater than 0"


GAN = {"discriminator__name": "srgan", "loss__adversarial__weight": 1e-3}


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("data.crop", {"data__crop": 98}),
        ("data.tile", {"data__pipeline": "device", "data__tile": 64}),
        ("steps", {"steps_per_call": 3}),
        ("steps", {"steps": 1001, "steps_per_call": 100}),
        ("log.every", {"log__every": 150, "steps_per_call": 100}),
        ("checkpoint.every", {"checkpoint__every": 150, "steps_per_call": 100}),
        ("validation.every", {"validation__every": 150, "steps_per_call": 100}),
        ("discriminator.name", {"loss__adversarial__weight": 1e-3}),
        ("loss.adversarial.weight", {"discriminator__name": "srgan"}),
        ("discriminator.norm", GAN | {"loss__adversarial__kind": "wgan-gp"}),
        ("loss", {"loss__pixel__weight": 0.0}),
        ("optimizer.boundaries", {"optimizer__boundaries": ("abc",)}),
        ("ema", {"ema": 1.0}),
        ("ema", {"ema": -0.1}),
        ("generator.first_kernel", {"generator__first_kernel": 8}),
        ("generator.last_kernel", {"generator__last_kernel": 2}),
        ("seed", {"seed": -1}),
        ("seed", {"seed": 2**32}),
        ("data.split", {"data__split": "."}),
        ("data.crop", {"data__crop": 8, "loss__feature__weight": 1.0}),
        ("data.crop", {"data__crop": 12, "loss__lpips__weight": 1.0}),
        ("data.crop", {"data__crop": 24, "loss__lpips__weight": 1.0, "loss__lpips__network": "alex"}),
        ("validation.crop", {"validation__crop": 19}),
        ("validation.images", {"validation__images": 0}),
        ("validation.every", {"validation__every": -5}),
        ("optimizer.warmup", {"optimizer__warmup": -5}),
        ("optimizer.b1", {"optimizer__b1": float("nan")}),
        ("optimizer.learning_rate", {"optimizer__learning_rate": float("inf")}),
        ("optimizer.boundaries", {"optimizer__boundaries": (0,)}),
        ("optimizer.boundaries", {"optimizer__boundaries": (200, 100, 100)}),
        ("optimizer.boundaries", {"optimizer__schedule": "step"}),
        ("data.path", {"data__path": None}),
        *(("data.jpeg", {"data__jpeg": quality}) for quality in ((75,), (0, 50), (90, 40), (40, 101), (1.5, 3))),
        ("loss.feature.layer", {"loss__feature__layer": "5.5"}),
        ("loss.feature.layer", {"loss__feature__layer": "3.4", "loss__feature__network": "vgg16"}),
    ],
)
def test_check_refuses_what_cannot_work_together(field, fields):
    message = refusal(check, changed(**fields))
    assert message.startswith((f"config.{field}=", f"config.{field}:"))


@pytest.mark.parametrize(
    "fields",
    [
        GAN,
        GAN | {"loss__pixel__weight": 0.0},
        GAN | {"loss__adversarial__kind": "wgan-gp", "discriminator__norm": "none"},
        {"data__tile": 64},  # of no account to the host pipeline
        {"validation__every": 0},
        {"validation__crop": 20},
        {"steps_per_call": 100},
        {"loss__feature__layer": "3.4"},
        {"ema": 0.999, "data__jpeg": (40, 100)},
    ],
)
def test_check_passes(fields):
    check(changed(**fields))


def test_every_loss_term_has_its_section():
    assert set(base.get_config().loss) == set(losses.TERMS)


def test_every_field_that_the_rules_name_exists():
    known = flatten(base.get_config())
    assert {*CHOICES, *POSITIVE, *NOT_NEGATIVE, *FRACTIONS} <= set(known)
    assert all(any(name == free or name.startswith(free + ".") for name in known) for free in FREE)


@pytest.mark.parametrize("field", [field for field, choices in CHOICES.items() if len(choices) > 1])
def test_the_choices_stand_beside_their_field_in_base(field):
    lines = [line for line in BASE.read_text().splitlines() if line.strip().startswith(f"c.{field} = ")]
    assert len(lines) == 1
    assert all(str(choice) in lines[0] for choice in CHOICES[field])


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_bundled_splits_exist(split):
    assert (SAMPLES / split).is_dir()
