"""Where compiled programs are kept from one start to the next."""

import logging
import os
import subprocess
import sys

import pytest
from running import ROOT

from srgan_jax.__main__ import keep_programs

LOG = logging.getLogger("test_program_cache")
FOLDER = "JAX_COMPILATION_CACHE_DIR"


@pytest.fixture
def untold(monkeypatch, tmp_path):
    """An environment that says nothing of jax's cache, put back afterwards."""
    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if not k.startswith("JAX_")})
    os.environ["XDG_CACHE_HOME"] = str(tmp_path)


def test_in_the_cache_by_default(untold, tmp_path):
    keep_programs(LOG)
    assert os.environ[FOLDER] == f"{tmp_path}/srgan_jax/programs" and (tmp_path / "srgan_jax" / "programs").is_dir()


def test_a_folder_that_the_user_names_is_left_alone(untold, tmp_path):
    os.environ[FOLDER] = f"{tmp_path}/mine"
    before = dict(os.environ)
    keep_programs(LOG)
    assert os.environ == before and list(tmp_path.iterdir()) == []


def test_an_impossible_cache_is_only_warned_of(untold, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    os.environ["XDG_CACHE_HOME"] = f"{tmp_path}/file"
    keep_programs(LOG)
    assert FOLDER not in os.environ
    (record,) = caplog.records
    assert "warning: compiled programs are not kept" in record.message and f"{tmp_path}/file" in record.message


def test_no_home_directory_is_only_warned_of(untold, monkeypatch, caplog):
    """As of a user that a container was told to run as, whom its machine does not know."""
    for name in ("XDG_CACHE_HOME", "HOME"):
        os.environ.pop(name, None)
    monkeypatch.setattr(os, "getuid", lambda: 12345678)
    keep_programs(LOG)
    assert FOLDER not in os.environ
    (record,) = caplog.records
    assert "warning: compiled programs are not kept" in record.message and "home directory" in record.message


def test_half_an_entry_does_not_end_the_keeping(tmp_path):
    """A process may be killed between an entry's two files; the next one's programs are kept all the same."""
    folder = tmp_path / "srgan_jax" / "programs"
    folder.mkdir(parents=True)
    (folder / "half-cache").write_bytes(b"half")
    code = "import logging, srgan_jax.__main__ as m; m.keep_programs(logging.getLogger())"
    code += "; import jax; jax.jit(lambda x: x + 1)(1.0)"
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")} | {"XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True)
    found = {path.name for path in folder.glob("*-cache")}
    assert found and "half-cache" not in found
