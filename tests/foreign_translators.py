"""pytorch-CycleGAN-and-pix2pix's generators in torch, with the names that it gives their parts."""

import torch
from torch import nn

NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "none": nn.Identity}


class Level(nn.Module):
    """One halving and its doubling, around the next level; what comes in goes out too, but of the outermost."""

    def __init__(self, outer, width, norm, inside=None, outermost=False, dropout=False):
        super().__init__()
        self.outermost, bias = outermost, norm == "instance"
        down = [nn.Conv2d(3 if outermost else outer, width, 4, 2, 1, bias=bias)]
        both = width * (2 if inside else 1)
        up = [nn.ReLU(), nn.ConvTranspose2d(both, 3 if outermost else outer, 4, 2, 1, bias=bias or outermost)]
        if outermost:
            up += [nn.Tanh()]
        else:
            down = [nn.LeakyReLU(0.2), *down] + ([NORMS[norm](width)] if inside else [])
            up += [NORMS[norm](outer)] + ([nn.Dropout(0.5)] if dropout else [])
        self.model = nn.Sequential(*down, *([inside] if inside else []), *up)

    def forward(self, x):
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class TorchUNet(nn.Module):
    def __init__(self, levels=5, norm="batch", width=8):
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(levels)]
        inside = None
        for level in reversed(range(1, levels)):
            dropout = 3 < level < levels - 1
            inside = Level(widths[level - 1], widths[level], norm, inside, dropout=dropout)
        self.model = Level(3, width, norm, inside, outermost=True)

    def forward(self, x):
        return self.model(x)


class ResidualBlock(nn.Module):
    def __init__(self, width, norm, dropout):
        super().__init__()

        def part():
            conv = nn.Conv2d(width, width, 3, bias=norm == "instance")
            return [nn.ReflectionPad2d(1), conv, NORMS[norm](width)]

        self.conv_block = nn.Sequential(*part(), nn.ReLU(), *([nn.Dropout(0.5)] if dropout else []), *part())

    def forward(self, x):
        return x + self.conv_block(x)


class TorchResNet(nn.Module):
    def __init__(self, blocks=6, norm="instance", width=8, dropout=False):
        super().__init__()
        bias = norm == "instance"

        def then(conv, width):
            return [conv, NORMS[norm](width), nn.ReLU()]

        parts = [nn.ReflectionPad2d(3), *then(nn.Conv2d(3, width, 7, bias=bias), width)]
        for wide in (2 * width, 4 * width):
            parts += then(nn.Conv2d(wide // 2, wide, 3, 2, 1, bias=bias), wide)
        parts += [ResidualBlock(4 * width, norm, dropout) for _ in range(blocks)]
        for wide in (2 * width, width):
            parts += then(nn.ConvTranspose2d(2 * wide, wide, 3, 2, 1, output_padding=1, bias=bias), wide)
        self.model = nn.Sequential(*parts, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())

    def forward(self, x):
        return self.model(x)
