"""The input benchmark prints its three tables, and refuses what training refuses."""

import weakref

import numpy as np
import pytest

from benchmarks.input_speed import copies, cut_alone, main
from srgan_jax.data.images import read_image, write_png


@pytest.mark.slow
def test_three_tables(capsys):
    assert main(["--quick"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)}
    assert rows["torch DataLoader, 2 workers, PNG"][1] == "1.0"
    assert float(rows["host pipeline, 2 threads, store"][1]) > 15
    assert {"device pipeline", "SRResNet update, crops cut inside", "cutting alone"} <= rows.keys()
    assert all(0 <= float(rows[f"training, {name} pipeline"][0].split()[0]) < 100 for name in ("host", "device"))


@pytest.mark.parametrize("there", ["nothing", "broken", "narrow"])
def test_bad_input(capsys, tmp_path, there):
    if there == "broken":
        (tmp_path / "a.png").write_text("no image")
    if there == "narrow":
        write_png(tmp_path / "a.png", np.zeros((200, 95, 3), np.uint8))  # crops have 96
    assert main([f"--photographs={tmp_path}"]) == 2
    assert f"--photographs={tmp_path}: no image" in capsys.readouterr().err


def test_the_largest_are_copied_whatever_their_names_and_neighbours(tmp_path):
    for folder, side in (("a", 8), ("b", 16), ("c", 12), ("d", 4)):
        write_png(tmp_path / folder / "same.png", np.full((side, side, 3), side, np.uint8))
    whole = (tmp_path / "b" / "same.png").read_bytes()
    (tmp_path / "b" / "cut.png").write_bytes(whole[:-20])  # its header is whole
    (tmp_path / "b" / "none.png").write_bytes(b"")
    found = [read_image(path) for path in copies(tmp_path, tmp_path / "copies", 3, 1)]
    assert [(image.shape[0], image[0, 0, 0]) for image in found] == [(16, 16), (12, 12), (8, 8)]


def test_photographs_narrower_than_a_crop_are_left_out(tmp_path):
    for name, shape in (("a", (40, 9)), ("b", (10, 12)), ("c", (9, 50)), ("d", (10, 10))):
        write_png(tmp_path / f"{name}.png", np.zeros((*shape, 3), np.uint8))
    found = copies(tmp_path, tmp_path / "copies", 4, 10)
    assert [read_image(path).shape[:2] for path in found] == [(10, 12), (10, 10)]


def test_crops_that_were_cut_are_let_go():
    class Crops: ...

    alive, most = weakref.WeakSet(), []

    def cut(step):
        out = Crops()
        alive.add(out)
        most.append((step, len(alive)))
        return out

    cut_alone(cut, 5)
    assert most == [(0, 1), (1, 2), (2, 2), (3, 2), (4, 2)]
