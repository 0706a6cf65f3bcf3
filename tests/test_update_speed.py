"""The benchmark prints its row, and refuses what training refuses."""

from running import ROOT

from benchmarks.update_speed import main


def test_one_row(capsys):
    arguments = [f"--config={ROOT}/configs/tiny.py", "--config.batch_size=2", "--updates=1", "--repeat=1"]
    assert main(arguments) == 0
    head, rule, row = capsys.readouterr().out.splitlines()
    assert head.count("|") == rule.count("|") == row.count("|") == 10
    assert "tiny.py batch_size=2 | 2 | 16 | float32 | 1 |" in row


def test_bad_input(capsys):
    assert main([f"--config={ROOT}/configs/srgan_vgg54.py"]) == 2
    assert "config.data.path=''" in capsys.readouterr().err
