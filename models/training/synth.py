"""Synthetic plates of many countries, and look-alikes that are not plates, rendered with real fonts.

Invariants
- A rendered item is an image with an alpha channel; its outline is the plate's (or the look-alike's) outline.
- Texts are random: no rendered plate is meant to be anybody's.

The bank is rendered once into one file; training draws from it (see `data.py`).
"""

from __future__ import annotations

import argparse
import pickle
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from lettering import LATIN, LETTERS, Colour, FontShelf, put_text, random_text, text_mask
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORDS: Final = (
    "STOP",
    "EXIT",
    "TAXI",
    "POLICE",
    "PARKING",
    "BUS",
    "HOTEL",
    "SALE",
    "OPEN",
    "CAFE",
    "PIZZA",
    "BANK",
    "SHOP",
    "SPORT",
    "TURBO",
    "DIESEL",
    "Service",
    "Transport",
    "www.example.com",
    "info@example.org",
    "GmbH",
    "Ltd",
    "S.A.",
    "AMBULANCE",
    "SCHOOL",
    "NO ENTRY",
    "SPEED LIMIT",
    "ONE WAY",
    "Centrum",
    "Market",
    "Express",
    "City",
    "Auto",
    "Bakery",
    "Fresh",
    "2.0 TDI",
    "4x4",
    "HYBRID",
    "Quattro",
    "LIMITED",
    "Rent a car",
    "TO LET",
    "For sale",
)
PAIRS: Final[tuple[tuple[float, Colour, Colour], ...]] = (  # weight, background, letters; RGB
    (30, (240, 240, 238), (15, 15, 20)),
    (10, (245, 205, 40), (15, 15, 15)),
    (5, (15, 15, 18), (235, 235, 235)),
    (5, (25, 60, 150), (245, 245, 245)),
    (4, (20, 110, 60), (245, 245, 245)),
    (4, (240, 240, 240), (170, 20, 25)),
    (4, (240, 240, 240), (20, 40, 140)),
    (4, (240, 240, 240), (10, 100, 50)),
    (3, (180, 25, 30), (245, 245, 245)),
    (3, (150, 215, 170), (15, 15, 15)),
    (2, (235, 120, 35), (15, 15, 15)),
    (3, (200, 200, 195), (30, 30, 30)),
    (2, (15, 15, 18), (240, 200, 60)),
    (2, (190, 215, 235), (20, 30, 90)),
    (1, (120, 30, 60), (240, 240, 240)),
    (2, (250, 235, 180), (30, 30, 30)),
    (1, (235, 150, 170), (20, 20, 20)),
    (1, (15, 15, 15), (80, 200, 110)),
)


@dataclass(frozen=True)
class Item:
    """One rendered picture: PNG bytes (BGRA), the same at a third, whether it is a plate, its width over its height."""

    png: bytes
    small_png: bytes
    is_plate: bool
    aspect: float


def jitter(colour: Colour, choose: random.Random, amount: int = 18) -> Colour:
    """The colour with each channel moved by up to `amount`."""
    red, green, blue = (min(255, max(0, channel + choose.randint(-amount, amount))) for channel in colour)
    return red, green, blue


