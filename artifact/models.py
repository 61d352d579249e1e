"""The networks of the artifact, as plain torch modules."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class LeNet5(nn.Module):
    """LeNet-5's shape with ReLU and max-pooling; images (N, 28, 28) of pixels from 0 to 255.

    Examples
    --------
    >>> LeNet5()(torch.zeros(2, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)
        _initialize(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10)."""
        x = images.unsqueeze(1) / 255
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))


class Wide(nn.Module):
    """Twice to three times the channels of LeNet-5 and one layer less; the same images.

    Examples
    --------
    >>> Wide()(torch.zeros(2, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 5)
        self.fc1, self.fc2 = nn.Linear(800, 128), nn.Linear(128, 10)
        _initialize(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10)."""
        x = images.unsqueeze(1) / 255
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(torch.flatten(x, 1))))


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is a projection where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class Residual(nn.Module):
    """Nine convolutions, batch normalization, a linear layer: 20,000 weights.

    Images are (N, 1, 28, 28) in [0, 1], as users of torch hand them over.

    Examples
    --------
    >>> Residual()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.block1, self.block2 = Block(8, 8, 1), Block(8, 16, 2)
        self.block3 = Block(16, 32, 2)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(32, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10)."""
        x = torch.relu(self.norm(self.stem(images)))
        x = self.block3(self.block2(self.block1(x)))
        return self.fc(self.pool(x).flatten(1))


class ResNet20(nn.Module):
    """The network of He et al. 2016 (arXiv:1512.03385) for CIFAR-10, its shortcuts projections.

    It has 271,000 weights. Images are (N, 3, 32, 32) in [0, 1], not normalized: the first layer
    reads unsigned pixels.

    Examples
    --------
    >>> ResNet20()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(
            Block(16, 16, 1), Block(16, 16, 1), Block(16, 16, 1),
            Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1),
            Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1),
        )  # fmt: skip
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(64, 10)
        # Trains five times faster on a CPU.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10)."""
        x = self.blocks(torch.relu(self.norm(self.stem(images))))
        return self.fc(self.pool(x).flatten(1))


MODELS: dict[str, type[nn.Module]] = {
    "lenet5": LeNet5, "wide": Wide, "residual": Residual, "resnet20": ResNet20
}  # fmt: skip


def _initialize(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
