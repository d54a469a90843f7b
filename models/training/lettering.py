# ruff: noqa: RUF001  # letters of other alphabets that look like Latin ones are the point here
"""Registrations in the world's scripts: alphabets, the fonts that have them, and drawing text into a box.

Fonts are those that Debian's packages put under one folder; nothing is downloaded.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    import random
    from pathlib import Path

Colour = tuple[int, int, int]

LATIN: Final = "ABCDEFGHJKLMNPRSTUVWXYZ"
LETTERS: Final[dict[str, str]] = {
    "latin": LATIN,
    "cyrillic": "АВЕКМНОРСТУХ",
    "greek": "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "arabic": "ابحدرسصطعفقكلمنهوى",
    "thai": "กขคฆงจฉชซฌญฎฐณดตถทธนบปผพภมยรลวศษสหฬอฮ",
    "chinese": "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼",
    "japanese": "さすせそたちつてとなにぬねのはひふほまみむめもやゆらりるろ",
    "korean": "가나다라마거너더러머버서어저고노도로모보소오조구누두루무부수우주",
    "devanagari": "कखगघचछजझटठडणतथदधनपफबभमयरलवशसह",
    "bengali": "কখগঘচছজঝটঠডঢতথদধনপফবভমযরলশসহ",
    "tamil": "கஙசஞடணதநபமயரலவழளறன",
    "telugu": "కఖగఘచజటడణతదనపబమయరలవశసహ",
    "gurmukhi": "ਕਖਗਘਚਜਟਡਤਦਨਪਬਮਯਰਲਵਸਹ",
    "hebrew": "אבגדהוזחטיכלמנ",
    "khmer": "កខគឃងចឆជឈញដឋឌឍណតថទធនបផពភមយរលវសហ",
    "lao": "ກຂຄງຈສຊຍດຕຖທນບປຜຝພຟມຢຣລວຫອຮ",
    "myanmar": "ကခဂငစဆဇညတထဒနပဖဗမယရလဝသဟအ",
    "ethiopic": "ሀለሐመሠረሰሸቀበተኀነአከወዘየደገጠጸፈ",
    "georgian": "აბგდევზთიკლმნოპრსტ",
    "armenian": "ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀ",
}
DIGITS: Final[dict[str, str]] = {
    "arabic": "٠١٢٣٤٥٦٧٨٩",
    "persian": "۰۱۲۳۴۵۶۷۸۹",
    "devanagari": "०१२३४५६७८९",
    "bengali": "০১২৩৪৫৬৭৮৯",
    "khmer": "០១២៣៤៥៦៧៨៩",
    "thai": "0123456789",
    "myanmar": "၀၁၂၃၄၅၆၇၈၉",
}
FONT_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "latin": (
        "DejaVuSans-Bold",
        "DejaVuSansCondensed-Bold",
        "DejaVuSansMono-Bold",
        "LiberationSans-Bold",
        "LiberationSansNarrow-Bold",
        "LiberationMono-Bold",
        "Roboto-Bold",
        "Roboto-Medium",
        "RobotoCondensed-Bold",
        "Lato-Bold",
        "Lato-Black",
        "Hack-Bold",
        "OpenSans-Bold",
        "OpenSans-CondBold",
        "FreeSansBold",
        "FreeMonoBold",
        "NimbusSansNarrow-Bold",
        "NimbusSans-Bold",
        "NimbusMonoPS-Bold",
        "NotoSans-Bold",
        "NotoSans-CondensedBold",
        "NotoSans-ExtraCondensedBold",
        "NotoSans-Medium",
        "NotoSans-Condensed",
        "NotoSansMono-Bold",
        "DSEG14Classic-Bold",
        "LiberationSans-Regular",
        "Roboto-Regular",
        "FreeSans",
        "NotoSerif-Bold",
        "URWGothic-Demi",
    ),
    "arabic": ("NotoSansArabic-Bold", "NotoKufiArabic-Bold", "NotoNaskhArabic-Bold", "Amiri-Bold", "FreeSerifBold"),
    "thai": ("NotoSansThai-Bold", "Loma-Bold", "Waree-Bold", "Garuda-Bold", "TlwgTypo-Bold", "Kinnari-Bold"),
    "chinese": ("NotoSansCJK-Bold", "NotoSerifCJK-Bold", "NotoSansCJK-Regular", "wqy-zenhei"),
    "devanagari": ("NotoSansDevanagari-Bold", "NotoSerifDevanagari-Bold"),
    "bengali": ("NotoSansBengali-Bold", "NotoSerifBengali-Bold"),
}
FONT_SAME_AS: Final = {"japanese": "chinese", "korean": "chinese", "cyrillic": "latin", "greek": "latin"}


class FontShelf:
    """The installed fonts by script; loaded faces are kept."""

    def __init__(self, folder: Path) -> None:
        files = {path.stem: path for path in sorted(folder.rglob("*.[to]t[fc]"))}
        self._files: dict[str, list[Path]] = {}
        for script in LETTERS:
            source = FONT_SAME_AS.get(script, script)
            names = FONT_NAMES.get(source)
            if names is None:
                title = source.capitalize()
                names = tuple(f"Noto{kind}{title}-Bold" for kind in ("Sans", "Serif"))
            found = [files[name] for name in names if name in files]
            if found:
                self._files[script] = found
        if "latin" not in self._files:
            raise SystemExit(f"no usable font under {folder}: install the font packages of README.md")
        self._faces: dict[Path, ImageFont.FreeTypeFont] = {}

    @property
    def scripts(self) -> list[str]:
        return sorted(self._files)

    def pick(self, script: str, choose: random.Random) -> Face:
        """One face of the script at 96 px, with a Latin one beside it."""
        return self._load(choose.choice(self._files[script])), self._load(choose.choice(self._files["latin"]))

    def _load(self, path: Path) -> ImageFont.FreeTypeFont:
        if path not in self._faces:
            self._faces[path] = ImageFont.truetype(str(path), 96)
        return self._faces[path]


Face = tuple[ImageFont.FreeTypeFont, ImageFont.FreeTypeFont]
"""A script's font, and a Latin one for the ASCII characters that script fonts often lack."""


