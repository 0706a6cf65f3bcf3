"""torchvision whatever torch it was built for, and FID's Inception made of its parts, with random weights."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F


def import_torchvision() -> Any:
    try:
        import torchvision
    except RuntimeError:  # its own operators, which no network here has, were built for another kind of torch
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
        import torchvision
    return torchvision


def random_inception() -> torch.nn.Module:
    """torchvision's inception_v3 for 1008 classes, far from its start; its features keep their size on the way."""
    network = import_torchvision().models.inception_v3(num_classes=1008, aux_logits=False, init_weights=False)
    rng = np.random.default_rng(0)
    for name, tensor in network.state_dict().items():
        if name.endswith(("conv.weight", "fc.weight")):
            values = rng.standard_normal(tensor.shape, np.float32) * np.sqrt(2 / tensor[0].numel(), dtype=np.float32)
        elif name.endswith(("running_var", "bn.weight")):
            values = rng.uniform(0.7, 1.4, tensor.shape)
        else:
            values = rng.normal(0, 0.2, tensor.shape)
        tensor.copy_(torch.as_tensor(values))
    return network.eval()


def fid_features(network: torch.nn.Module, pictures: torch.Tensor, monkeypatch: Any) -> np.ndarray:
    """Of [b 3 h w] in [0, 1] as pytorch-fid has them: its resize, and its three changes of torchvision's pools."""
    average = partial(F.avg_pool2d, count_include_pad=False)
    monkeypatch.setattr(F, "avg_pool2d", average)
    network.Mixed_7c.register_forward_pre_hook(lambda *_: monkeypatch.setattr(F, "avg_pool2d", F.max_pool2d))
    network.Mixed_7c.register_forward_hook(lambda *_: monkeypatch.setattr(F, "avg_pool2d", average))
    network.fc = torch.nn.Identity()
    with torch.no_grad():
        x = F.interpolate(pictures, size=(299, 299), mode="bilinear", align_corners=False)
        return network(2 * x - 1).numpy()
