"""The input benchmark prints its three tables, and refuses what training refuses."""

import pytest

from benchmarks.input_speed import main


@pytest.mark.slow
def test_three_tables(capsys):
    assert main(["--quick", "--rounds=1"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)}
    assert rows["torch DataLoader, 2 workers, PNG"][1] == "1.0"
    assert float(rows["host pipeline, 2 threads, store"][1]) > 15
    assert {"device pipeline", "SRResNet update, crops cut inside", "cutting alone"} <= rows.keys()
    assert all(0 <= float(rows[f"training, {name} pipeline"][0].split()[0]) < 100 for name in ("host", "device"))


def test_bad_input(capsys, tmp_path):
    assert main([f"--photographs={tmp_path}"]) == 2
    assert f"--photographs={tmp_path}" in capsys.readouterr().err
