"""One saved step as files: reading it, telling whether it is what was saved, putting it away if not.

Every process reads on its own, into its own memory: a file that only one of them cannot read must not leave the others
waiting. Orbax finds neither a flipped bit nor a missing array; the digests, saved beside the state, do.
"""

import errno
import hashlib
import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from srgan_jax.errors import FULL
from srgan_jax.provenance import digest_leaves

RECORDS = {"meta": "metadata", "metrics": "metrics", "digests": "metadata"}  # JSON items: the file Orbax writes
QUARANTINE = "quarantine"  # beside the folder of checkpoints
# Faults of the machine at the moment, for which no step is put away
PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EACCES)
OLD = "old"  # in it: steps that are being removed, for half of one would look like a damaged one


class Damaged(Exception):
    """A saved step is not what was saved; the text says in a few words what is wrong."""


def first_line(error: Exception) -> str:
    full = [words for words in map(os.strerror, FULL) if words in str(error)]  # tensorstore: at the end of a page
    return (full or (str(error).strip() or type(error).__name__).splitlines())[0][:160]


def damaged(step: Path, what: str, error: Exception) -> Exception:
    """Damaged, with `what` and a few words in its text; but the machine's own fault as it is, which says so by them."""
    for number in PASSING:
        if os.strerror(number) in str(error):  # tensorstore, too, has the words
            return OSError(number, os.strerror(number), *([str(step)] if number == errno.EACCES else []))
    if isinstance(error, MemoryError):
        return error
    return Damaged(f"{what}: {getattr(error, 'strerror', None) or first_line(error)}")


def saved_steps(folder: Path) -> list[int]:
    """The steps whose saves were finished, newest first. Reads nothing else: they may be damaged, or empty folders."""
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted((int(name) for name in names if name.isascii() and name.isdigit()), reverse=True)


def make_digests(tree: Any, records: dict[str, Any]) -> dict[str, str]:
    """sha256 of each array of nested dicts, by its path, and of each record, by its name."""
    return digest_leaves(tree) | {name: _digest(record) for name, record in records.items()}


def read_records(step: Path) -> dict[str, Any]:
    """{"meta", "digests", "metrics"}; the last two are None where they were not saved.

    Raises:
      Damaged: one is missing, unreadable, or not what was saved.
      OSError, MemoryError: a fault of the machine at the moment.
    """
    import orbax.checkpoint as ocp  # not for those who read a file of weights: it takes its time

    if not (step / "state").is_dir():
        raise Damaged("it holds no state")
    try:  # Orbax reads this on opening the folder, and fails on what it cannot understand
        ocp.path.step.standard_name_format().find_step(step.parent, int(step.name)).commit_timestamp  # noqa: B018
    except Exception as error:
        raise damaged(step, "_CHECKPOINT_METADATA", error) from error
    found: dict[str, Any] = dict.fromkeys(RECORDS)
    for name, file in RECORDS.items():
        if name == "meta" or (step / name).is_dir():
            try:
                found[name] = json.loads((step / name / file).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise damaged(step, f"{name}/{file}", error) from error
            if not isinstance(found[name], dict):
                raise Damaged(f"{name}/{file}: not what was saved")
    if found["digests"] is not None:
        for name in ("meta", "metrics"):
            saved = found["digests"].get(name)
            if saved != (None if found[name] is None else _digest(found[name])):
                raise Damaged(f"the digest of {name} differs")
    return found


def read_state(step: Path, digests: dict[str, str] | None, part: Any = None) -> dict[str, Any]:
    """The arrays of a step, or those in `part` (nested dicts), as numpy arrays with the bits that were saved.

    digests: as read_records gives them; None: nothing is compared.

    Raises:
      Damaged: arrays are missing, unreadable, or not what was saved.
      OSError, MemoryError: as in read_records.
    """
    import orbax.checkpoint as ocp

    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"process_{here}"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
            described = handler.metadata(step / "state")  # the reader's warns of a file that single items lack
            if described is None:
                raise Damaged("what describes its arrays is missing or unreadable")
            wanted = described.tree if part is None else part
            as_numpy = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
            request = ocp.args.PyTreeRestore(part, restore_args=as_numpy, partial_restore=part is not None)
            tree = reader.restore(step / "state", request)
        found = digest_leaves(tree)
    except Exception as error:  # Orbax raises many kinds on damaged files
        raise damaged(step, "state", error) from error
    if digests is not None:
        names = found.keys() | (digests.keys() - RECORDS.keys() if part is None else ())
        wrong = sorted(name for name in names if found.get(name) != digests.get(name))
        if wrong:
            more = f" and {len(wrong) - 1} more" if wrong[1:] else ""
            raise Damaged(f"the digest of {wrong[0]}{more} differs")
    return tree


def metric(metrics: dict[str, float], of: float | None = None) -> float:
    """Which decides the best checkpoint, the higher: PSNR-Y, or where it was measured, from image to image, L1.

    of: the pictures (Validation.of) that the newest was measured on; one of others is not compared with it.
    """
    if None not in (of, metrics.get("of")) and metrics["of"] != of:
        return -math.inf
    return -metrics["l1"] if "l1" in metrics else metrics["psnr_y"]


def layout(tree: Any) -> dict[str, Any]:
    """(shape, type) of each leaf by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): (leaf.shape, leaf.dtype) for path, leaf in leaves}


def put_away(step: Path) -> Path:
    """Moves a step to workdir/quarantine/STEP, or STEP-1, STEP-2, ... where there is one already."""
    folder = step.parent.parent / QUARANTINE
    folder.mkdir(exist_ok=True)
    taken = [path.name for path in folder.iterdir()]
    names = [step.name, *(f"{step.name}-{n}" for n in range(1, len(taken) + 2))]
    return step.rename(folder / next(name for name in names if name not in taken))


def remove_old(folder: Path) -> None:
    shutil.rmtree(folder / OLD, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """What a failed save left behind, which may be what fills the disk. Its other writers may take a moment to stop."""
    for _ in range(20):
        left = list(folder.glob("*.orbax-checkpoint-tmp*"))
        if not left:
            break
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
        time.sleep(0.05)


def _digest(record: Any) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
