"""Inception with torchvision's random weights, converted: its features are those that torch finds."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch_networks import fid_features, random_inception

from srgan_jax.evaluation.fid import make_fid
from srgan_jax.models.inception import network_input
from srgan_jax.weights.convert_inception import convert_inception


def nchw(picture):
    return torch.from_numpy(picture.transpose(2, 0, 1)[None] / np.float32(255))


@pytest.fixture
def pictures():
    """Two odd sizes, one enlarged and one shrunk to 299x299; uint8."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((61, 87), (301, 455))]


@pytest.mark.slow
def test_features_are_those_of_torch(tmp_path, monkeypatch, pictures):
    network = random_inception()
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    convert_inception(tmp_path / "inception.pth", tmp_path / "inception.safetensors")
    fid = make_fid(tmp_path / "inception.safetensors", "--fid")
    ours = fid.features(pictures)
    theirs = np.concatenate([fid_features(network, nchw(picture), monkeypatch) for picture in pictures])
    assert ours.shape == theirs.shape == (2, 2048)
    assert fid([pictures], pictures[::-1])[0]["fid"] == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(theirs[0] - theirs[1]) > 0.01 * np.linalg.norm(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.mean())


@pytest.mark.parametrize("size", [(1, 1), (2, 299), (299, 299), (77, 1023)])
def test_the_resize_is_that_of_torch(size):
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    theirs = 2 * F.interpolate(nchw(picture), size=(299, 299), mode="bilinear", align_corners=False) - 1
    ours = network_input(picture)
    np.testing.assert_allclose(ours, theirs[0].permute(1, 2, 0), atol=1e-5)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(network_input(picture / np.float32(255)), ours)
