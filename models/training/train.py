"""Training in resumable slices: PyTorch on a GPU if there is one, else on the CPU.

Invariants
- The checkpoint is written aside and renamed: a stopped run loses at most `CHECKPOINT_EVERY_S`.
- The averaged weights (exponential moving average) are what is exported.
- A slice that cools down ends near zero, so that its result is usable; one that another follows need not cool.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from data import PlateSamples
from losses import Targets, total_loss
from network import PlateNetwork
from scenes import PixelStore, Scene
from torch import Tensor
from torch.utils.data import DataLoader

CHECKPOINT_EVERY_S: Final = 120.0
LOG_EVERY: Final = 50
PEAK_RATE: Final = 2.0e-3
WARM_UP_STEPS: Final = 100
BATCH_SHAPES: Final = [(16, 256), (7, 384), (16, 256), (3, 640), (7, 384), (16, 256), (7, 384), (3, 640)]
"""Samples per batch and their side in px, in turns. Small samples hold the most plates for the work that they cost;
the large ones are for wide plates, far context, and the many places of a photo where no plate is."""
AVERAGE_KEEPS: Final = 0.999
BF16_FLAGS: Final = ("avx512_bf16", "amx_bf16")
"""Processors that multiply in bfloat16 train half as fast again with it."""


@dataclass
class Slice:
    """One run of training: how long, with how many threads and loader processes, how fast it learns."""

    minutes: float
    threads: int
    workers: int
    peak_rate: float = PEAK_RATE
    cool_share: float = 0.3


def save_weights(network: torch.nn.Module, target: Path) -> None:
    """The state of a network in half precision (integers stay), about 2 MB."""
    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    torch.save(state, target)


def load_weights(source: Path) -> PlateNetwork:
    """A network with weights that `save_weights` or a checkpoint holds."""
    network = PlateNetwork()
    state = torch.load(source, map_location="cpu", weights_only=True)
    state = state.get("average", state)
    network.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )
    return network


def average_into(average: torch.nn.Module, network: torch.nn.Module, step: int) -> None:
    """Move the average towards the network; faster at the beginning."""
    keep = min(AVERAGE_KEEPS, (step + 1) / (step + 20))
    with torch.no_grad():
        theirs = network.state_dict()
        for name, ours in average.state_dict().items():
            if ours.is_floating_point():
                ours.lerp_(theirs[name].to(ours.dtype), 1 - keep)
            else:
                ours.copy_(theirs[name])


def rate_at(progress: float, step: int, peak: float, cool_share: float) -> float:
    """Linear warm-up, a plateau, and over the last `cool_share` of the slice a linear fall to 2 %.

    A plateau and a late fall (not a cosine over the slice) let slices follow each other without losing ground.
    """
    fall = 1.0 if cool_share <= 0 else min(1.0, (1.0 - min(progress, 1.0)) / cool_share)
    return peak * min(1.0, (step + 1) / WARM_UP_STEPS) * max(0.02, fall)


def half_precision(device: torch.device) -> torch.autocast:
    """The network's products in bfloat16 where the device gains from it."""
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16, enabled=torch.cuda.is_bf16_supported())
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    return torch.autocast("cpu", torch.bfloat16, enabled=any(flag in flags for flag in BF16_FLAGS))


def to_device(batch: list[Tensor], device: torch.device) -> tuple[Tensor, Targets]:
    images, heat, weight, box, box_weight, small = (field.to(device, non_blocking=True) for field in batch)
    pixels = images.float().contiguous(memory_format=torch.channels_last)
    return pixels, Targets(heat, weight, box, box_weight, small)


def train(scenes: list[Scene], work: Path, bank: Path, plan: Slice, start: Path | None = None) -> Path:
    """Train one slice; returns the checkpoint. `start` holds weights to begin from where no checkpoint is yet."""
    torch.set_num_threads(plan.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = work / "checkpoint.pt"
    network = load_weights(start) if start else PlateNetwork()
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    decayed = [value for value in network.parameters() if value.dim() > 1]
    plain = [value for value in network.parameters() if value.dim() <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}], lr=1e-4
    )
    average, precision = copy.deepcopy(network), half_precision(device)
    total_steps = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        total_steps = int(state["steps"])
    pixels = PixelStore(scenes, work / "train.pixels")
    samples = PlateSamples((scenes, pixels, list(range(len(scenes))), bank), BATCH_SHAPES, seed=total_steps + 1)
    loader: Any = DataLoader(
        samples, batch_size=None, num_workers=plan.workers, prefetch_factor=3 if plan.workers else None
    )
    network.train()
    begun = saved = time.monotonic()
    sums, seen, step = [0.0, 0.0], 0, 0
    for batch in loader:
        progress = (time.monotonic() - begun) / (plan.minutes * 60)
        if progress >= 1.0:
            break
        rate = rate_at(progress, step, plan.peak_rate, plan.cool_share)
        for group in optimiser.param_groups:
            group["lr"] = rate
        images, targets = to_device(batch, device)
        with precision:
            maps = network(images)
        heat, box = total_loss(tuple(output.float() for output in maps), targets)
        optimiser.zero_grad(set_to_none=True)
        (heat + 3.0 * box).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        if bool(torch.isfinite(norm)):
            optimiser.step()
        average_into(average, network, total_steps)
        step, total_steps = step + 1, total_steps + 1
        sums, seen = [sums[0] + heat.item(), sums[1] + box.item()], seen + len(images)
        if step % LOG_EVERY == 0:
            speed = seen / (time.monotonic() - begun)
            print(
                f"step {total_steps} progress {progress:.3f} rate {rate:.5f} heat {sums[0] / LOG_EVERY:.3f} "
                f"box {sums[1] / LOG_EVERY:.3f} images/s {speed:.1f}",
                flush=True,
            )
            sums = [0.0, 0.0]
        if time.monotonic() - saved > CHECKPOINT_EVERY_S:
            saved = time.monotonic()
            save_checkpoint(checkpoint, network, average, optimiser, total_steps)
    save_checkpoint(checkpoint, network, average, optimiser, total_steps)
    return checkpoint


def save_checkpoint(
    target: Path, network: torch.nn.Module, average: torch.nn.Module, optimiser: torch.optim.Optimizer, steps: int
) -> None:
    partial = target.with_suffix(".partial")
    state = {"network": network.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save({**state, "steps": steps}, partial)
    partial.replace(target)
