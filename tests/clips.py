"""Moving pictures with exact ground truth: real faces and rendered licence plates over backgrounds.

The face is cut from the astronaut photo, mirrored, tilted, scaled and lit differently; plates are rendered on the rear
of a car. They enter and leave over the edges, cross each other and pass behind a post, under a shaking camera.
How they become files stands in `videos.py`.

Invariants
* The same arguments give the same pictures and the same truth, whatever was rendered before.
* A truth's box is the annotated area as a detector's annotator draws it (of a face forehead to chin, ear to ear),
  behind the post too, cut at the picture's border; `visible` is the share of the uncut area that is seen.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from blurd.core.geometry import clip
from blurd.records import Box, Category
from media import Pixels, astronaut

FACE = (178.0, 68.0, 271.0, 181.0)
"""The astronaut's face, forehead to chin and ear to ear: left, top, right, bottom."""
HEAD = (140, 5, 320, 205)
"""The part of the photo that the cut-out head lies in."""
_OUTLINE = (
    (190, 42), (210, 22), (230, 16), (258, 23), (280, 37), (293, 57), (301, 87), (299, 110), (290, 124), (274, 135),
    (262, 158), (253, 182), (236, 190), (214, 189), (195, 180), (187, 150), (183, 134), (166, 117), (154, 90),
    (156, 66), (168, 50),
)  # fmt: skip
"""The head with hair and neck, traced by hand in the photo."""
SMALLEST_PX = 16
"""Width of the smallest face or plate."""


@dataclass(frozen=True, slots=True)
class Truth:
    """One object in one frame. `track` stays the same from entering to leaving; who comes back is a new one."""

    track: int
    category: Category
    box: Box
    visible: float


def mot_lines(index: int, truths: Sequence[Truth]) -> str:
    """The truth of one frame, from 0, as MOTChallenge's text."""
    return "".join(
        f"{index + 1},{truth.track},{box.left},{box.top},{box.width},{box.height},1,{truth.category},{truth.visible}\n"
        for truth in truths
        for box in (truth.box,)
    )


