"""Configs: how they load, what they refuse and in which words, and what a resumed run may change."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from changed_config import changed, refusal
from ml_collections import ConfigDict

from configs import base
from srgan_jax import config
from srgan_jax.fields import check, flatten

ROOT = Path(__file__).parent.parent
BASE = str(ROOT / "configs" / "base.py")
SHIPPED = sorted((ROOT / "configs").glob("*.py"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_loads(path):
    loaded = config.load(str(path), [])
    assert set(flatten(loaded)) == set(flatten(base.get_config()))
    module_docstring = path.read_text().split('"""')[1]
    assert path.stem == "base" or f"--config=configs/{path.name}" in module_docstring


def test_base_is_unchanged_by_loading():
    assert config.load(BASE, []) == base.get_config()


def test_overrides():
    fields = ["batch_size=32", "data.crop=64", "data.store=/some/where", "data.augment=False", "ema=0.5"]
    fields += ["optimizer.schedule=step", "optimizer.boundaries=(10, 20)", "optimizer.learning_rate=2e-4"]
    loaded = config.load(BASE, [f"--config.{field}" for field in fields])
    assert (loaded.batch_size, loaded.data.crop, loaded.data.store) == (32, 64, "/some/where")
    assert (loaded.data.augment, loaded.ema, loaded.optimizer.learning_rate) == (False, 0.5, 2e-4)
    assert loaded.optimizer.boundaries == (10, 20)


def test_a_value_may_hold_an_equals_sign():
    assert config.load(BASE, ["--config.data.store=a=b"]).data.store == "a=b"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("batchsize", "batch_size"),
        ("data.corp", "data.crop"),
        ("learning_rate", "optimizer.learning_rate"),
        ("generator.blocs", "generator.blocks"),
        ("optimizer.lr", "optimizer.learning_rate"),
        ("data", "data."),
        ("zzz", ""),
    ],
)
def test_an_unknown_field_names_the_nearest(written, meant):
    message = refusal(config.load, BASE, [f"--config.{written}=1"])
    assert message.startswith(f"--config.{written}: no such field; did you mean {meant}")


@pytest.mark.parametrize("argument", ["--config.steps", "--steps=3", "steps=3", "--config.=3", ""])
def test_what_is_no_override_is_refused(argument):
    assert argument.partition("=")[0] in refusal(config.load, BASE, [argument])


@pytest.mark.parametrize("override", ["steps=many", "steps=1.5", "data.augment=perhaps", "optimizer.b1=x", "scale="])
def test_a_wrong_type_names_the_field(override):
    assert override.partition("=")[0] in refusal(config.load, BASE, [f"--config.{override}"])


def test_a_missing_file_is_named(tmp_path):
    path = str(tmp_path / "none.py")
    assert path in refusal(config.load, path, [])
    assert str(tmp_path) in refusal(config.load, str(tmp_path), [])


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module", "no_such_module"),
        ("def get_config(:", "invalid syntax"),
        ("raise RuntimeError", "RuntimeError"),
        ("raise ValueError('not today')", "not today"),
        ("def get_config():\n    return undefined_name", "undefined_name"),
    ],
)
def test_a_config_file_whose_code_fails(tmp_path, code, reason):
    path = tmp_path / "failing.py"
    path.write_text(code)
    message = refusal(config.load, str(path), [])
    assert message.startswith(f"--config={path}: the file could not be run: ")
    assert reason in message


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("bach_size", "did you mean batch_size?"),
        ("loss.pixel.kynd", "did you mean kind?"),
        ("nosuch", "configs/base.py has all there are"),
    ],
)
def test_a_config_file_that_misspells_a_field(tmp_path, written, meant):
    path = tmp_path / "misspelt.py"
    code = f"from configs import base\ndef get_config():\n    c = base.get_config()\n    c.{written} = 1\n    return c"
    path.write_text(code)
    wrong = written.split(".")[-1]
    message = refusal(config.load, str(path), [])
    assert message == f"--config={path}: sets {wrong}, which is no field; {meant}"


