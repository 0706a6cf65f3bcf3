"""The checkpoints of a run: saved beside training, verified when restored, and what happens when either fails."""

import logging
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization
from jax.experimental import multihost_utils
from orbax.checkpoint import args
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from srgan_jax.errors import UserError
from srgan_jax.training import parallel
from srgan_jax.training.saved_step import (
    OLD,
    QUARANTINE,
    Damaged,
    first_line,
    layout,
    make_digests,
    metric,
    put_away,
    read_records,
    read_state,
    remove_old,
    remove_unfinished,
    saved_steps,
)
from srgan_jax.training.state import GanState

log = logging.getLogger(__name__)

FAILURES = 3  # saves in a row, after which a run that cannot be saved is not worth its electricity
OVERHEAD, MARGIN = 1.1, 10**6  # bytes on disk for each byte of the state, and for descriptions of its arrays


def has_checkpoint(workdir: str | Path) -> bool:
    """Whether a save was ever finished there; reads nothing, creates nothing. To be asked on every process."""
    return bool(_steps(Path(workdir) / "checkpoints"))


def _steps(folder: Path) -> list[int]:
    """saved_steps as the lead finds them: others may see an older listing of a shared folder."""
    return parallel.from_lead({"steps": saved_steps(folder)})["steps"]


class Checkpoints:
    """The steps saved under `workdir/checkpoints`: the newest few and the best. Saving goes on beside training.

    Where several processes share the workdir, each makes the same calls, and all come to the same verdict.

    Raises:
      UserError: checkpoints were there, and every one is damaged. They are in `workdir/quarantine`.
    """

    def __init__(self, workdir: str | Path, keep: int = 2) -> None:
        self.folder = Path(workdir).absolute() / "checkpoints"
        self.saving: int | None = None  # the step in flight
        self.failures, self.failure = 0, ""  # in a row, and the last
        self.began: int | None = None  # the newest step when training diverged
        for step in _steps(self.folder):
            self._refuse(step, partial(read_records, self.folder / str(step)))
        if not has_checkpoint(workdir) and (self.folder.parent / QUARANTINE).is_dir():
            raise self._none_good()
        multihost_utils.sync_global_devices("looked")  # so that none finds what another has already saved
        self.config = self.folder.parent / "config.json"
        self.described = self.config.exists()  # whether it was ever seen there
        self.of: float | None = None  # the pictures of the last validation
        rank = lambda metrics: metric(metrics, self.of)  # noqa: E731
        self.manager = _open(self.folder, keep, rank) if jax.process_index() == 0 else None

    def save(self, step: int, state: GanState, meta: dict[str, Any], metrics: dict[str, float] | None) -> None:
        """Begins to save; what went wrong with the save before is found here. `meta` and `metrics`: JSON.

        A save that fails, or for which there is no room, is a warning, and what was saved earlier stays.

        Raises:
          UserError: FAILURES saves failed in a row, or the workdir is gone.
        """
        self.wait()
        self._refuse_gone()
        self.saving, problem = step, ""
        self.of = (metrics or {}).get("of", self.of)
        if self.manager:
            try:
                problem = _begin(self.manager, step, jax.device_get(_tree(state)), meta, metrics)
            except Exception as error:  # of whatever kind, the disk's fault or Orbax's
                problem = first_line(error)
        if _anywhere(bool(problem)):
            self.wait(problem)

    def restore(self, template: GanState) -> tuple[GanState, dict[str, Any]]:
        """The newest good checkpoint, placed as `template` is, and its meta. There must be one.

        Damaged ones are moved to `workdir/quarantine`, with a warning each.

        Raises:
          UserError: none is good, or the newest good one is of another network than `template`.
        """
        self.wait()
        wanted = _tree(template)
        for step in _steps(self.folder):
            read = self._refuse(step, partial(_read, self.folder / str(step)))
            if read is not None:
                break
        else:
            raise self._none_good()
        if self.manager:
            self.manager.reload()  # of what was put away it knows nothing
        tree, records = read
        if records["digests"] is None:
            log.warning("warning: %s/%d was saved without digests: it could not be verified", self.folder, step)
        if layout(tree) != layout(wanted):
            raise UserError(
                f"{self.folder}/{step}: the arrays of another network than the config's; use another --workdir"
            )
        tree = jax.tree.map(
            lambda like, x: jax.make_array_from_callback(x.shape, like.sharding, lambda index: x[index]), wanted, tree
        )
        return serialization.from_state_dict(template, _with_none(tree, template)), records["meta"]

    def diverged(self) -> None:
        """Told twice with the same step newest, it puts that step away, if there is another for `restore`.

        What is wrong may be in it already.
        """
        self.wait()  # for one that would be missed
        steps = _steps(self.folder)
        newest = steps[0] if steps else None
        if steps[1:] and newest == self.began:
            self._put_away(steps[0], "is where training diverged from twice")
        self.began = newest

    def close(self) -> None:
        """Waits for the save in flight.

        Raises:
          UserError: the last save failed. If another error is on its way it is only warned of.
        """
        failing = sys.exc_info()[0] is not None
        try:
            if not failing or jax.process_count() == 1:  # else the others may never come to agree
                self.wait()
        finally:
            if self.manager:
                self.manager.close()
                remove_old(self.folder)
                remove_unfinished(self.folder)  # of a failed save, whose writers have come to an end only now
        if self.failures and not failing:
            raise UserError(f"{self.folder}: the last save failed ({self.failure}); {self._advice()}")

    def wait(self, problem: str = "") -> None:
        """Until the save in flight, if there is one, is done or has failed; `problem`: why it is known to have failed.

        Raises:
          UserError: as `save`.
        """
        if self.saving is None:
            return
        step, self.saving = self.saving, None
        try:
            if self.manager:
                self.manager.wait_until_finished()
                remove_old(self.folder)
        except Exception as error:
            problem = problem or first_line(error)
        if _anywhere(bool(problem)):
            self._failed(step, problem or "another process failed")
        else:
            self.failures = 0

    def _failed(self, step: int, problem: str) -> None:
        self.failures += 1
        self.failure = f"step {step}: {problem}"
        self._refuse_gone()
        if self.manager:
            remove_unfinished(self.folder)
            self.manager.reload()  # it takes the steps that were to go for gone
        if self.failures == FAILURES:
            raise UserError(
                f"{self.folder}: {FAILURES} saves in a row failed, the last at {self.failure}; {self._advice()}"
            )
        if self.manager:
            log.warning("warning: not saved at step %d (%s); training goes on", step, problem)

    def _refuse_gone(self) -> None:
        """Orbax, or a validation's picture, may have made a folder anew where the workdir was."""
        there = self.config.exists()
        self.described = self.described or there
        if _anywhere(self.described and not there):
            raise UserError(
                f"{self.folder.parent}: is gone; if it was moved, give the command again with it as --workdir"
            )

    def _advice(self) -> str:
        steps = saved_steps(self.folder)
        return f"make room there and give the same command again, which goes on from step {steps[0] if steps else 0}"

    def _refuse(self, step: int, read: Callable[[], Any]) -> Any:
        """What `read` returns, or None: on some process it found damage, and the step is in quarantine."""
        found, problem = None, ""
        try:
            found = read()
        except Damaged as error:
            problem = str(error)
        if not _anywhere(bool(problem)):
            return found
        self._put_away(step, f"is damaged ({problem or 'another process cannot read it'})")
        return None

    def _put_away(self, step: int, why: str) -> None:
        if jax.process_index() == 0:
            moved = put_away(self.folder / str(step))
            log.warning("warning: checkpoint %d %s: moved to %s", step, why, moved)
        multihost_utils.sync_global_devices("put away")

    def _none_good(self) -> UserError:
        place = self.folder.parent / QUARANTINE
        return UserError(
            f"{self.folder}: no good checkpoint is left, the damaged ones are in {place}; put copies of good ones "
            "back, use another --workdir, or remove that folder to train from the start"
        )


