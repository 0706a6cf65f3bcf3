"""torch's side of the benchmarks: as good a user would run it, and on the same kind of device."""

from argparse import Namespace
from copy import deepcopy

import jax
import pytest
import torch

from benchmarks import side_by_side, torch_peer, train_speed, upscale_speed


@pytest.mark.parametrize("main", [train_speed.main, upscale_speed.main])
def test_a_gpu_is_not_compared_with_a_cpu(monkeypatch, main):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="jax has a gpu here, torch a cpu: .*--only ours or --only torch$"):
        main(["--quick"])


@pytest.mark.parametrize(
    ("ours", "theirs", "only", "refused"),
    [
        ("cpu", False, None, False),
        ("gpu", True, None, False),
        ("gpu", False, "ours", False),
        ("cpu", True, "torch", False),
        ("cpu", True, None, True),
        ("tpu", False, None, True),
        ("tpu", True, None, True),
    ],
)
def test_what_may_be_compared(monkeypatch, ours, theirs, only, refused):
    monkeypatch.setattr(jax, "default_backend", lambda: ours)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: theirs)
    try:
        side_by_side.same_device(only)
    except SystemExit:
        assert refused
    else:
        assert not refused


def test_products_of_both_are_tf32():
    with side_by_side.full_precision():  # puts back at the end what was there before
        side_by_side.start(Namespace(quick=True, give_back=True))
        assert torch.backends.cuda.matmul.allow_tf32


def test_enlarging_in_bfloat16_casts_weights_once():
    """What autocast makes of float32 weights in each call is the same picture."""
    torch.manual_seed(0)
    network, variant = torch_peer.SRResNet(2, 8), torch_peer.variants(())[0]
    with torch.no_grad():
        for weight in network.parameters():
            weight *= 1 + 0.1 * torch.rand_like(weight)  # slopes of PReLU, too, are no numbers of bfloat16
    by_autocast = torch_peer.set_up(variant, torch_peer.fold(deepcopy(network)))
    upscale = torch_peer.make_upscale(variant, network, "bfloat16")
    assert {weight.dtype for weight in network.parameters()} == {torch.bfloat16}

    device = torch_peer.device()
    lr = torch.randint(0, 256, (16, 24, 3), dtype=torch.uint8, device=device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        sr = by_autocast(lr.permute(2, 0, 1)[None].float() / 255)[0].float()
    picture = ((sr + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    assert len(picture.unique()) > 30 and torch.equal(upscale(lr), picture)


def test_updates_in_bfloat16_cast_the_fixed_network_once(monkeypatch):
    monkeypatch.setattr(torch_peer, "WIDTHS", (4, 8))
    monkeypatch.setitem(torch_peer.DEPTHS, "vgg19", (1, 1))
    torch.manual_seed(0)
    vgg, variant, device = torch_peer.VGG19(), torch_peer.variants(())[0], torch_peer.device()
    by_autocast = torch_peer.set_up(variant, deepcopy(vgg))
    networks = torch_peer.SRResNet(1, 8), torch_peer.Discriminator(32, 8, 16)
    update = torch_peer.make_update(variant, *networks, vgg, "bfloat16")
    assert {weight.dtype for weight in vgg.parameters()} == {torch.bfloat16}
    assert vgg.mean.dtype == torch.float32 and not any(weight.requires_grad for weight in vgg.parameters())
    assert all(weight.dtype == torch.float32 for network in networks for weight in network.parameters())

    lr, hr = torch.rand(2, 3, 8, 8, device=device), 2 * torch.rand(2, 3, 32, 32, device=device) - 1
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        assert torch.equal(vgg(hr), by_autocast(hr)) and vgg(hr).std() > 0
    assert all(torch.isfinite(loss) for loss in update(lr, hr).values())
