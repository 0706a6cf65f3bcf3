"""What made a figure or a checkpoint: code version and content hashes."""

import hashlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from srgan_jax import __version__


def code_version() -> dict[str, str]:
    """Versions of this package and of jax, the kind of device, and the commit if this is a checkout ("" elsewhere).

    A commit with uncommitted changes on top ends in "-dirty".
    """
    # the file must be the checkout's own: an environment may lie inside somebody else's repository
    commit = _git("ls-files", "--error-unmatch", Path(__file__).name) and _git(
        "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"
    )
    device = jax.devices()[0].device_kind
    return {"srgan_jax": __version__, "commit": commit, "jax": jax.__version__, "device": device}


def _git(*arguments: str) -> str:
    """What git prints, "" where it fails or there is none."""
    try:
        folder = Path(__file__).parent
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""


def digest_files(paths: Iterable[Path]) -> str:
    """sha256 over names and contents, in the order given."""
    total = hashlib.sha256()
    for path in paths:
        total.update(os.fsencode(path.name) + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def digest_tree(tree: Any) -> str:
    """sha256 over the paths, types, shapes and bits of a tree of arrays."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        total.update(f"{jax.tree_util.keystr(path)} ".encode() + _content(leaf))
    return total.hexdigest()


def digest_leaves(tree: Any) -> dict[str, str]:
    """sha256 over the type, shape and bits of each array of a tree, by its path a/b/c."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    return {name: hashlib.sha256(_content(leaf)).hexdigest() for name, (_, leaf) in zip(names, leaves, strict=True)}


def _content(leaf: Any) -> bytes:
    array = np.asarray(leaf)
    return f"{array.dtype} {array.shape}".encode() + array.tobytes()