def _open(folder: Path, keep: int, rank: Callable[[dict[str, float]], float]) -> ocp.CheckpointManager:
    """For this process alone: in Orbax's own way one whose writing fails leaves the others waiting for minutes."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_old(folder)  # which a killed run had not come to
    best = BestN(get_metric_fn=rank, n=1, keep_checkpoints_without_metrics=False)
    here = jax.process_index()
    options = ocp.CheckpointManagerOptions(
        create=False,
        preservation_policy=AnyPreservationPolicy([LatestN(keep), best]),
        best_fn=rank,  # without it the metrics are not written
        cleanup_tmp_directories=True,
        todelete_subdir=OLD,
        multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=here, active_processes={here}),
    )
    return ocp.CheckpointManager(folder, options=options, item_names=("state", "meta", "digests"))


def _begin(
    manager: ocp.CheckpointManager, step: int, tree: Any, meta: dict[str, Any], metrics: dict[str, float] | None
) -> str:
    """Begins to save numpy arrays; returns why not, if there is no room."""
    Path(manager.directory).mkdir(exist_ok=True)  # somebody may have removed the checkpoints
    needed = OVERHEAD * sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) + MARGIN
    free = shutil.disk_usage(manager.directory).free
    if free < needed:
        return f"{free / 1e6:.1f} MB are free, it needs {needed / 1e6:.1f}"
    digests = make_digests(tree, {"meta": meta} if metrics is None else {"meta": meta, "metrics": metrics})
    items = args.Composite(state=args.StandardSave(tree), meta=args.JsonSave(meta), digests=args.JsonSave(digests))
    return "" if manager.save(step, args=items, metrics=metrics) else "a later step is there"


def _read(step: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    records = read_records(step)
    return read_state(step, records["digests"]), records


def _anywhere(flag: bool) -> bool:
    """Whether it is so on any process."""
    return bool(multihost_utils.process_allgather(np.array(flag)).any()) if jax.process_count() > 1 else flag


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
