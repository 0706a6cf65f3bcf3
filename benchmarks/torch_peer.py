"""The same networks and updates in PyTorch, written as a good user of it would: what the benchmarks compare with."""

from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from srgan_jax.models.discriminator import plan
from srgan_jax.models.vgg import DEPTHS, WIDTHS

Update = Callable[[Tensor, Tensor], dict[str, Tensor]]


class Block(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv_0, self.conv_1 = (nn.Conv2d(features, features, 3, padding=1) for _ in range(2))
        self.norm_0, self.norm_1 = (nn.BatchNorm2d(features) for _ in range(2))
        self.prelu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm_1(self.conv_1(self.prelu(self.norm_0(self.conv_0(x)))))


class SRResNet(nn.Module):
    """LR [b, 3, h, w] in [0, 1] to SR [b, 3, 4h, 4w] in [-1, 1] (Ledig et al. 2017, figure 4)."""

    def __init__(self, blocks: int = 16, features: int = 64) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(3, features, 9, padding=4)
        self.prelu_first = nn.PReLU()
        self.blocks = nn.Sequential(*(Block(features) for _ in range(blocks)))
        self.conv_after = nn.Conv2d(features, features, 3, padding=1)
        self.norm_after = nn.BatchNorm2d(features)
        self.conv_up = nn.ModuleList(nn.Conv2d(features, 4 * features, 3, padding=1) for _ in range(2))
        self.prelu_up = nn.ModuleList(nn.PReLU() for _ in range(2))
        self.conv_last = nn.Conv2d(features, 3, 9, padding=4)

    def forward(self, lr: Tensor) -> Tensor:
        first = self.prelu_first(self.conv_first(lr))
        x = first + self.norm_after(self.conv_after(self.blocks(first)))
        for conv, prelu in zip(self.conv_up, self.prelu_up, strict=True):
            x = prelu(F.pixel_shuffle(conv(x), 2))
        return self.conv_last(x)


class Discriminator(nn.Module):
    """Images [b, 3, crop, crop] in [-1, 1] to logits [b]."""

    def __init__(self, crop: int, features: int = 64, dense: int = 1024, stages: int = 4) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for i, (multiple, stride) in enumerate(plan(stages)):
            layers.append(nn.Conv2d(width, multiple * features, 3, stride, padding=1))
            width, crop = multiple * features, -(-crop // stride)
            layers += [nn.BatchNorm2d(width)] * bool(i) + [nn.LeakyReLU(0.2, inplace=True)]
        self.body = nn.Sequential(*layers)
        self.dense = nn.Linear(width * crop**2, dense)
        self.logit = nn.Linear(dense, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.logit(F.leaky_relu(self.dense(self.body(images).flatten(1)), 0.2))[:, 0]


class VGG19(nn.Module):
    """Images [b, 3, h, w] in [-1, 1] to phi_{5,4} after ReLU, weights of Caffe's convention, frozen."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for i, (out, depth) in enumerate(zip(WIDTHS, DEPTHS["vgg19"], strict=True)):
            layers += [nn.MaxPool2d(2)] * bool(i)
            for _ in range(depth):
                layers += [nn.Conv2d(width, out, 3, padding=1), nn.ReLU(inplace=True)]
                width = out
        self.body = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1))
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.body((images.flip(1) + 1) * 127.5 - self.mean)


# --- weights from ours ---


NAMES = {"kernel": "weight", "scale": "weight", "slope": "weight", "mean": "running_mean", "var": "running_var"}


def _set(layer: nn.Module, *trees: Mapping[str, Any]) -> None:
    """One layer's arrays by our names."""
    for name, value in (item for tree in trees for item in tree.items()):
        array = np.array(value)
        if name == "kernel":
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        target = getattr(layer, NAMES.get(name, name)).data
        target.copy_(torch.from_numpy(array).reshape(target.shape))


def srresnet_from(variables: Mapping[str, Any]) -> SRResNet:
    """Of ours with one slope for each PReLU, and with BatchNorm."""
    params, stats = variables["params"], variables["batch_stats"]
    network = SRResNet(sum(name.startswith("block_") for name in params), params["conv_first"]["kernel"].shape[-1])
    for name, layer in network.named_modules():
        path = name.replace("blocks.", "block_").replace("up.", "up_").split(".")
        if not next(layer.children(), None):  # a layer, and no group of layers
            _set(layer, _at(params, path), _at(stats, path))
    return network


def _at(tree: Mapping[str, Any], path: list[str]) -> Mapping[str, Any]:
    for name in path:
        tree = tree.get(name, {})
    return tree


def discriminator_from(variables: Mapping[str, Any], crop: int) -> Discriminator:
    params, stats = variables["params"], variables["batch_stats"]
    features, dense = params["conv_0"]["kernel"].shape[-1], params["dense"]["kernel"].shape[-1]
    stages = sum(name.startswith("conv_") for name in params) // 2
    network = Discriminator(crop, features, dense, stages)
    convs = [layer for layer in network.body if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in network.body if isinstance(layer, nn.BatchNorm2d)]
    for i, conv in enumerate(convs):
        _set(conv, params[f"conv_{i}"])
    for i, norm in enumerate(norms, 1):
        _set(norm, params[f"norm_{i}"], stats[f"norm_{i}"])
    width = convs[-1].out_channels
    kernel = np.asarray(params["dense"]["kernel"])  # rows in the order h, w, c; torch's is c, h, w
    side = round((kernel.shape[0] / width) ** 0.5)
    kernel = kernel.reshape(side, side, width, dense).transpose(2, 0, 1, 3).reshape(kernel.shape)
    _set(network.dense, {"kernel": kernel, "bias": params["dense"]["bias"]})
    _set(network.logit, params["logit"])
    return network


def vgg_from(params: Mapping[str, Any]) -> VGG19:
    network = VGG19()
    convs = [layer for layer in network.body if isinstance(layer, nn.Conv2d)]
    for conv, layer in zip(convs, (params[name] for name in sorted(params)), strict=True):
        _set(conv, layer)
    return network


# --- variants: the ways in which a good user would run the same thing ---


class Variant(NamedTuple):
    name: str
    channels_last: bool
    compile_mode: str | None = None  # torch.compile's; None: eager


MODES = ("default", "max-autotune-no-cudagraphs", "reduce-overhead")  # of torch.compile; the last is for GPUs


def variants(modes: Sequence[str] | None) -> list[Variant]:
    """Eager ones, and one for each mode of torch.compile; None: all on a GPU, none on a CPU."""
    gpu = torch.cuda.is_available()
    eager = [Variant("eager", channels_last=gpu)] + [Variant("channels_last", channels_last=True)] * (not gpu)
    wanted = MODES if modes is None and gpu else modes or ()
    return eager + [Variant(f"compile {mode}", True, mode) for mode in wanted]


def add_compile(parser: ArgumentParser) -> None:
    """--compile, as `variants` takes it."""
    text = "modes of torch.compile, none if none is named; default: all on a GPU, which takes minutes for each row"
    parser.add_argument("--compile", nargs="*", choices=MODES, help=text)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def set_up(variant: Variant, network: nn.Module) -> nn.Module:
    """The network itself, on the device and as the variant has it."""
    layout = torch.channels_last if variant.channels_last else torch.contiguous_format
    network.to(device()).to(memory_format=layout)  # type: ignore[call-overload]
    if variant.compile_mode:
        network.compile(mode=variant.compile_mode, dynamic=False)
    return network


def to_torch(images: Any, variant: Variant) -> Tensor:
    """[b, h, w, c] of ours as [b, c, h, w]."""
    tensor = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    layout = torch.channels_last if variant.channels_last else torch.contiguous_format
    return tensor.to(device()).contiguous(memory_format=layout)


def make_update(variant: Variant, g: nn.Module, d: nn.Module | None, vgg: nn.Module | None, dtype: str) -> Update:
    """update(lr, hr) -> losses, still on the device: SRResNet-MSE without d, else SRGAN-VGG54 by Adam at 1e-4."""
    networks = [set_up(variant, network).train() for network in (g, d) if network is not None]
    adams = [torch.optim.Adam(n.parameters(), lr=1e-4, fused=True) for n in networks]
    if vgg is not None:
        set_up(variant, vgg).eval()
        if dtype == "bfloat16":  # once: autocast keeps casts of weights that have gradients, these it would repeat
            vgg.get_submodule("body").to(torch.bfloat16)  # the mean beside it stays float32
    half = torch.autocast(device().type, torch.bfloat16, enabled=dtype == "bfloat16")

    def step(adam: torch.optim.Optimizer, loss: Tensor) -> None:
        loss.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)  # now: gradients are memory of the update, see peak_memory

    def srresnet(lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        with half:
            sr = g(lr)
        loss = F.mse_loss(sr.float(), hr)
        step(adams[0], loss)
        return {"g/loss": loss.detach()}

    def srgan(lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        assert d is not None and vgg is not None
        if variant.compile_mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        with half:
            sr = g(lr)
            real, fake = d(hr).float(), d(sr.detach()).float()
        d_loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        step(adams[1], d_loss)

        d.requires_grad_(False)  # spares the gradients of D's weights
        with half:
            with torch.no_grad():
                target = vgg(hr)
            features, verdict = vgg(sr), d(sr).float()
        feature = F.mse_loss(features.float(), target.float()) / 12.75**2
        loss = feature + 1e-3 * F.softplus(-verdict).mean()
        step(adams[0], loss)
        d.requires_grad_(True)
        return {"d/loss": d_loss.detach(), "g/loss": loss.detach()}

    return srresnet if d is None else srgan


def fold(network: SRResNet) -> SRResNet:
    """BatchNorm folded into the convolutions by torch's own means; for inference."""
    network.eval()
    pairs = [(block, f"conv_{i}", f"norm_{i}") for block in network.blocks for i in range(2)]
    for module, conv, norm in [*pairs, (network, "conv_after", "norm_after")]:
        setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
        setattr(module, norm, nn.Identity())
    return network


def make_upscale(variant: Variant, network: SRResNet, dtype: str) -> Callable[[Tensor], Tensor]:
    """upscale(uint8 [h, w, 3]) -> uint8 [4h, 4w, 3], on the device, BatchNorm folded."""
    set_up(variant, fold(network))
    if dtype == "bfloat16":  # once, with the same picture: autocast would cast every weight again in each call
        network.to(torch.bfloat16)
    layout = torch.channels_last if variant.channels_last else torch.contiguous_format

    @torch.inference_mode()
    def upscale(lr: Tensor) -> Tensor:
        batch = (lr.permute(2, 0, 1)[None].float() / 255).contiguous(memory_format=layout)
        with torch.autocast(device().type, torch.bfloat16, enabled=dtype == "bfloat16"):
            sr = network(batch)[0].float()
        return ((sr + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()

    return upscale


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory(variant: Variant, run: Callable[[], None]) -> int | None:
    """Bytes that torch takes on the GPU during `run` beyond what it held before; None where that is not known.

    That is on a CPU, and of CUDA graphs, which keep theirs from one run to the next.
    """
    if not torch.cuda.is_available() or variant.compile_mode == "reduce-overhead":
        return None
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    run()
    return torch.cuda.max_memory_allocated() - held
