"""What every test needs: checked shapes, and where the data lies."""

import atexit
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from jaxtyping import install_import_hook
from PIL import Image

# One cache for this process and those that tests start: each program is compiled once
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{tempfile.gettempdir()}/srgan_jax_test_cache_{os.getuid()}")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
# Much of compiling is LLVM's optimising, which what is as small as here has no use for; `XLA_FLAGS= make test` has it.
# Without it XLA's older fusions compile much faster; jaxlib 0.11 has none, and refuses the flag
OLDER = version("jaxlib").startswith("0.10.")
FLAGS = "--xla_backend_optimization_level=0" + " --xla_cpu_use_fusion_emitters=false" * OLDER
os.environ.setdefault("XLA_FLAGS", FLAGS)
# No test looks into the user's cache, or leaves anything there
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="srgan_jax_test_home_")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
# A shell has what it starts in the background ignore Ctrl-C; processes that tests start would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)

flags.FLAGS.mark_as_parsed()  # Grain reads flags before its first batch
CHECKED = ("ops", "losses", "metrics", "data.prepare", "data.device_pipeline")
install_import_hook([f"srgan_jax.{module}" for module in CHECKED], "typecheck.checked")

from chromium import browser  # noqa: E402, F401  a fixture
from weights_cache import lpips_files  # noqa: E402, F401  a fixture; imports the package, so after the hook


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, then those that compile most: light ones fill what is left of a process's time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, item.path.parent.name != "training"))


@pytest.fixture
def optimised(monkeypatch) -> None:
    """Processes that the test starts compile as a user's do: those that compute for long, or whose memory counts."""
    monkeypatch.setenv("XLA_FLAGS", "")


@pytest.fixture
def data_dir() -> Path:
    """The folder with set5/ and set14/, each with HR/ and LRx4/."""
    if "SRGAN_DATA_DIR" not in os.environ:
        pytest.skip("SRGAN_DATA_DIR is not set: the folder that holds set5/ and set14/")
    return Path(os.environ["SRGAN_DATA_DIR"])


@pytest.fixture
def real_vgg19(data_dir: Path) -> Path:
    """VGG19 of Caffe origin, as far as conv3_4."""
    path = data_dir.parent / "weights" / "vgg19_caffe_conv1_1-conv3_4_fp16.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of five random PNGs, a.png to e.png, of different sizes; the shortest side is 20."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, (height, width) in zip("abcde", [(20, 30), (40, 24), (33, 33), (64, 48), (25, 50)], strict=True):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """A finished run of configs/tiny.py with a checkpoint at step 2, to be read alone: many tests share it."""
    from running import train  # here: files whose tests need no run should not wait for its imports

    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    train("tiny", workdir, "steps=2", "checkpoint.every=2", "validation.every=0", "log.tensorboard=False")
    return workdir


@pytest.fixture
def warned() -> Iterator[list[str]]:
    """What the package warns of, whether or not the command line has set its logging up; one line each."""
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())
            assert lines[-1].startswith("warning: ") and "\n" not in lines[-1]

    handler = Kept(logging.WARNING)
    logging.getLogger("srgan_jax").addHandler(handler)
    yield lines
    logging.getLogger("srgan_jax").removeHandler(handler)
