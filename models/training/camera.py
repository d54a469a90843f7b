"""What cameras do to pictures: night, infrared, shake, noise, poor lenses, compression."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def camera_faults(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """A random chain of faults on an image [H, W, 3]; plates stay where they are."""
    if random.random() < 0.75:
        pixels = light_and_colour(pixels, random)
    kind = random.random()
    if kind < 0.12:
        grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        pixels = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
    elif kind < 0.21:
        pixels = night(pixels, random)
    kind = random.random()
    if kind < 0.09:
        pixels = shake(pixels, random)
    elif kind < 0.17:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), random.uniform(0.5, 1.6)), np.uint8)
    elif kind < 0.25:
        pixels = coarse(pixels, random)
    elif kind < 0.3:
        soft = cv2.GaussianBlur(pixels, (0, 0), 1.5)
        pixels = np.asarray(cv2.addWeighted(pixels, 2.0, soft, -1.0, 0), np.uint8)
    if random.random() < 0.15:
        grain = random.standard_normal(pixels.shape[:2], np.float32) * random.uniform(3, 18)
        pixels = np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8)
    if random.random() < 0.35:
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(18, 90))])
        pixels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return pixels


def light_and_colour(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """Exposure, contrast, gamma and white balance as one table per channel."""
    ramp = np.linspace(0, 1, 256)
    gamma, contrast = math.exp(random.normal(0, 0.25)), math.exp(random.normal(0, 0.2))
    lift = random.normal(0, 0.07)
    table = np.empty((256, 1, 3), np.uint8)
    for channel in range(3):
        gain = contrast * math.exp(random.normal(0, 0.1))
        values = (ramp**gamma - 0.5) * gain + 0.5 + lift + random.normal(0, 0.02)
        table[:, 0, channel] = np.clip(values * 255, 0, 255)
    pixels = np.asarray(cv2.LUT(pixels, table), np.uint8)
    if random.random() < 0.3:
        grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        amount = random.uniform(-0.6, 0.9)
        pixels = np.asarray(cv2.addWeighted(pixels, 1 - amount, grey, amount, 0), np.uint8)
    return pixels


def night(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """Darkness with a cast, headlights and noise."""
    dark = (pixels / 255.0) ** random.uniform(1.0, 2.2) * random.uniform(0.25, 0.7)
    dark *= np.array([random.uniform(0.6, 1.2), random.uniform(0.6, 1.0), random.uniform(0.7, 1.3)])
    if random.random() < 0.4:
        dark[:] = dark.mean(2, keepdims=True) * random.uniform(1.0, 1.6)
    height, width = pixels.shape[:2]
    dark = (dark * 255).astype(np.float32)
    for _ in range(int(random.integers(0, 5))):
        centre = (int(random.integers(width)), int(random.integers(height)))
        glow = np.zeros((height // 4, width // 4, 3), np.float32)
        colour = (random.uniform(120, 255), random.uniform(120, 255), random.uniform(150, 255))
        cv2.circle(glow, (centre[0] // 4, centre[1] // 4), int(random.integers(1, 5)), colour, -1)
        glow = cv2.GaussianBlur(glow, (0, 0), random.uniform(1, 6)) * random.uniform(0.6, 2)
        dark += cv2.resize(glow, (width, height))
    dark += random.normal(0, random.uniform(1, 9), (height, width, 1)).astype(np.float32)
    return np.clip(dark, 0, 255).astype(np.uint8)


def shake(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """Motion blur along a line of 3 to 11 px."""
    length = int(random.integers(3, 12))
    kernel = np.zeros((length, length), np.float32)
    angle = random.uniform(0, math.pi) if random.random() < 0.5 else random.normal(0, 0.15)
    middle = (length - 1) / 2
    reach_x, reach_y = math.cos(angle) * middle, math.sin(angle) * middle
    start = (round(middle - reach_x), round(middle - reach_y))
    end = (round(middle + reach_x), round(middle + reach_y))
    cv2.line(kernel, start, end, 1.0)
    return np.asarray(cv2.filter2D(pixels, -1, kernel / kernel.sum()), np.uint8)


def coarse(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """A camera of few pixels, enlarged."""
    height, width = pixels.shape[:2]
    scale = random.uniform(0.45, 0.85)
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