def text_mask(text: str, face: Face, width_px: int, height_px: int, stretch: float) -> Image.Image:
    """The text as an 8-bit mask that fits the box; widened by at most `stretch` beyond the font's own shape."""
    runs = ["".join(group) for _, group in itertools.groupby(text, key=str.isascii)]
    fonts = [face[1] if run.isascii() else face[0] for run in runs]
    lengths = [font.getlength(run) for run, font in zip(runs, fonts, strict=True)]
    canvas = Image.new("L", (int(sum(lengths)) + 40, 220), 0)
    pen, x = ImageDraw.Draw(canvas), 20.0
    for run, font, length in zip(runs, fonts, lengths, strict=True):
        pen.text((x, 140), run, fill=255, font=font, anchor="ls")
        x += length
    canvas = canvas.crop(canvas.getbbox() or (0, 0, 4, 4))
    scale_y = height_px / canvas.height
    scale_x = min(width_px / canvas.width, scale_y * stretch)
    scale_y = min(scale_y, scale_x * 1.9)
    size = (max(1, round(canvas.width * scale_x)), max(1, round(canvas.height * scale_y)))
    return canvas.resize(size, Image.Resampling.BILINEAR)


def put_text(
    picture: Image.Image,
    box: tuple[float, float, float, float],
    text: str,
    font: Face,
    colour: Colour,
    stretch: float = 1.3,
) -> None:
    """Draw the text centred in box (left, top, right, bottom; shares of the picture's sides)."""
    width, height = picture.size
    left, right = round(box[0] * width), round(box[2] * width)
    top, bottom = round(box[1] * height), round(box[3] * height)
    if right - left < 3 or bottom - top < 3:
        return
    mask = text_mask(text, font, right - left, bottom - top, stretch)
    corner = ((left + right - mask.width) // 2, (top + bottom - mask.height) // 2)
    picture.paste(Image.new("RGB", mask.size, colour), corner, mask)


def random_text(script: str, choose: random.Random, length: int) -> str:
    """Characters of a registration: groups of letters and digits."""
    letters = LETTERS[script]
    digits = "0123456789"
    if script in DIGITS and choose.random() < 0.7:
        digits = choose.choice([DIGITS[script], DIGITS["persian"]]) if script == "arabic" else DIGITS[script]
    style = choose.random()
    alphabetic = script in ("latin", "cyrillic", "greek", "armenian")
    count = min(choose.choice([0, 1, 2, 2, 3, 3] if alphabetic else [0, 1, 1, 2]), length)
    head = "".join(choose.choice(letters) for _ in range(count))
    tail = "".join(choose.choice(digits) for _ in range(length - count))
    if style < 0.25 and len(tail) > 2:
        cut = choose.randint(1, len(tail) - 1)
        extra = "".join(choose.choice(LATIN) for _ in range(choose.choice([1, 2, 3])))
        end = extra if script == "latin" else tail[cut:]
        return head + choose.choice(["", " ", "-", "·"]) + tail[:cut] + choose.choice(["", " ", "-"]) + end
    if style < 0.5:
        return tail + choose.choice(["", " ", "-"]) + head
    return head + choose.choice(["", " ", "-", "·", ":"]) + tail
