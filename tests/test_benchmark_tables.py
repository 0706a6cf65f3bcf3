"""What tables are made of: kernels of a trace, FLOPs, rows as they come, the machine's name."""

import os
from types import SimpleNamespace

import pytest

from benchmarks import kernels, side_by_side, startup, trainings
from benchmarks.flops import update_flops


def event(name: str, start: float, duration: float, *stats: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, start_ns=start, duration_ns=duration, stats=[(stat, "") for stat in stats])


def trace(plane: str, line: str, *events: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(planes=[SimpleNamespace(name=plane, lines=[SimpleNamespace(name=line, events=events)])])


@pytest.mark.parametrize(("plane", "line"), [("/device:TPU:0", "XLA Ops"), ("/host:CPU", "a thread")])
def test_loops_are_not_counted_with_what_is_in_them(plane, line):
    inside = [event("%fusion.1 = f32[8]", 0, 1000, "hlo_op"), event("%conv.2 = f32[8]", 1000, 3000, "hlo_op")]
    loops = [event("%while.3 = (f32[8])", 0, 4000, "hlo_op"), event("while.4", 0, 4000, "hlo_op")]
    found = list(kernels.device_events(trace(plane, line, *loops, *inside)))
    assert found == inside
    assert "2 kernels for each update; the device works 4 us of 4 (100 %)" in kernels.summary(found, 1)


def test_a_trace_without_the_device_is_no_error():
    assert kernels.summary([], 1) == "the profiler saw nothing of the device"


def test_flops_of_other_discriminators():
    """Of crops of 32, with 8 features and a dense layer of 16."""
    d = 2 * (32**2 * 9 * 3 * 8 + 16**2 * 9 * 8 * 8 + 16**2 * 8 * 16 + 16)

    def more(*fields: str) -> int:
        return update_flops(trainings.load("SRGAN", True, *fields)) - update_flops(trainings.load("SRGAN", True))

    relativistic, one_pass = "loss.adversarial.kind=relativistic", "discriminator.one_pass=True"
    assert more(relativistic) == d and more(one_pass) == more(one_pass, relativistic) == 2 * d
    assert more(one_pass, "discriminator.norm=none") == 0  # for G its own images alone


def test_a_row_of_startup_stays_if_the_next_training_fails(monkeypatch, capsys):
    starts = iter([(10.0, 8.0), (2.0, 1.0), (4.0, 2.0)])

    def first_update(kind, *rest):
        if kind == "SRGAN":
            raise SystemExit("startup: training failed")
        return next(starts)

    monkeypatch.setattr(startup, "first_update", first_update)
    with pytest.raises(SystemExit, match="failed"):
        startup.main(["--runs", "2"])
    assert capsys.readouterr().out == "SRResNet  10.0  3.0  0.30  8.0  1.5\n"


def test_a_machine_that_is_no_linux(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(side_by_side, "Path", lambda name: tmp_path / "none")
    assert side_by_side.cores() == 3 and ", 3 cores; jax " in side_by_side.machine()
