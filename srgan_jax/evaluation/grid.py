"""Grids of trainings: a Python file whose get_grid() tells rows, seeds and the sets to measure on."""

import re
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from srgan_jax import config as configs
from srgan_jax.data.sources import SAMPLES
from srgan_jax.errors import UserError
from srgan_jax.evaluation.pairs import set_name

ROW_FIELDS = ("config", "overrides", "init_from", "paper")
SHAPE = "get_grid() must return {'seeds': [0], 'rows': {NAME: {'config': FILE, ...}, ...}, 'sets': [FOLDER, ...]}"


class Row(NamedTuple):
    """One training of a grid, for every seed."""

    name: str
    file: Path  # of its config
    overrides: list[str]  # --config.FIELD=VALUE
    init_from: str  # the earlier row whose run of the same seed it starts from; "" for none
    paper: str  # the paper's name for it; "" for none
    config: ConfigDict  # with the overrides


class Grid(NamedTuple):
    seeds: list[int]
    rows: dict[str, Row]
    sets: list[Path]


def load_grid(path: Path, overrides: list[str]) -> Grid:
    """The grid of a file; `overrides` (--config.FIELD=VALUE) come after those of each row.

    A row's config file is looked for from the grid file's folder upwards, then among the shipped ones, so that
    "configs/tiny.py" is the repository's wherever the command is started. Sets are folders, "" for the bundled
    held-out photographs.

    Raises:
      UserError: no such file, get_grid() fails or returns something else, or a config that cannot work.
    """
    path = configs.located(path, "--grid")
    try:
        grid = runpy.run_path(str(path))["get_grid"]()
    except Exception as error:  # whatever the file's own code raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"--grid={path}: the file could not be run: {type(error).__name__}: {reason}") from error
    fits = isinstance(grid, dict) and grid.keys() == {"seeds", "rows", "sets"}
    if not fits or not all(grid.values()) or not isinstance(grid["rows"], dict):
        raise UserError(f"--grid={path}: {SHAPE}, none of them empty")
    for override in overrides:
        if override.startswith(("--config.seed=", "--config.init_from=")):
            raise UserError(f"{override}: set by the grid for each run; --seeds chooses seeds")
    seeds, sets = grid["seeds"], grid["sets"]
    listed = isinstance(seeds, list | tuple) and all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)
    if not listed or len(set(seeds)) < len(seeds):
        raise UserError(f"--grid={path}: seeds={seeds!r}: must be a list of different whole numbers")
    if not (isinstance(sets, list | tuple) and all(isinstance(folder, str) for folder in sets)):
        raise UserError(f"--grid={path}: sets={sets!r}: must be a list of folders")
    rows: dict[str, Row] = {}
    for name, row in grid["rows"].items():
        try:
            rows[name] = _row(name, row, path, overrides, rows)
        except UserError as error:
            raise UserError(f"--grid={path}: row {name!r}: {error}") from error
    kinds = {(row.config.scale, row.config.data.input) for row in rows.values()}
    if len(kinds) > 1:
        of = ", ".join(f"scale {scale} from {given}" for scale, given in sorted(kinds))
        raise UserError(f"--grid={path}: rows of {of} do not compare; give a grid for each")
    return Grid(list(seeds), rows, find_sets(sets))


def find_sets(folders: Sequence[str]) -> list[Path]:
    """Raises UserError for a folder that is missing, or two of the same name."""
    sets = [Path(folder) if folder else SAMPLES / "validation" for folder in folders]
    for folder in sets:
        if not folder.is_dir():
            raise UserError(f"--set: {folder}: no such folder")
    names = [set_name(folder) for folder in sets]
    if len(set(names)) < len(names):
        raise UserError(f"--set: data sets need different folder names, not {', '.join(names)}")
    return sets


def is_name(row: Any) -> bool:
    """Whether a row can be called so; it is the name of a folder, too."""
    return isinstance(row, str) and re.fullmatch(r"\w[\w.+-]*", row) is not None


def _row(name: Any, row: Any, path: Path, overrides: list[str], earlier: dict[str, Row]) -> Row:
    if name in ("bicubic", "input", "LR", "HR"):
        raise UserError("a row's name cannot be that of what stands beside it: bicubic, input, LR or HR")
    if not is_name(name):
        raise UserError("a row's name is a folder's: letters, digits and . _ + -")
    if not isinstance(row, dict) or not {"config"} <= row.keys() <= set(ROW_FIELDS):
        raise UserError(f"must be a dict with config and perhaps {', '.join(ROW_FIELDS[1:])}")
    file, own = row["config"], row.get("overrides", [])
    init_from, paper = row.get("init_from", ""), row.get("paper", "")
    if not all(isinstance(value, str) for value in (file, init_from, paper)):
        raise UserError("config, init_from and paper must be strings")
    if not (isinstance(own, list | tuple) and all(isinstance(field, str) for field in own)):
        raise UserError("overrides must be a list such as ['loss.feature.layer=2.2']")
    if init_from and init_from not in earlier:
        raise UserError(f"init_from={init_from!r}: no earlier row has that name")
    places = [folder / file for folder in (*path.resolve().parents, *configs.HOMES)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(f"config={file!r}: no such file in the grid's folder or above it")
    fields = [*(f"--config.{field}" for field in own), *overrides]
    return Row(name, found, fields, init_from, paper, configs.load(str(found), fields))
