"""What is said of a --checkpoint that is none: what there is to choose from."""

import pytest
from PIL import Image
from running import refusal

from srgan_jax.weights.builtin import BUILTIN

CHOICES = f"give a run's folder, a .safetensors file, or a built-in network ({', '.join(BUILTIN)})"
FOREIGN = "; srgan convert generator takes weights of other projects"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("srresnet_smal", f"not a run (no such path); {CHOICES}"),
        ("gone/run", f"not a run (no such path); {CHOICES}"),
        ("weights.pth", f"not a run (a file); {CHOICES}{FOREIGN}"),
        ("a.png", f"not a run (a file); {CHOICES}{FOREIGN}"),
        ("folder", "not a run (no config.json in it); give the --workdir of a training run"),
    ],
)
def test_a_path_that_is_no_network(tmp_path, capsys, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9)).save("a.png")
    (tmp_path / "weights.pth").write_bytes(b"PK\x03\x04")
    (tmp_path / "folder").mkdir()
    line = refusal(capsys, ["upscale", "-i", "a.png", "-o", "b.png", "--checkpoint", name])
    assert line == f"srgan upscale: --checkpoint={name}: {said}"
    assert refusal(capsys, ["compare", "-i", "a.png", name, "-o", "c.html"]) == f"srgan compare: weights={name}: {said}"
