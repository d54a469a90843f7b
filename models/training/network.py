"""The plate detector's network: fully convolutional, anchor-free, one output cell every 4 pixels.

Invariants
- Input: float tensor [N, 3, H, W], BGR, values 0..255, H and W multiples of 32 (the deepest level, one cell every 64
  pixels, rounds up and is cut back).
- The features end at one cell every 8 pixels; the last convolution writes four sub-cells per cell, which a pixel
  shuffle spreads to the output's stride of 4. That keeps the costly full-size layers out of the decoder.
- Only operations that fold into plain convolutions (batch normalisation, ReLU) so that INT8 inference stays exact
  in structure.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE: Final = 4
"""Pixels of the input per output cell, in both directions."""
SIZE_UNIT_PX: Final = 32.0
"""The size map is exp(raw) * this many pixels, so that raw = 0 is an ordinary plate."""


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; padding keeps H and W (divided by the stride)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Depthwise 5x5 for reach, two pointwise convolutions for mixing, added to the input."""

    def __init__(self, channels: int, expansion: float, kernel: int = 5) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, 1, kernel // 2, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            convolution(channels, hidden, 1),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = features + self.body(features)
        return result


class Bottleneck(nn.Module):
    """A full 3x3 convolution into fewer channels and a pointwise one back, added to the input."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(channels, hidden, 3), nn.Conv2d(hidden, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = F.relu(features + self.body(features))
        return result


class PlateNetwork(nn.Module):
    """Backbone to stride 64, feature pyramid back to stride 8, sub-cell head to stride 4."""

    def __init__(
        self,
        channels: tuple[int, int, int, int, int, int] = (8, 24, 48, 96, 128, 128),
        blocks: tuple[int, int, int, int] = (1, 3, 3, 2),
        pyramid: int = 48,
    ) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth, deep, deepest = channels
        self.stem = nn.Sequential(convolution(3, half, 3, 2), convolution(half, quarter, 3, 2))
        self.level8 = self._level(quarter, eighth, blocks[0])
        self.level16 = self._level(eighth, sixteenth, blocks[1])
        self.level32 = self._level(sixteenth, deep, blocks[2])
        self.level64 = self._level(deep, deepest, blocks[3])
        self.lateral8 = nn.Conv2d(eighth, pyramid, 1)
        self.lateral16 = nn.Conv2d(sixteenth, pyramid, 1)
        self.lateral32 = nn.Conv2d(deep, pyramid, 1)
        self.lateral64 = nn.Conv2d(deepest, pyramid, 1)
        self.smooth32 = Residual(pyramid, 2)
        self.smooth16 = Residual(pyramid, 2)
        self.smooth8 = Bottleneck(pyramid, pyramid // 2)
        self.second8 = Bottleneck(pyramid, pyramid // 2)
        self.heat = nn.Conv2d(pyramid, 4, 1)
        self.size = nn.Conv2d(pyramid, 8, 1)
        self.offset = nn.Conv2d(pyramid, 8, 1)
        nn.init.constant_(self.heat.bias, -4.6)  # type: ignore[arg-type]
        nn.init.zeros_(self.second8.body[-1].weight)  # type: ignore[arg-type]  # begins as nothing, grows as it helps
        for layer in (self.heat, self.size, self.offset):
            nn.init.normal_(layer.weight, std=0.01)

    @staticmethod
    def _level(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
        return nn.Sequential(
            convolution(inputs, outputs, 3, 2), *[Bottleneck(outputs, outputs // 2) for _ in range(blocks)]
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, 3, H, W] pixels (0..255) to three maps, one cell every 4 pixels.

        heat [N, 1, H/4, W/4]: logit that a plate's centre lies here;
        size [N, 2, H/4, W/4]: ln(width / 32 px), ln(height / 32 px);
        offset [N, 2, H/4, W/4]: from the cell's middle to the box's centre, x and y, in cells of 4 px.
        """
        at8 = self.level8(self.stem(pixels * (1.0 / 64.0) - 2.0))
        at16 = self.level16(at8)
        at32 = self.level32(at16)
        at64 = self.level64(at32)
        up64 = F.interpolate(self.lateral64(at64), scale_factor=2.0, mode="nearest")
        merged = self.smooth32(self.lateral32(at32) + up64[:, :, : at32.shape[2], : at32.shape[3]])
        merged = self.smooth16(self.lateral16(at16) + F.interpolate(merged, scale_factor=2.0, mode="nearest"))
        merged = self.smooth8(self.lateral8(at8) + F.interpolate(merged, scale_factor=2.0, mode="nearest"))
        merged = self.second8(merged)
        return (
            F.pixel_shuffle(self.heat(merged), 2),
            F.pixel_shuffle(self.size(merged), 2),
            F.pixel_shuffle(self.offset(merged), 2),
        )


class ExportedNetwork(nn.Module):
    """The network with its pre- and post-processing, as the product runs it.

    Input: uint8 [1, H, W, 3], BGR. Outputs: `heatmap` [1, 1, H/4, W/4], probability at local peaks (3x3), 0 elsewhere;
    `size` and `offset` as in `PlateNetwork.forward`.
    """

    def __init__(self, network: PlateNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heat, size, offset = self.network(image.permute(0, 3, 1, 2).float())
        probability = torch.sigmoid(heat)
        peak = F.max_pool2d(probability, 3, 1, 1) == probability
        return probability * peak.to(probability.dtype), size, offset
