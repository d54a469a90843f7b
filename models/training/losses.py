"""What the plate detector is trained to do: find centres, and fit boxes around them.

Maps are at stride 4. Positives are the Gaussian peaks that `data.py` draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from network import SIZE_UNIT_PX, STRIDE
from torch import Tensor

SMALL_HIT_WEIGHT = 0.2
"""How much a plate-like answer below the scene's labelling limit costs where nothing is labelled."""


@dataclass(frozen=True)
class Targets:
    """The truth of one batch.

    heat [N, 1, h, w]: 1 at a plate's centre, a plate-shaped Gaussian around it; weight [N, 1, h, w]: 0 where nothing is
    known; box [N, 4, h, w]: the responsible plate's left, top, right, bottom in px; box_weight [N, 1, h, w]; small_px
    [N]: hits narrower than this may be plates that nobody labelled.
    """

    heat: Tensor
    weight: Tensor
    box: Tensor
    box_weight: Tensor
    small_px: Tensor


def boxes_of(size: Tensor, offset: Tensor) -> Tensor:
    """Size and offset maps [N, 2, h, w] to boxes [N, 4, h, w]: left, top, right, bottom in px."""
    height, width = size.shape[2:]
    columns = torch.arange(width, device=size.device, dtype=size.dtype)[None, :] + 0.5
    rows = torch.arange(height, device=size.device, dtype=size.dtype)[:, None] + 0.5
    centre_x = (columns + offset[:, 0]) * STRIDE
    centre_y = (rows + offset[:, 1]) * STRIDE
    half = size.clamp(-3, 4).exp() * (SIZE_UNIT_PX / 2)
    return torch.stack((centre_x - half[:, 0], centre_y - half[:, 1], centre_x + half[:, 0], centre_y + half[:, 1]), 1)


def generalised_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU of boxes [..., 4] (Rezatofighi et al. 2019, equation 4): -1 to 1."""
    overlap = (torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])).clamp(
        min=0
    )
    hull = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])
    intersection = overlap.prod(-1)
    union = (first[..., 2:] - first[..., :2]).prod(-1) + (second[..., 2:] - second[..., :2]).prod(-1) - intersection
    area = hull.prod(-1)
    return intersection / (union + 1e-6) - (area - union) / (area + 1e-6)


def heat_loss(heat: Tensor, targets: Targets, predicted_width_px: Tensor) -> Tensor:
    """Quality focal loss (Li et al. 2020, equation 2, beta = 2) with the Gaussians as soft targets.

    Summed and divided by the number of plates. Unlike the penalty-reduced form with one positive cell per plate, every
    cell of a Gaussian teaches; training from nothing on few photos needs that.
    """
    plates = (targets.heat >= 0.999).sum().clamp(min=4)
    probability = torch.sigmoid(heat)
    log_probability = torch.nn.functional.logsigmoid(heat)
    log_complement = log_probability - heat
    entropy = -(targets.heat * log_probability + (1 - targets.heat) * log_complement)
    unlabelled = (predicted_width_px < targets.small_px[:, None, None, None]) & (targets.heat < 0.01)
    weight = targets.weight * torch.where(unlabelled, SMALL_HIT_WEIGHT, 1.0)
    total: Tensor = ((targets.heat - probability).abs() ** 2 * entropy * weight).sum() / plates
    return total


def box_loss(size: Tensor, offset: Tensor, targets: Targets) -> Tensor:
    """1 - generalised IoU plus a small log-size and centre term, averaged over the weighted cells around centres."""
    weight = targets.box_weight[:, 0]
    chosen = weight > 0
    if not bool(chosen.any()):
        return size.sum() * 0
    predicted = boxes_of(size, offset).permute(0, 2, 3, 1)[chosen]
    wanted = targets.box.permute(0, 2, 3, 1)[chosen]
    shares = weight[chosen]
    wanted_size = wanted[:, 2:] - wanted[:, :2]
    log_error = (size.permute(0, 2, 3, 1)[chosen] - (wanted_size.clamp(min=1) / SIZE_UNIT_PX).log()).abs().sum(-1)
    centre_shift = (predicted[:, :2] + predicted[:, 2:] - wanted[:, :2] - wanted[:, 2:]) / 2
    centre_error = (centre_shift / wanted_size.clamp(min=4)).abs().sum(-1)
    each = 1 - generalised_overlap(predicted, wanted) + 0.25 * log_error.clamp(max=4) + 0.25 * centre_error.clamp(max=4)
    result: Tensor = (each * shares).sum() / shares.sum().clamp(min=1)
    return result


def total_loss(maps: tuple[Tensor, Tensor, Tensor], targets: Targets) -> tuple[Tensor, Tensor]:
    """Heat loss and box loss of the network's maps (see `PlateNetwork.forward`)."""
    heat, size, offset = maps
    width_px = (size[:, :1].detach().clamp(-3, 4).exp()) * SIZE_UNIT_PX
    return heat_loss(heat, targets, width_px), box_loss(size, offset, targets)
