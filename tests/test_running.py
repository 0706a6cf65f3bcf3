"""The helpers of tests of whole trainings: nothing goes on for ever."""

import atexit
import signal

import pytest
from running import await_that, start_all


def test_what_a_failed_test_leaves_running_is_ended(monkeypatch):
    at_exit = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    (process,) = start_all([["sleep", "60"]])
    for end in at_exit:
        end()
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL


def test_waiting_in_vain_fails():
    with pytest.raises(AssertionError, match="waited in vain"):
        await_that(lambda: False, seconds=0)
