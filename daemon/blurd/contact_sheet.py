"""A contact sheet of a published copy: a quick look that shows nobody. The original is never opened.

Invariants
* The very file that is decoded was hashed before, through the same handle, and is what the receipt says; else nothing
  is shown. Somebody may have put the original in the copy's place.
* At most `PICTURES` frames are decoded to be shown, whatever the length.
"""

from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image, ImageDraw, ImageFont

from blurd.adapters.files import sha256_of
from blurd.adapters.folders import InboundFolder
from blurd.adapters.video.source import VideoSource
from blurd.config import FolderSettings, Settings
from blurd.equipment import build_codec
from blurd.errors import BlurdError, EquipmentError, Reason
from blurd.records import MediaKind, RgbPicture

PICTURES = 12
COLUMNS = 4
WIDTH_PX = 400
"""The width of one frame of a video on the sheet."""
PHOTO_PX = 1600
"""The longer side of a photo alone on its sheet, at most."""
_CAPTION_PX = 24
_GAP_PX = 6
_GROUND = (32, 32, 32)
_INK = (230, 230, 230)

Shown = tuple[str, Image.Image]
"""A caption and a picture."""


def sheet(settings: Settings, folder: FolderSettings, outbound: InboundFolder, name: str, sha256: str) -> Image.Image:
    """The sheet of the copy that lies at `name` below outbound. Raises COPY_DIFFERS where it is not the one."""
    try:
        with outbound.open(name, allow_hard_links=True) as file:
            if sha256_of(file) != sha256:
                raise EquipmentError(Reason.COPY_DIFFERS, "open copy", "Its content is another one.")
            return _drawn(list(_shown(settings, folder, file)))
    except BlurdError as error:
        if error.reason is Reason.SOURCE_VANISHED:
            raise EquipmentError(Reason.COPY_DIFFERS, "open copy", "No file has its name any more.") from None
        raise


def _shown(settings: Settings, folder: FolderSettings, file: BinaryIO) -> Iterator[Shown]:
    source = build_codec(settings.limits, folder).open(file)
    if source.facts.kind is MediaKind.IMAGE:
        pages = source.facts.frames
        for number, page in enumerate(source.frames()):
            if number == PICTURES:
                return
            size = PHOTO_PX if pages == 1 else WIDTH_PX
            yield "" if pages == 1 else f"page {number + 1} of {pages}", _picture(page.rgb(), size)
        return
    number = min(PICTURES, source.facts.frames)
    for place in range(number):
        yield from _moment(source, (place + 0.5) / number)


def _moment(source: object, share: float) -> Iterator[Shown]:
    frame = source.frame_at(share) if isinstance(source, VideoSource) else None
    if frame is not None:
        yield clock_time(frame.time_s), _picture(frame.rgb(), WIDTH_PX)


def clock_time(seconds: float) -> str:
    """Hours, minutes, seconds and tenths."""
    tenths = round(seconds * 10)
    return f"{tenths // 36_000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"


def _picture(pixels: RgbPicture, longest_px: int) -> Image.Image:
    picture = Image.fromarray(pixels)
    picture.thumbnail((longest_px, longest_px))
    return picture


def _drawn(shown: list[Shown]) -> Image.Image:
    """The pictures in rows, each under its caption; one alone as it is."""
    if not shown:
        raise EquipmentError(Reason.COPY_DIFFERS, "draw sheet", "It has no frame that can be shown.")
    if len(shown) == 1 and not shown[0][0]:
        return shown[0][1]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    width = max(picture.width for _, picture in shown) + _GAP_PX
    height = max(picture.height for _, picture in shown) + _CAPTION_PX + _GAP_PX
    drawn = Image.new("RGB", (columns * width + _GAP_PX, rows * height + _GAP_PX), _GROUND)
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(16)
    for number, (caption, picture) in enumerate(shown):
        left, top = _GAP_PX + number % columns * width, _GAP_PX + number // columns * height
        pen.text((left, top), caption, _INK, font)
        drawn.paste(picture, (left, top + _CAPTION_PX))
    return drawn