@dataclass(frozen=True, slots=True)
class Look:
    """What a clip shows. Sizes are the widths of the annotated areas, from the smallest to the largest object."""

    faces: int = 3
    plates: int = 2
    sizes_px: tuple[float, float] = (20.0, 90.0)
    speed: float = 0.25
    """Picture widths a second that the fastest object moves."""
    shake_px: float = 2.0
    blur: bool = True
    """Motion blur of a shutter that is open half of the time."""
    post: bool = True
    """A post in the foreground that objects pass behind."""
    noise: float = 3.0
    """Standard deviation of the sensor's noise."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sprite:
    """Something cut out: (height, width, 4) float32, colours already multiplied by alpha 0..1; `box` is annotated."""

    category: Category
    pixels: NDArray[np.float32]
    box: tuple[float, float, float, float]

    def scaled(self, share: float) -> "_Sprite":
        """Made smaller, with every pixel taken into account."""
        height, width = self.pixels.shape[:2]
        size = (max(1, round(width * share)), max(1, round(height * share)))
        by_x, by_y = size[0] / width, size[1] / height
        left, top, right, bottom = self.box
        pixels = np.asarray(cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA), np.float32)
        return _Sprite(self.category, pixels, (left * by_x, top * by_y, right * by_x, bottom * by_y))

    def mirrored(self) -> "_Sprite":
        left, top, right, bottom = self.box
        width = self.pixels.shape[1]
        return _Sprite(self.category, self.pixels[:, ::-1].copy(), (width - right, top, width - left, bottom))

    def lit(self, gain: float) -> "_Sprite":
        pixels = self.pixels.copy()
        pixels[:, :, :3] = np.minimum(pixels[:, :, :3] * gain, 255.0 * pixels[:, :, 3:])
        return _Sprite(self.category, pixels, self.box)


def face_sprite(colour: tuple[int, int, int]) -> _Sprite:
    """The head above shoulders of a colour."""
    left, top, right, bottom = HEAD
    height, width = bottom - top + 90, right - left + 120
    shift = np.array([60 - left, -top])
    alpha = np.zeros((height, width), np.uint8)
    cv2.fillPoly(alpha, [np.array(_OUTLINE) + shift], 255)
    soft = cv2.GaussianBlur(alpha, (0, 0), 1.5).astype(np.float32)[:, :, np.newaxis] / 255
    head = np.zeros((height, width, 3), np.float32)
    head[: bottom - top, 60 : 60 + right - left] = astronaut()[top:bottom, left:right]
    body = np.zeros((height, width, 4), np.uint8)
    cv2.ellipse(
        body, (width // 2 - 8, height + 20), (width // 2 - 14, 130), 0, 180, 360, (*colour, 255), -1, cv2.LINE_AA
    )
    under = body.astype(np.float32)
    under[:, :, 3] /= 255
    under[:, :, :3] *= under[:, :, 3:] * np.linspace(0.7, 1.0, width, dtype=np.float32)[np.newaxis, :, np.newaxis]
    over = np.concatenate([head * soft, soft], axis=2)
    x0, y0, x1, y1 = FACE
    box = (x0 + shift[0], y0 + shift[1], x1 + shift[0], y1 + shift[1])
    return _Sprite(Category.FACE, np.asarray(over + under * (1 - soft), np.float32), box)


def plate_sprite(text: str, ground: tuple[int, int, int], car: tuple[int, int, int]) -> _Sprite:
    """A plate of 260 x 60 pixels on the rear of a car."""
    image = Image.new("RGBA", (420, 300))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((10, 40, 410, 280), 40, fill=(*car, 255))
    pen.rounded_rectangle((60, 6, 360, 120), 50, fill=(*(part // 3 + 20 for part in car), 255))
    for x in (22, 338):
        pen.rounded_rectangle((x, 130, x + 60, 165), 10, fill=(170, 20, 25, 255))
    pen.rectangle((40, 250, 380, 280), fill=(25, 25, 28, 255))
    box = (80, 175, 340, 235)
    pen.rounded_rectangle(box, 6, fill=(15, 15, 15, 255))
    pen.rounded_rectangle((83, 178, 337, 232), 5, fill=(*ground, 255))
    pen.rectangle((83, 180, 106, 230), fill=(20, 50, 160, 255))
    font = ImageFont.truetype(Path(mpl.get_data_path()) / "fonts/ttf/DejaVuSansMono-Bold.ttf", 46)
    pen.text((222, 206), text, font=font, fill=(12, 12, 14, 255), anchor="mm")
    pixels = np.asarray(image).astype(np.float32)
    pixels[:, :, 3] /= 255
    pixels[:, :, :3] *= pixels[:, :, 3:]
    return _Sprite(Category.PLATE, pixels, tuple(map(float, box)))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Mover:
    """An object on its way through the picture, in pixels and pixels a second."""

    number: int
    levels: tuple[_Sprite, ...]
    """The sprite at falling sizes, each 0.7 of the one before."""
    width_px: float
    start_px: float
    speed: float
    height_px: float
    swing_px: float
    phase: float
    growth: float
    tilt: float

    def size(self, time_s: float) -> float:
        """Width of the annotated area."""
        return max(SMALLEST_PX, self.width_px * (1 + self.growth * math.sin(0.8 * time_s + self.phase)))

    def place(self, time_s: float, picture_width: int) -> tuple[float, float, int]:
        """Centre of the annotated area, and how often the object has come round."""
        margin = 2.5 * self.width_px * (1 + abs(self.growth))
        lap, along = divmod(self.start_px + margin + self.speed * time_s, picture_width + 2 * margin)
        y = self.height_px + self.swing_px * math.sin(1.3 * time_s + self.phase)
        return along - margin, y, int(lap)

    def sprite(self, size_px: float) -> _Sprite:
        """The level that is at least as large as needed."""
        fitting = [level for level in self.levels if level.box[2] - level.box[0] >= size_px]
        return fitting[-1] if fitting else self.levels[0]


def render(
    seed: int, width: int, height: int, frames: int, rate: float = 25.0, look: Look = Look()
) -> Iterator[tuple[Pixels, tuple[Truth, ...]]]:
    """Each frame, (height, width, 3) uint8 RGB, and what is in it."""
    rng = np.random.default_rng(seed)
    movers = _movers(rng, width, height, look)
    margin = math.ceil(3 * look.shake_px) + 8
    ground = background(rng, width + 2 * margin, height + 2 * margin)
    shakes = _shakes(rng, frames + 1, look.shake_px)
    grains = rng.normal(0, look.noise, (4, height, width, 1)).astype(np.float32)
    post = (round(width * rng.uniform(0.35, 0.65)), max(6, round(width * 0.05))) if look.post else None
    flicker = rng.uniform(0, math.tau)
    for index in range(frames):
        shake = shakes[index]
        moment = _Moment(index / rate, 0.5 / rate if look.blur else 0.0, shake, shakes[index + 1])
        left, top = (round(margin - part) for part in shake)
        canvas = ground[top : top + height, left : left + width].copy()
        owner = np.full((height, width), -1, np.int16)
        drawn = [(mover, _paint(canvas, owner, mover, moment)) for mover in movers]
        if post is not None:
            x = slice(max(0, round(post[0] + shake[0])), max(0, round(post[0] + post[1] + shake[0])))
            canvas[:, x] = np.linspace(70, 35, canvas[:, x].shape[1], dtype=np.float32)[np.newaxis, :, np.newaxis]
            owner[:, x] = -1
        canvas *= 1 + 0.06 * math.sin(0.7 * index / rate + flicker)
        canvas += np.roll(grains[index % len(grains)], int(rng.integers(0, width)), axis=1)
        truths = (_truth(mover, painted, owner) for mover, painted in drawn)
        yield np.rint(canvas.clip(0, 255)).astype(np.uint8), tuple(truth for truth in truths if truth is not None)


@dataclass(frozen=True, slots=True)
class _Moment:
    """When the shutter opens, for how long, and where the camera is pushed to meanwhile."""

    time_s: float
    open_s: float
    shake: NDArray[np.float64]
    shake_after: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Painted:
    """The annotated area in the middle of the exposure, uncut, and how many of its pixels the object itself fills."""

    box: Box
    filled_px: float
    lap: int


def _paint(canvas: NDArray[np.float32], owner: NDArray[np.int16], mover: _Mover, moment: _Moment) -> _Painted:
    """Draw an object where it is while the shutter is open; `owner` learns which pixels are its."""
    height, width = owner.shape
    poses = [_pose(mover, moment, share, width) for share in ((0.5, 0.0, 0.25, 0.75, 1.0) if moment.open_s else (0.5,))]
    corners = np.concatenate([pose.corners for pose in poses])
    left, top = (max(0, math.floor(edge) - 1) for edge in corners.min(axis=0))
    right, bottom = (
        min(end, math.ceil(edge) + 2) for end, edge in zip((width, height), corners.max(axis=0), strict=True)
    )
    middle = poses[0]
    if left < right and top < bottom:
        size = (right - left, bottom - top)
        layers = [
            cv2.warpAffine(pose.sprite.pixels, pose.matrix - np.array([[0, 0, left], [0, 0, top]]), size)
            for pose in poses
        ]
        layer = np.mean(layers, axis=0)
        canvas[top:bottom, left:right] *= 1 - layer[:, :, 3:]
        canvas[top:bottom, left:right] += layer[:, :, :3]
        owner[top:bottom, left:right][layers[0][:, :, 3] > 0.5] = mover.number
    return _Painted(middle.box, middle.filled * middle.box.area, middle.lap)


@dataclass(frozen=True, slots=True, eq=False)
class _Pose:
    """An object at one instant: its sprite, the matrix that puts it into the picture, and where that is."""

    sprite: _Sprite
    matrix: NDArray[np.float64]
    corners: NDArray[np.float64]
    box: Box
    filled: float
    lap: int


def _pose(mover: _Mover, moment: _Moment, share: float, picture_width: int) -> _Pose:
    time_s = moment.time_s + share * moment.open_s
    size = mover.size(time_s)
    x, y, lap = mover.place(time_s, picture_width)
    shake_x, shake_y = moment.shake + 0.5 * share * (moment.shake_after - moment.shake)
    sprite = mover.sprite(size)
    left, top, right, bottom = sprite.box
    centre = ((left + right) / 2, (top + bottom) / 2)
    tilt = mover.tilt * math.sin(time_s + mover.phase)
    matrix = np.asarray(cv2.getRotationMatrix2D(centre, tilt, size / (right - left)), np.float64)
    matrix[:, 2] += (x + shake_x - centre[0], y + shake_y - centre[1])
    height, width = sprite.pixels.shape[:2]
    corners = _moved(matrix, ((0, 0), (width, 0), (0, height), (width, height)))
    # The box around an upright oval that is tilted a little is the tilted oval's own extent, not the corners'.
    half = np.array([(right - left) / 2, (bottom - top) / 2])
    reach = np.sqrt((matrix[:, :2] ** 2) @ (half**2)) if mover.tilt else np.abs(matrix[:, :2]) @ half
    ((middle_x, middle_y),) = _moved(matrix, (centre,))
    box = Box(middle_x - reach[0], middle_y - reach[1], middle_x + reach[0], middle_y + reach[1])
    part = sprite.pixels[math.ceil(top) : math.floor(bottom), math.ceil(left) : math.floor(right), 3]
    return _Pose(sprite, matrix, corners, box, float((part > 0.5).mean()), lap)


def _moved(matrix: NDArray[np.float64], points: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = np.array(points) @ matrix[:, :2].T + matrix[:, 2]
    return moved


def _truth(mover: _Mover, painted: _Painted, owner: NDArray[np.int16]) -> Truth | None:
    height, width = owner.shape
    box = clip(painted.box, width, height)
    if box is None:
        return None
    inside = owner[math.floor(box.top) : math.ceil(box.bottom), math.floor(box.left) : math.ceil(box.right)]
    visible = min(1.0, float((inside == mover.number).sum()) / max(painted.filled_px, 1.0))
    track = mover.number + 100 * painted.lap
    return Truth(track, mover.sprite(mover.width_px).category, box, visible) if visible > 0 else None


def _movers(rng: np.random.Generator, width: int, height: int, look: Look) -> tuple[_Mover, ...]:
    """Faces and plates at sizes spread over the range, small ones first, so that the near ones hide the far ones."""
    count = look.faces + look.plates
    kinds = rng.permutation([Category.FACE] * look.faces + [Category.PLATE] * look.plates)
    sizes = np.geomspace(*look.sizes_px, count) if count > 1 else [look.sizes_px[1]] * count
    movers = []
    for number, (kind, size) in enumerate(zip(kinds, sizes, strict=True)):
        sprite = _dressed(rng, Category(kind))
        levels = [sprite]
        while levels[-1].box[2] - levels[-1].box[0] > SMALLEST_PX:
            levels.append(levels[-1].scaled(0.7))
        face = kind == Category.FACE
        movers.append(
            _Mover(
                number=number,
                levels=tuple(levels),
                width_px=float(size),
                start_px=rng.uniform(0.1, 0.9) * width,
                # Every third stands still; the others go either way, so they cross.
                speed=0.0 if number % 3 == 2 else rng.uniform(0.3, 1.0) * look.speed * width * (-1) ** number,
                height_px=rng.uniform(0.3, 0.5 if face else 0.75) * height,
                swing_px=rng.uniform(0.0, 0.05) * height,
                phase=rng.uniform(0, math.tau),
                growth=rng.uniform(0.0, 0.3),
                tilt=rng.uniform(3, 12) if face else 0.0,
            )
        )
    return tuple(movers)


def _dressed(rng: np.random.Generator, kind: Category) -> _Sprite:
    colour = tuple(int(part) for part in rng.integers(30, 220, 3))
    if kind is Category.FACE:
        sprite = face_sprite(colour)  # type: ignore[arg-type]
        return (sprite.mirrored() if rng.random() < 0.5 else sprite).lit(rng.uniform(0.55, 1.25))
    letters = "".join(rng.choice(list("ABCDEFGHKLMNPRSTUVWXYZ"), 3))
    text = f"{letters[:1]} {letters[1:]}{rng.integers(100, 9999)}"
    ground = (245, 245, 240) if rng.random() < 0.6 else (240, 200, 40)
    return plate_sprite(text, ground, colour).lit(rng.uniform(0.6, 1.1))  # type: ignore[arg-type]


def _shakes(rng: np.random.Generator, count: int, shake_px: float) -> NDArray[np.float64]:
    """(count, 2): a random walk that is pulled back, within three times `shake_px`."""
    places = np.zeros((count, 2))
    for index in range(1, count):
        places[index] = 0.8 * places[index - 1] + rng.normal(0, 0.6 * shake_px, 2)
    return places.clip(-3 * shake_px, 3 * shake_px)


@cache
def _photos() -> tuple[Pixels, ...]:
    """Photos without people that come with scikit-image and are in the public domain (CC0)."""
    names = ("coffee.png", "brick.png", "grass.png", "gravel.png", "rocket.jpg")
    folder = Path(skimage.data.__file__).parent
    return tuple(np.asarray(Image.open(folder / name).convert("RGB")) for name in names)


def background(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    """A photo, or a gradient with texture: (height, width, 3), 0..255."""
    choice = int(rng.integers(0, len(_photos()) + 2))
    if choice < len(_photos()):
        photo = Image.fromarray(_photos()[choice])
        side = min(photo.width / width, photo.height / height)
        box = (0, 0, width * side, height * side)
        ground = np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC, box=box)).astype(np.float32)
    else:
        corners = rng.uniform(40, 210, (2, 2, 3)).astype(np.float32)
        ground = np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        coarse = rng.normal(0, 14, (max(2, height // 12), max(2, width // 12), 1)).astype(np.float32)
        ground += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[:, :, np.newaxis]
    mild: NDArray[np.float32] = (ground * 0.85 + 15).clip(0, 255)
    return mild
