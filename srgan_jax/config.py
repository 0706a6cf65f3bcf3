"""Configs: loaded from a Python file with overrides, checked before anything is started, kept as JSON beside a run."""

import difflib
import json
import re
import runpy
import sys
from functools import reduce
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from srgan_jax.errors import UserError
from srgan_jax.fields import check, flatten

HERE = Path(__file__).resolve().parent
HOMES = HERE / "shipped", HERE.parent  # what has the folder configs: in an installed package, and in a checkout

# Fields that may change between the start of a run and its resumption: they leave the course of training alone.
FREE = tuple(
    "steps steps_per_call init_from data.path data.target data.store data.threads data.cache_mb loss.feature.weights "
    "log checkpoint validation parallel.mode guard".split()
)

BEFORE = {
    "data.jpeg": (),
    "discriminator.stages": 4,
    "generator.growth": 32,
    "loss.feature.kind": "mse",
}  # what runs had before there was such a field


def located(path: str | Path, argument: str) -> Path:
    """The file, or where there is none, the shipped one of that name, such as configs/base.py.

    Raises:
      UserError: there is neither; `argument` names where the path was given.
    """
    found = next((place for place in (Path(path), *(home / path for home in HOMES)) if place.is_file()), None)
    if found is None:
        shipped = next(home / "configs" for home in HOMES if (home / "configs").is_dir())
        raise UserError(f"{argument}={path}: no such file; the shipped ones are in {shipped}")
    return found


def load(path: str, overrides: list[str]) -> ConfigDict:
    """The config of a file with overrides such as `--config.batch_size=32`, checked.

    Raises:
      UserError: no such file, an unknown field (with the nearest name), or a value that does not fit.
    """
    path = str(located(path, "--config"))
    plain = _parse(path, [])
    known = flatten(plain)
    for override in overrides:
        field = override.removeprefix("--config.").partition("=")[0]
        if not override.startswith("--config.") or "=" not in override:
            raise UserError(f"{override}: not understood; a field is set by --config.FIELD=VALUE")
        if field not in known:
            section, dot, last = field.rpartition(".")
            tail = [name for name in known if name.split(".")[-1] == last]
            beside = [name for name in known if dot and name.rpartition(".")[0] == section]
            names = {name.rpartition(".")[2] if beside else name: name for name in beside or known}
            near = names[difflib.get_close_matches(last if beside else field, names, 1, 0.0)[0]]
            raise UserError(f"--config.{field}: no such field; did you mean {(tail or [near])[0]}?")
    config = _parse(path, overrides)
    check(config)
    return config


def _parse(path: str, overrides: list[str]) -> ConfigDict:
    # a config starts from another, or from one of ours, by `from configs import base`
    for folder in (Path(path).resolve().parent.parent, *HOMES, Path.cwd()):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    values, argv = flags.FlagValues(), ["srgan", *overrides]
    try:
        get_config = runpy.run_path(path).get("get_config")
        config = get_config() if get_config else None
        if not isinstance(config, ConfigDict):
            raise TypeError("it must have a get_config() that returns a ConfigDict")
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        values(argv)
        return values.config
    except Exception as error:  # without overrides, whatever a config file's own code raises
        lines = (str(error).strip() or type(error).__name__).splitlines()
        if overrides:
            raise UserError(f"{' '.join(overrides)}: {re.sub('^flag --[^ ]+: ', '', lines[0])}") from error
        field = re.search(r'Key "(.+?)" does not exist(?:.*Did you mean "(.+?)")?', str(error))  # among all that exist
        if field:
            nearest = f"did you mean {field[2]}?" if field[2] else "configs/base.py has all there are"
            raise UserError(f"--config={path}: sets {field[1]}, which is no field; {nearest}") from error
        raise UserError(f"--config={path}: the file could not be run: {lines[-1]}") from error


def course(config: ConfigDict) -> dict[str, Any]:
    """The fields that decide the course of training, flat."""
    free = tuple(f for f in FREE if not (f == "steps" and config.optimizer.schedule in ("cosine", "linear")))
    return {n: v for n, v in flatten(config).items() if not any(n == f or n.startswith(f + ".") for f in free)}


def difference(saved: ConfigDict, new: ConfigDict) -> list[str]:
    """`field: saved -> new` for every field that a resumed run must not change. Pipeline auto is the saved one.

    A field that the saved config lacks, since it came later, was off, which is 0 or "", or any beside a weight of 0,
    or as in BEFORE.
    """
    b = course(new)
    a = {n: v for n, v in course(saved).items() if n in b or v}  # one that is gone, and was off, was nothing
    a = BEFORE | {n: v for n, v in b.items() if not v or b.get(f"{n.rpartition('.')[0]}.weight") == 0} | a
    if b.get("data.pipeline") == "auto":
        b["data.pipeline"] = a.get("data.pipeline")
    names = (a.keys() | b.keys()) - ({"steps"} & (a.keys() ^ b.keys()))  # which count by some schedules alone
    return [f"{n}: {a.get(n)!r} -> {b.get(n)!r}" for n in sorted(names) if a.get(n) != b.get(n)]


def completed(saved: ConfigDict) -> ConfigDict:
    """The same, given what BEFORE has of fields that it lacks."""
    for field, value in BEFORE.items():
        *sections, name = field.split(".")
        section = reduce(getattr, sections, saved)
        section[name] = section.get(name, value)
    return saved


def to_json(config: ConfigDict) -> str:
    return json.dumps(config.to_dict(), indent=2)


def from_json(text: str) -> ConfigDict:
    """Lists come back as the tuples they were, so that an unchanged config compares equal."""

    def tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tuples(item) for key, item in value.items()}
        return tuple(value) if isinstance(value, list) else value

    return ConfigDict(tuples(json.loads(text)))
