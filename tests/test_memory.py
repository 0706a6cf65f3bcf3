"""Memory that stays with the process: no page is cleared again for an update like the last."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from running import ROOT

from srgan_jax import memory
from srgan_jax.__main__ import main

PICTURE = ROOT / "docs" / "comparison.png"
HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
CODE = """
import resource, sys
from srgan_jax.memory import keep_memory
if sys.argv[1] == "kept":
    print(keep_memory(), end=" ")
import jax, jax.numpy as jnp
update = jax.jit(lambda x: jnp.sin(x @ x.T).sum())  # 64 MB in between
x = jnp.arange(2**17, dtype=jnp.float32).reshape(4096, -1)
faults = []
for turn in range(9):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    update(x).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))  # small blocks settle in the large one first, so that it may be extended a few times
"""


def faults(how: str, **settings: str) -> list[str]:
    command, environment = [sys.executable, "-c", CODE, how], os.environ | settings
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, env=environment).stdout.split()


def test_kept_memory_is_not_asked_for_again():
    could, kept = faults("kept")
    if could == "False":
        pytest.skip("malloc has no mallopt: not glibc")
    (given_back,) = faults("given back")
    print(f"{given_back} page faults where memory is given back, {kept} where it is kept")
    # Else a fault brings 2 MB, and there are few in any case
    if not HUGE.exists() or "[always]" not in HUGE.read_text():
        assert int(given_back) > 2**26 / 4096 / 2 and int(kept) < int(given_back) / 20
    assert faults("kept", MALLOC_ARENA_MAX="8")[0] == "False"  # whoever has settings of their own keeps them


def test_where_there_may_be_an_accelerator_malloc_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "ctypes", mock.Mock(CDLL=mock.Mock(side_effect=RuntimeError("it is asked"))))
    for name in [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    (tmp_path / "jax_plugins").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("JAX_PLATFORMS", "")
    assert memory.keep_memory() is False
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    with pytest.raises(RuntimeError, match="it is asked"):
        memory.keep_memory()


def test_a_device_that_is_in_use_is_one_line(tmp_path):
    argv = [sys.executable, "-m", "srgan_jax", "upscale", "-i", "x.png", "-o", "y.png"]
    env = os.environ | {"JAX_PLATFORMS": "tpu"}  # of which there is none
    (tmp_path / "x.png").write_bytes(PICTURE.read_bytes())
    done = subprocess.run(argv, cwd=tmp_path, env=env | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "Unable to initialize backend 'tpu'" in done.stderr and "JAX_PLATFORMS=cpu" in done.stderr


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), RuntimeError("x")])
def test_too_little_of_it_is_one_line_and_other_errors_are_not(monkeypatch, capsys, error):
    monkeypatch.setitem(sys.modules, "srgan_jax.commands.compare", mock.Mock(main=mock.Mock(side_effect=error)))
    if str(error) == "x":
        with pytest.raises(RuntimeError):
            main(["compare"])
    else:
        assert main(["compare"]) == 2
        line = "srgan compare: this needs more memory than there is; give smaller pictures, or a smaller batch_size\n"
        assert capsys.readouterr().err == line
