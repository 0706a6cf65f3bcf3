"""Ctrl-C, wherever it falls: it ends the command, in one line."""

import signal
import subprocess
import sys

import pytest
from running import ROOT

DROPPED = """
import sys, time, types
import srgan_jax.__main__ as command_line

class Dropping:
    def __del__(self):  # of which Python lets no exception out
        raise KeyboardInterrupt

def main(arguments):
    Dropping()
    time.sleep(30)
    return 0

sys.modules["srgan_jax.commands.upscale"] = types.SimpleNamespace(main=main)
sys.exit(command_line.main(["upscale"]))
"""
IMPORTING = """
import os, signal, sys, time
import srgan_jax.__main__ as command_line

def keep_programs(log):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)
    except KeyboardInterrupt:
        raise ImportError("as numpy says")

command_line.keep_programs = keep_programs
sys.exit(command_line.main(["upscale"]))
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", code]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_one_that_python_drops_comes_again():
    done = python(DROPPED)
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, "srgan upscale: stopped\n")


def test_one_of_which_an_import_makes_something_else():
    done = python(IMPORTING)
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, "srgan upscale: stopped\n")


def test_what_takes_long_to_import_comes_where_it_is_answered():
    assert python("import sys, srgan_jax.__main__; sys.exit('numpy' in sys.modules)").returncode == 0


@pytest.mark.parametrize("arguments", ["", "--help", "--version"])
def test_help_onto_a_full_disk_is_one_line(arguments):
    argv = ["bash", "-c", f"{sys.executable} -m srgan_jax {arguments} > /dev/full"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "No space left on device" in done.stderr and done.stderr.count("\n") == 1


def test_a_file_larger_than_the_shell_allows_is_one_line(tmp_path, photographs):
    command = f"{sys.executable} -m srgan_jax compare {photographs}/a.png {photographs}/a.png -o {tmp_path}/a.html"
    argv = ["bash", "-c", f"ulimit -f 1; JAX_COMPILATION_CACHE_DIR= {command}"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and not (tmp_path / "a.html").exists()
    assert done.stderr.startswith("srgan compare: File too large; ") and done.stderr.count("\n") == 1
