"""Orbax checkpoints of a run, and what else reads them: resuming, warm starts, evaluation."""

from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import orbax.checkpoint as ocp
from flax import serialization
from ml_collections import ConfigDict
from orbax.checkpoint import args
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from srgan_jax import config as configs
from srgan_jax.errors import UserError
from srgan_jax.models.build import build_generator
from srgan_jax.training.state import GanState
from srgan_jax.weights.generator_file import is_generator_file, read_config, read_variables

METRIC = "psnr_y"  # which decides the best checkpoint


def has_checkpoint(workdir: str | Path) -> bool:
    """Whether a save was ever finished there; reads nothing, creates nothing."""
    folder = Path(workdir) / "checkpoints"
    return folder.is_dir() and bool(ocp.utils.checkpoint_steps(folder))


class Checkpoints:
    """The steps saved under `workdir/checkpoints`: the newest few and the best. Saving goes on beside training."""

    def __init__(self, workdir: str | Path, keep: int = 2) -> None:
        best = BestN(get_metric_fn=_metric, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(keep), best]),
            best_fn=_metric,  # without it the metrics are not written
            cleanup_tmp_directories=True,
        )
        self.folder = Path(workdir).absolute() / "checkpoints"
        self.manager = ocp.CheckpointManager(self.folder, options=options, item_names=("state", "meta"))

    def save(self, step: int, state: GanState, meta: dict[str, Any], metrics: dict[str, float] | None) -> None:
        items = args.Composite(state=args.StandardSave(_tree(state)), meta=args.JsonSave(meta))
        self.manager.save(step, args=items, metrics=metrics)

    def restore(self, template: GanState) -> tuple[GanState, dict[str, Any]]:
        """The newest checkpoint, laid out as `template` is, and its meta. There must be one.

        Raises:
          UserError: it is damaged.
        """
        step = self.manager.latest_step()
        assert step is not None
        wanted = jax.tree.map(ocp.utils.to_shape_dtype_struct, _tree(template))
        items = args.Composite(state=args.StandardRestore(wanted), meta=args.JsonRestore())
        try:
            saved = self.manager.restore(step, args=items)
        except Exception as error:  # Orbax raises many kinds on damaged files
            raise damaged(self.folder / str(step), error) from error
        return serialization.from_state_dict(template, _with_none(saved["state"], template)), saved["meta"]

    def close(self) -> None:
        """Waits for the save in flight; an error in it is raised here."""
        self.manager.wait_until_finished()
        self.manager.close()


def damaged(checkpoint: Path, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    return UserError(f"{checkpoint}: damaged ({reason}); move it away to go on from an older one")


def _metric(metrics: dict[str, float]) -> float:
    return metrics[METRIC]


def _tree(state: GanState) -> dict[str, Any]:
    """Plain nested dicts, without what is None: names in a checkpoint do not depend on our classes."""

    def present(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: present(value) for key, value in tree.items() if value is not None}
        return tree

    return present(serialization.to_state_dict(state))


def _with_none(tree: Any, template: Any) -> Any:
    """Puts back what _tree left out."""

    def fill(tree: Any, like: Any) -> Any:
        if not isinstance(like, dict):
            return tree
        return {key: None if value is None else fill(tree.get(key, {}), value) for key, value in like.items()}

    return fill(tree, serialization.to_state_dict(template))


class Generator(NamedTuple):
    """A trained generator and where it came from."""

    network: nn.Module
    variables: dict[str, Any]
    config: ConfigDict
    step: int
    run: Path
    name: str  # for tables: the run folder's, or what a converted file states


def load_config(run: str | Path, field: str) -> ConfigDict:
    """The config that a run was started with, or the part of one (scale, dtype, generator) in a generator's file.

    Raises:
      UserError: the folder is no run, the file holds no generator.
    """
    if is_generator_file(run):
        return read_config(Path(run), field)[0]
    path = Path(run) / "config.json"
    if not path.is_file():
        raise UserError(f"{field}={run}: not a run (no config.json in it); give the --workdir of a training run")
    try:
        config = configs.from_json(path.read_text())
        build_generator(config)  # only what is needed of it: a run may be older than some fields
        return config
    except (ValueError, TypeError, AttributeError, KeyError, UserError) as error:
        raise UserError(f"{path}: damaged ({error}); restore it from a copy") from error


def load_generator(run: str | Path, *, field: str, which: str = "best") -> Generator:
    """The generator of a run's best (by validation PSNR-Y) or latest checkpoint, with averaged parameters if kept.

    `run` may also be a .safetensors file that convert_generator wrote, whose step is 0. `field` names the argument in
    messages.

    Raises:
      UserError: the folder is no run, has no checkpoint yet, or the checkpoint or file is damaged.
    """
    if is_generator_file(run):
        config, name = read_config(Path(run), field)
        return Generator(build_generator(config), read_variables(Path(run), config, field), config, 0, Path(run), name)
    config = load_config(run, field)
    if not has_checkpoint(run):
        raise UserError(f"{field}={run}: the run has no checkpoint yet")
    folder = Path(run).absolute() / "checkpoints"
    options = ocp.CheckpointManagerOptions(best_fn=_metric, read_only=True)
    handlers = {"state": ocp.PyTreeCheckpointHandler()}
    with ocp.CheckpointManager(folder, options=options, item_handlers=handlers) as manager:
        best = manager.best_step() if which == "best" else None
        step = manager.latest_step() if best is None else best
        assert step is not None
        network = build_generator(config)
        shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jax.numpy.zeros((1, 8, 8, 3)), train=False))
        wanted = {"params": shapes["params"]} | {k: v for k, v in shapes.items() if k == "batch_stats"}
        if config.ema:
            wanted["ema_params"] = shapes["params"]
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        wanted = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), {"g": wanted})
        restore_args = ocp.checkpoint_utils.construct_restore_args(wanted)
        request = args.PyTreeRestore(wanted, restore_args=restore_args, partial_restore=True)
        try:
            saved = manager.restore(step, args=args.Composite(state=request))["state"]["g"]
        except Exception as error:
            raise damaged(folder / str(step), error) from error
    params = saved.get("ema_params", saved["params"])
    variables = {"params": params, "batch_stats": saved.get("batch_stats", {})}
    return Generator(network, variables, config, step, Path(run), Path(run).resolve().name)
