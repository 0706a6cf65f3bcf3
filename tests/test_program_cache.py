"""Where compiled programs are kept from one start to the next."""

import logging
import os

import pytest

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
