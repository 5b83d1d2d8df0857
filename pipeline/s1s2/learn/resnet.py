"""ResNet-18 and ResNet-50 with any number of channels; keys and shapes of weights as torchvision's.

He et al. 2016, with the stride of a bottleneck on its 3 x 3 convolution, as torchvision has it.
Written out because torchvision cannot be loaded beside the CPU build of torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from s1s2.errors import RecipeError

_WIDTHS = (64, 128, 256, 512)


class _Block(nn.Module):
    """A residual block: what its subclass does to `x`, added to `x`."""

    expansion: int
    downsample: nn.Module | None

    def _shortcut(self, x: Tensor) -> Tensor:
        return x if self.downsample is None else self.downsample(x)


class _Basic(_Block):
    """Two 3 x 3 convolutions."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(channels, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(inner)) + self._shortcut(x))


class _Bottleneck(_Block):
    """1 x 1, 3 x 3, 1 x 1: narrow in the middle."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, width, 1, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, width * self.expansion, 1, 1)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = _downsample(channels, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.bn1(self.conv1(x)))
        inner = torch.relu(self.bn2(self.conv2(inner)))
        return torch.relu(self.bn3(self.conv3(inner)) + self._shortcut(x))


@dataclass(frozen=True)
class _Design:
    block: type[_Basic] | type[_Bottleneck]
    blocks: tuple[int, int, int, int]


_DESIGNS = {
    "resnet18": _Design(_Basic, (2, 2, 2, 2)),
    "resnet50": _Design(_Bottleneck, (3, 4, 6, 3)),
}
ARCHITECTURES = tuple(_DESIGNS)
"""Names that `resnet` knows."""


class ResNet(nn.Module):
    """Images (B, channels, y, x) to features (B, `features`), the mean over the last map."""

    def __init__(self, design: _Design, channels: int) -> None:
        super().__init__()
        self.features = _WIDTHS[-1] * design.block.expansion
        self.conv1 = nn.Conv2d(channels, _WIDTHS[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        before = _WIDTHS[0]
        for number, (width, count) in enumerate(zip(_WIDTHS, design.blocks, strict=True), 1):
            strides = [1 if number == 1 else 2] + [1] * (count - 1)
            self.add_module(f"layer{number}", _stage(design.block, before, width, strides))
            before = width * design.block.expansion
        self._draw_weights()

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, `features`) of images (B, channels, y, x)."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(_WIDTHS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x.mean(dim=(2, 3))

    def _draw_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def resnet(architecture: str, channels: int) -> ResNet:
    """Return an encoder with fresh weights, drawn from torch's global generator.

    Args:
        architecture: One of `ARCHITECTURES`.
        channels: Bands of an image.

    Raises:
        RecipeError: If there is no such architecture.
    """
    if architecture not in _DESIGNS:
        msg = f"architecture {architecture!r}: expected one of {', '.join(ARCHITECTURES)}"
        raise RecipeError(msg)
    return ResNet(_DESIGNS[architecture], channels)


def _conv(channels: int, width: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)


def _downsample(channels: int, width: int, stride: int) -> nn.Sequential | None:
    """Return what brings a shortcut to the shape of its block's result, where it has another."""
    if stride == 1 and channels == width:
        return None
    return nn.Sequential(_conv(channels, width, 1, stride), nn.BatchNorm2d(width))


def _stage(
    block: type[_Basic] | type[_Bottleneck], channels: int, width: int, strides: Sequence[int]
) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for stride in strides:
        blocks.append(block(channels, width, stride))
        channels = width * block.expansion
    return nn.Sequential(*blocks)