def test_a_file_anywhere_starts_from_one_of_ours(tmp_path):
    """As for `srgan`, a script, which finds no more than what is installed."""
    (tmp_path / "mine").mkdir()
    path = tmp_path / "mine" / "larger.py"
    path.write_text(
        "from configs import tiny\ndef get_config():\n    c = tiny.get_config()\n    c.steps = 7\n    return c"
    )
    code = "import sys; from srgan_jax import config; print(config.load(sys.argv[1], []).steps)"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    (tmp_path / "own.py").write_text("from mine.larger import get_config")  # found where the command is given
    for file in (path, tmp_path / "own.py"):
        argv = [sys.executable, "-P", "-c", code, str(file)]
        assert subprocess.run(argv, cwd=tmp_path, env=env, check=True, capture_output=True, text=True).stdout == "7\n"


def test_a_colon_in_a_path_is_part_of_it(tmp_path):
    path = tmp_path / "12:30" / "mine.py"
    path.parent.mkdir()
    path.write_text("from configs import tiny\n\n\ndef get_config():\n    return tiny.get_config()\n")
    assert config.load(str(path), ["--config.steps=7"]).steps == 7


def test_a_config_that_lacks_a_field(tmp_path):
    path = tmp_path / "bare.py"
    path.write_text("from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict()")
    assert "config.scale: missing" in refusal(config.load, str(path), [])


def test_check_is_part_of_load():
    assert "config.data.crop=97" in refusal(config.load, BASE, ["--config.data.crop=97"])


def test_the_same_config_does_not_differ():
    assert config.difference(base.get_config(), base.get_config()) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 3},
        {"steps_per_call": 100},
        {"init_from": "runs/x"},
        {"loss__feature__weights": "/elsewhere/vgg19.npz"},
        {"data__path": "/elsewhere", "data__threads": 1, "data__cache_mb": 0},
        {"data__store": "/elsewhere", "data__target": "/elsewhere"},
        {"guard__patience": 3},
        {"parallel__mode": "pmap"},
        {"log__every": 7, "log__tensorboard": False},
        {"checkpoint__every": 7, "checkpoint__keep": 5},
        {"validation__every": 0, "validation__path": "x", "validation__images": 1, "validation__crop": 8},
    ],
)
def test_free_fields_may_change(fields):
    assert config.difference(base.get_config(), changed(**fields)) == []


def test_other_fields_must_not_change():
    new = changed(seed=1, data__crop=64, optimizer__boundaries=(5,))
    assert config.difference(base.get_config(), new) == [
        "data.crop: 96 -> 64",
        "optimizer.boundaries: () -> (5,)",
        "seed: 0 -> 1",
    ]


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_steps_shape_some_schedules_and_are_not_free_then(schedule):
    shaped = changed(optimizer__schedule=schedule)
    longer = changed(optimizer__schedule=schedule, steps=2_000_000)
    assert config.difference(shaped, longer) == ["steps: 1000000 -> 2000000"]
    assert config.difference(changed(), longer) == [f"optimizer.schedule: 'constant' -> {schedule!r}"]


def test_a_field_that_a_run_lacks_was_off():
    old = base.get_config()
    with old.unlocked():
        del old.ema
    assert config.difference(old, base.get_config()) == []
    assert config.difference(old, changed(ema=0.9)) == ["ema: None -> 0.9"]
    assert [config.difference(changed(ema=e), old) for e in (0.0, 0.9)] == [[], ["ema: 0.9 -> None"]]
    with old.unlocked():
        del old.loss.lpips, old.discriminator.stages, old.generator.growth, old.loss.feature.kind
    assert config.difference(old, base.get_config()) == []
    assert config.difference(old, changed(discriminator__stages=5)) == ["discriminator.stages: 4 -> 5"]
    on = ["loss.lpips.network: None -> 'vgg'", "loss.lpips.weight: None -> 0.5"]
    assert config.difference(old, changed(loss__lpips__weight=0.5)) == on


def test_json_brings_back_the_same_config():
    c = changed(optimizer__schedule="step", optimizer__boundaries=(100, 200), ema=0.1)
    back = config.from_json(config.to_json(c))
    assert isinstance(back, ConfigDict) and back.to_dict() == c.to_dict()
    assert isinstance(back.optimizer.boundaries, tuple)
    assert config.difference(c, back) == []
    check(back)
