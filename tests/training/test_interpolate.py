"""srgan convert interpolate: weights between two generators', a file like any other, and refusals."""

import json

import numpy as np
import pytest
from running import refusal
from small_weights import small_weights

from srgan_jax.__main__ import main
from srgan_jax.provenance import digest_tree
from srgan_jax.training.trained import load_generator
from srgan_jax.weights.builtin import builtin_file
from srgan_jax.weights.tensors import read_header, read_tensors

PAIR = ["convert", "interpolate", "srresnet_small", "srgan_small"]


@pytest.mark.parametrize("share", ["0", "0.25", "1"])
def test_each_weight_lies_between(tmp_path, capsys, share):
    output = tmp_path / "between.safetensors"
    assert main([*PAIR, "--share", share, "-o", str(output)]) == 0
    assert str(output) in capsys.readouterr().out
    first, second, found = (read_tensors(path, "") for path in (*map(builtin_file, PAIR[2:]), output))
    assert found.keys() == first.keys() and any(np.any(first[name] != second[name]) for name in first)
    for name, array in found.items():
        wanted = first[name] + float(share) * (second[name].astype(np.float64) - first[name])
        np.testing.assert_allclose(array, wanted, rtol=1e-5, atol=1e-7)


def test_the_file_is_a_generator_and_names_its_sources(tmp_path):
    output = tmp_path / "between.safetensors"
    assert main([*PAIR, "--share", "0.5", "-o", str(output), "--name", "halfway"]) == 0
    assert load_generator(output, field="").name == "halfway"
    stated, _ = read_header(output, "")
    weights = {name: digest_tree(load_generator(name, field="").variables) for name in PAIR[2:]}
    assert {s["name"]: s["weights_sha256"] for s in json.loads(stated["interpolated"])} == weights
    assert stated["share"] == "0.5"


def test_what_cannot_be_is_refused(tmp_path, capsys):
    small, output = small_weights(tmp_path / "small.safetensors"), tmp_path / "out.safetensors"
    for share in ("1.5", "-0.1", "nan"):
        assert f"--share={share}: must be from 0" in refusal(capsys, [*PAIR, f"--share={share}", "-o", str(output)])
    others = [*PAIR[:3], str(small), "--share", "0.5", "-o"]
    line = refusal(capsys, [*others, str(output)])
    assert f"SECOND={small}: another generator than FIRST" in line and "generator.blocks: 1 there, 8 here" in line
    before = small.read_bytes()
    assert "would replace what is read" in refusal(capsys, [*others, str(small), "--overwrite"])
    assert small.read_bytes() == before
    assert "safetensors; give such a name" in refusal(capsys, [*PAIR, "--share", "0.5", "-o", str(tmp_path / "x.npz")])
    line = refusal(capsys, [*PAIR, "--share", "0.5", "-o", str(output), "--name", "a\nb"])
    assert "cannot be shown in tables" in line and not output.exists()
    assert "FIRST=/no/run" in refusal(capsys, [*PAIR[:2], "/no/run", str(small), "--share", "0", "-o", str(output)])