class PlateRenderer:
    """Draws one random plate or one random look-alike at a time."""

    def __init__(self, fonts: FontShelf, seed: int) -> None:
        self._fonts = fonts
        self._choose = random.Random(seed)
        self._noise = np.random.default_rng(seed)

    def plate(self) -> Item:
        """A plate: colours, lines, bands, border, then wear."""
        choose = self._choose
        aspect = choose.choice(
            [
                choose.uniform(4.2, 5.0),
                choose.uniform(3.0, 4.2),
                choose.uniform(1.8, 2.4),
                choose.uniform(1.15, 1.7),
                choose.uniform(2.2, 3.2),
                choose.uniform(1.0, 1.4) if choose.random() < 0.5 else choose.uniform(4.5, 5.4),
            ]
        )
        script = "latin" if choose.random() < 0.5 else choose.choice(self._fonts.scripts)
        weights = [pair[0] for pair in PAIRS]
        _, back, front = choose.choices(PAIRS, weights)[0]
        back, front = jitter(back, choose), jitter(front, choose)
        picture = Image.new("RGB", (384, max(80, round(384 / aspect))), back)
        if choose.random() < 0.12:
            self._scenery(picture, back)
        self._letters(picture, script, aspect, front)
        self._furniture(picture, front)
        return self._finish(picture, aspect, is_plate=True, round_corner=choose.uniform(0.02, 0.14))

    def _scenery(self, picture: Image.Image, back: Colour) -> None:
        """Pale gradients and blobs, as on pictorial plates."""
        width, height = picture.size
        other = jitter(back, self._choose, 70)
        downwards = self._choose.random() < 0.6
        ramp = np.linspace(0, 1, height)[:, None, None] if downwards else np.linspace(0, 1, width)[None, :, None]
        mixed = np.asarray(back, np.float64) * (1 - ramp) + np.asarray(other, np.float64) * ramp
        picture.paste(Image.fromarray(np.broadcast_to(mixed, (height, width, 3)).astype(np.uint8)))
        pen = ImageDraw.Draw(picture)
        for _ in range(self._choose.randint(0, 4)):
            x, y, r = self._choose.randint(0, width), self._choose.randint(0, height), self._choose.randint(10, 60)
            pen.ellipse((x - r, y - r // 2, x + r, y + r // 2), fill=jitter(other, self._choose, 30))

    def _letters(self, picture: Image.Image, script: str, aspect: float, front: Colour) -> None:
        choose, fonts = self._choose, self._fonts
        font = fonts.pick(script, choose)
        latin = fonts.pick("latin", choose)
        left, right = choose.uniform(0.03, 0.1), choose.uniform(0.9, 0.97)
        if choose.random() < 0.3 and aspect > 2.4:
            left = self._band(picture, left)
        top, bottom = choose.uniform(0.1, 0.2), choose.uniform(0.8, 0.92)
        if aspect < 1.75 or (aspect < 3 and choose.random() < 0.3):
            split = choose.uniform(0.35, 0.6)
            first = random_text(script, choose, choose.choice([2, 3, 4]))
            second = random_text(choose.choice([script, "latin"]), choose, choose.choice([3, 4, 4]))
            put_text(picture, (left, top * 0.8, right, split - 0.03), first, font, front)
            below = choose.choice([font, latin]) if script == "latin" else font
            put_text(picture, (left, split + 0.03, right, bottom + 0.02), second, below, front)
            return
        if aspect < 3.3 and choose.random() < 0.55:
            small = choose.uniform(0.2, 0.32)
            words = "".join(choose.choice(LETTERS[script]) for _ in range(choose.randint(3, 9)))
            if choose.random() < 0.5:
                put_text(picture, (0.2, 0.04, 0.8, small - 0.02), words, font, front)
                top = small
            else:
                put_text(picture, (0.2, 1 - small + 0.03, 0.8, 0.96), words, font, front)
                bottom = 1 - small
        text = random_text(script, choose, choose.choice([4, 5, 6, 6, 7, 7]))
        if script != "latin" and choose.random() < 0.35:  # both scripts, as on plates of the Gulf
            pen = ImageDraw.Draw(picture)
            middle = (top + bottom) / 2
            put_text(picture, (left, top, right, middle - 0.03), text, font, front)
            put_text(picture, (left, middle + 0.03, right, bottom), random_text("latin", choose, 6), latin, front)
            if choose.random() < 0.5:
                pen.line((0, middle * picture.height, picture.width, middle * picture.height), fill=front, width=3)
            return
        put_text(picture, (left, top, right, bottom), text, font, front, stretch=choose.uniform(0.8, 1.6))

    def _band(self, picture: Image.Image, left: float) -> float:
        """A coloured band at the left (or right) edge; returns where the text may begin."""
        choose = self._choose
        width, height = picture.size
        share = choose.uniform(0.07, 0.12)
        colour = choose.choice([(20, 50, 150), (20, 50, 150), (20, 110, 60), (170, 20, 30), (230, 190, 40)])
        at_right = choose.random() < 0.25
        box = (round(width * (1 - share)), 0, width, height) if at_right else (0, 0, round(width * share), height)
        ImageDraw.Draw(picture).rectangle(box, fill=jitter(colour, choose))
        country = "".join(choose.choice(LATIN) for _ in range(choose.choice([1, 2, 3])))
        edge = 1 - share if at_right else 0.0
        face = self._fonts.pick("latin", choose)
        put_text(picture, (edge + 0.01, 0.6, edge + share - 0.01, 0.88), country, face, (240, 240, 240))
        return left if at_right else share + 0.03

    def _furniture(self, picture: Image.Image, front: Colour) -> None:
        """Border line, top strip, stickers and screws."""
        choose = self._choose
        pen = ImageDraw.Draw(picture)
        width, height = picture.size
        if choose.random() < 0.1:
            strip = round(height * choose.uniform(0.12, 0.22))
            colour = choose.choice([(20, 50, 150), (170, 20, 30), (20, 110, 60)])
            pen.rectangle((0, 0, width, strip), fill=colour)
            word = "".join(choose.choice(LATIN) for _ in range(choose.randint(4, 10)))
            face = self._fonts.pick("latin", choose)
            put_text(picture, (0.3, 0.01, 0.7, strip / height - 0.02), word, face, (240, 240, 240))
        if choose.random() < 0.6:
            inset = choose.randint(2, 7)
            outline = (inset, inset, width - inset, height - inset)
            pen.rounded_rectangle(outline, choose.randint(4, 20), outline=front, width=choose.randint(2, 6))
        for _ in range(choose.choice([0, 0, 1, 2])):
            x, y = choose.uniform(0.1, 0.9) * width, choose.uniform(0.15, 0.85) * height
            r = choose.uniform(0.05, 0.11) * height
            pen.ellipse((x - r, y - r, x + r, y + r), fill=jitter((150, 150, 150), choose, 90))
        if choose.random() < 0.3:
            for x in (0.2, 0.8):
                y, r = choose.choice([0.1, 0.5, 0.9]) * height, 0.03 * height + 2
                pen.ellipse((x * width - r, y - r, x * width + r, y + r), fill=(90, 90, 90))

    def look_alike(self) -> Item:
        """Something with letters or bars that is not a plate: bare words, panels, overlays, grilles, round signs."""
        choose = self._choose
        kind = choose.random()
        aspect = choose.choice([choose.uniform(1.0, 2.0), choose.uniform(2.0, 5.0), choose.uniform(5.0, 12.0)])
        front = jitter(choose.choice([(20, 20, 20), (240, 240, 240), (200, 30, 30), (240, 200, 40)]), choose)
        picture = Image.new("RGB", (384, max(32, round(384 / aspect))), jitter((128, 128, 128), choose, 120))
        latin = self._fonts.pick("latin", choose)
        if kind < 0.2:
            self._grille(picture)
            return self._finish(picture, aspect, is_plate=False, round_corner=choose.uniform(0, 0.4))
        if kind < 0.5:
            return self._bare(self._words(1 if aspect < 6 else 3), 384, picture.height, front)
        if kind < 0.6:
            return self._bare(self._stamp(), 640, 48, choose.choice([(250, 250, 250), (250, 230, 60), (20, 20, 20)]))
        if kind > 0.9:
            ImageDraw.Draw(picture).rectangle((0, 0, *picture.size), fill=(240, 240, 240))
            limit = str(choose.choice([20, 30, 40, 50, 60, 80, 100]))
            put_text(picture, (0.25, 0.25, 0.75, 0.75), limit, latin, (20, 20, 20))
            ring = (2, 2, picture.width - 2, picture.height - 2)
            ImageDraw.Draw(picture).ellipse(ring, outline=(200, 20, 30), width=picture.height // 8)
            return self._finish(picture, aspect, is_plate=False, round_corner=0.5)
        lines = max(2, round(6 / aspect)) if aspect < 5 else 1
        foreign = self._fonts.pick(choose.choice(self._fonts.scripts), choose)
        for line in range(lines):
            box = (0.05, (line + 0.12) / lines, 0.95, (line + 0.88) / lines)
            put_text(
                picture, box, self._words(choose.randint(1, 4)), foreign if choose.random() < 0.3 else latin, front
            )
        return self._finish(picture, aspect, is_plate=False, round_corner=choose.uniform(0, 0.2))

    def _bare(self, text: str, width: int, height: int, colour: Colour) -> Item:
        """Letters without a ground, on whatever lies below."""
        mask = text_mask(text, self._fonts.pick("latin", self._choose), width, height, 1.5)
        coloured = Image.new("RGB", mask.size, colour)
        coloured.putalpha(mask)
        return self._pack(np.asarray(coloured), mask.width / mask.height, is_plate=False)

    def _stamp(self) -> str:
        """What a camera writes into its picture: date, time, place."""
        choose = self._choose
        day = f"{choose.randint(2009, 2030)}-{choose.randint(1, 12):02}-{choose.randint(1, 28):02}"
        clock = f"{choose.randint(0, 23):02}:{choose.randint(0, 59):02}:{choose.randint(0, 59):02}"
        return f"{day} {clock}" + choose.choice(["", f" {choose.randint(5, 130)} km/h", " CAM 01", " N 45.1 E 25.3"])

    def _words(self, count: int) -> str:
        return " ".join(self._choose.choice(WORDS) for _ in range(count))

    def _grille(self, picture: Image.Image) -> None:
        """Bars or a mesh, as on radiators, vents and shutters."""
        choose = self._choose
        pen = ImageDraw.Draw(picture)
        width, height = picture.size
        dark, light = jitter((40, 40, 40), choose, 35), jitter((140, 140, 140), choose, 80)
        pen.rectangle((0, 0, width, height), fill=dark)
        step = choose.randint(8, 40)
        if choose.random() < 0.75:
            for y in range(0, height, step):
                pen.rectangle((0, y, width, y + step // 3), fill=light)
        if choose.random() < 0.55:
            for x in range(0, width, step):
                pen.rectangle((x, 0, x + step // 3, height), fill=light)

    def _finish(self, picture: Image.Image, aspect: float, *, is_plate: bool, round_corner: float) -> Item:
        """Shading, dirt and rounded corners."""
        choose = self._choose
        pixels = np.asarray(picture).astype(np.float32)
        height, width = pixels.shape[:2]
        pixels += np.linspace(-1, 1, height, dtype=np.float32)[:, None, None] * choose.uniform(-25, 25)
        pixels += np.linspace(-1, 1, width, dtype=np.float32)[None, :, None] * choose.uniform(-25, 25)
        if choose.random() < 0.35:
            coarse = self._noise.normal(0, choose.uniform(8, 45), (4, 12)).astype(np.float32)
            pixels += np.minimum(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 10)[..., None]
        alpha = Image.new("L", picture.size, 0)
        ImageDraw.Draw(alpha).rounded_rectangle((0, 0, width - 1, height - 1), round(round_corner * height), fill=255)
        result = np.dstack([np.clip(pixels, 0, 255).astype(np.uint8), np.asarray(alpha)])
        if is_plate and choose.random() < 0.25:  # a holder, outside the plate's own outline on purpose thin
            margin = choose.randint(3, 10)
            shade = choose.randint(10, 60)
            frame = (shade, shade, shade, 255)
            result = cv2.copyMakeBorder(result, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=frame)
            aspect = result.shape[1] / result.shape[0]
        return self._pack(result, aspect, is_plate=is_plate)

    @staticmethod
    def _pack(rgba: NDArray[np.uint8], aspect: float, *, is_plate: bool) -> Item:
        picture = cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA)
        third = cv2.resize(picture, None, fx=1 / 3, fy=1 / 3, interpolation=cv2.INTER_AREA)
        return Item(_png(picture), _png(third), is_plate, aspect)


def _png(picture: Any) -> bytes:
    done, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise RuntimeError("encoding a rendered plate failed")
    return bytes(data)


def render_bank(fonts: Path, target: Path, plates: int, look_alikes: int, seed: int = 1) -> None:
    """Render the bank into one file, unless it is there."""
    if target.exists():
        return
    renderer = PlateRenderer(FontShelf(fonts), seed)
    items = [renderer.plate() for _ in range(plates)] + [renderer.look_alike() for _ in range(look_alikes)]
    partial = target.with_suffix(".partial")
    partial.write_bytes(pickle.dumps([(item.png, item.small_png, item.is_plate, item.aspect) for item in items]))
    partial.replace(target)


def load_bank(source: Path) -> tuple[list[Item], list[Item]]:
    """The plates and the look-alikes of a bank that `render_bank` wrote (a local file of our own)."""
    items = [Item(*fields) for fields in pickle.loads(source.read_bytes())]  # noqa: S301  # our own file
    return [item for item in items if item.is_plate], [item for item in items if not item.is_plate]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="render the bank of synthetic plates")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--plates", type=int, default=6000)
    parser.add_argument("--look-alikes", type=int, default=2000)
    arguments = parser.parse_args()
    render_bank(arguments.fonts, arguments.target, arguments.plates, arguments.look_alikes)
