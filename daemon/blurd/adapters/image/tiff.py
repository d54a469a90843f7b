"""TIFF and BigTIFF: grey, RGB, CMYK and palettes with 1 to 16 bits, strips or tiles, one plane or several, many pages.

Each page is a frame of the source and is masked on its own. Reduced copies of other pages and the pages below a page
(previews, pyramids) are dropped. Refused: camera raw, floating point, Lab, pages that are transparency masks, more than
one extra channel.

Lossless compressions are undone to bytes (deflate here, with its checksum; LZW, PackBits, Zstandard and LZMA by
libtiff, which is shown the page as a grey picture as wide as its rows have bytes), so samples stay exact whatever the
page's layout is. Fax, JPEG and YCbCr pages are decoded by libtiff as pictures.

The copy is uncompressed where the source was, else deflated with a predictor; a JPEG inside a TIFF becomes lossless.
Resolution, names and dates go.

Invariants
* The limits are checked for every page before any is decoded; one page is decoded at a time.
* libtiff is fed one page rebuilt from the tags that it needs, never the file.
"""

import io
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurd.adapters.image import guard, tiff_writer
from blurd.adapters.image.document import Document, ImageLimits, damaged, unsupported
from blurd.adapters.image.pixels import ColourModel, Extra, Picture, upright, upright_size
from blurd.adapters.image.tiff_samples import PageLayout, samples_of
from blurd.core.containers import BytesReader, Format, icc, tiff, tiff_page
from blurd.core.containers.reader import View
from blurd.core.masking import Samples

_DNG_VERSION, _OLD_SUBFILE_TYPE = 50706, 255
_REDUCED, _TRANSPARENCY_MASK = 1, 4
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_MODELS = {
    _WHITE_IS_ZERO: ColourModel.GREY,
    _BLACK_IS_ZERO: ColourModel.GREY,
    _RGB: ColourModel.RGB,
    _PALETTE: ColourModel.GREY,
    _CMYK: ColourModel.CMYK,
}
_EXTRAS = {0: Extra.UNKNOWN, 1: Extra.PREMULTIPLIED, 2: Extra.ALPHA}
_LOSSLESS = frozenset({1, 5, 8, 32773, 32946, 34925, 50000})
_BY_LIBTIFF = frozenset({2, 3, 4, 7})
_NONE = 1
_LIBTIFF_MODES = {"L": ColourModel.GREY, "RGB": ColourModel.RGB, "CMYK": ColourModel.CMYK}


class TiffDocument(Document):
    """One opened TIFF file."""

    source = Format.TIFF

    def __init__(self, data: bytes, limits: ImageLimits) -> None:
        self.written = Format.TIFF
        self._reader = BytesReader(data)
        view = View(self._reader)
        with guard.decoding("read the TIFF header"):
            self._layout, first = tiff.layout_of(view)
            self._pages = [page for page in tiff.pages(view, self._layout, first) if self._is_picture(view, page)]
            if not self._pages:
                raise unsupported()
            limits.check_pages(len(self._pages))
            layouts = [self._page_layout(view, page) for page in self._pages]
            for layout in layouts:
                limits.check_size(layout.width, layout.height)
                limits.check_size(layout.stored_width, layout.stored_height)
            self._orientations = [self._orientation(view, page) for page in self._pages]
            self._compressed = any(layout.compression != _NONE for layout in layouts)
        self.width, self.height = upright_size(layouts[0].width, layouts[0].height, self._orientations[0])
        self.pages = len(self._pages)

    def _is_picture(self, view: View, page: tiff.Page) -> bool:
        """False for a reduced copy of another page."""
        if _DNG_VERSION in page.tags:
            raise unsupported()
        kind = tiff.integer(view, self._layout, page, tiff.SUBFILE_TYPE, 0)
        old_kind = tiff.integer(view, self._layout, page, _OLD_SUBFILE_TYPE, 0)
        if kind & _TRANSPARENCY_MASK:
            raise unsupported()
        return not kind & _REDUCED and old_kind != 2  # noqa: PLR2004

    def _orientation(self, view: View, page: tiff.Page) -> int:
        value = tiff.integer(view, self._layout, page, tiff.ORIENTATION, 1)
        return value if 1 <= value <= 8 else 1  # noqa: PLR2004

    def _page_layout(self, view: View, page: tiff.Page) -> PageLayout:
        layout = PageLayout.of(view, self._layout, page)
        photometric = layout.photometric
        if set(layout.sample_format) != {1} or layout.compression not in _LOSSLESS | _BY_LIBTIFF:
            raise unsupported()
        if photometric == _YCBCR and layout.compression in _BY_LIBTIFF:
            return layout
        model = _MODELS.get(photometric)
        if model is None or not 0 <= layout.samples - model.value <= 1 or layout.bits not in {1, 2, 4, 8, 16}:
            raise unsupported()
        if layout.bits < 8 and layout.samples != 1:  # noqa: PLR2004
            raise unsupported()
        if photometric == _PALETTE and (layout.samples != 1 or layout.bits > 8):  # noqa: PLR2004
            raise unsupported()
        return layout

    def picture(self, index: int) -> Picture:
        """Decode one page."""
        view = View(self._reader)
        page = self._pages[index]
        with guard.decoding("decode the TIFF"), guard.captured():
            layout = self._page_layout(view, page)
            spans = tiff.pixel_spans(view, self._layout, page)
            profile = tiff.values(view, page, tiff.ICC_PROFILE, icc.MAX_PROFILE_BYTES)
            if layout.compression in _LOSSLESS:
                samples, model, extra = self._exact(view, page, layout, spans)
            else:
                samples, model, extra = self._as_picture(view, page, layout, spans)
            samples = upright(samples, self._orientations[index])
            return Picture(samples, model, extra, icc.kept(profile, model.value))

    def _exact(
        self, view: View, page: tiff.Page, layout: PageLayout, spans: list[tuple[int, int]]
    ) -> tuple[Samples, ColourModel, Extra]:
        samples = samples_of(view, self._layout, page, layout, spans)
        if layout.photometric == _PALETTE:
            return self._with_palette(view, page, layout, samples), ColourModel.RGB, Extra.NONE
        if layout.bits < 8:  # noqa: PLR2004
            samples = (samples * (255 // ((1 << layout.bits) - 1))).astype(np.uint8)
        if layout.photometric == _WHITE_IS_ZERO:
            samples[:, :, 0] = np.iinfo(samples.dtype).max - samples[:, :, 0]
        model = _MODELS[layout.photometric]
        if layout.samples == model.value:
            return samples, model, Extra.NONE
        kinds = tiff.integers(view, self._layout, page, tiff.EXTRA_SAMPLES, (0,))
        return samples, model, _EXTRAS.get(kinds[0], Extra.UNKNOWN)

    def _with_palette(self, view: View, page: tiff.Page, layout: PageLayout, samples: Samples) -> NDArray[np.uint8]:
        """Palette colours as 8-bit RGB; some writers store them as 8-bit numbers in the 16-bit table."""
        table = np.asarray(tiff.integers(view, self._layout, page, tiff.COLOUR_MAP), np.uint16)
        if len(table) != 3 << layout.bits:
            raise damaged("decode the TIFF")
        colours = table.reshape(3, -1).T
        eight = (colours >> 8 if int(colours.max()) > 255 else colours).astype(np.uint8)  # noqa: PLR2004
        return np.ascontiguousarray(eight[samples[:, :, 0]])

    def _as_picture(
        self, view: View, page: tiff.Page, layout: PageLayout, spans: list[tuple[int, int]]
    ) -> tuple[NDArray[np.uint8], ColourModel, Extra]:
        """Fax and JPEG pages, by libtiff through Pillow."""
        feed = tiff_page.single_page(view, self._layout, page, spans, {})
        with Image.open(io.BytesIO(feed), formats=("TIFF",)) as image:
            if image.size != (layout.width, layout.height):
                raise damaged("decode the TIFF")
            plain = image.convert({"1": "L", "YCbCr": "RGB", "P": "RGB"}.get(image.mode, image.mode))
            model = _LIBTIFF_MODES.get(plain.mode)
            if model is None:
                raise unsupported("decode the TIFF")
            samples = np.asarray(plain).reshape(layout.height, layout.width, model.value)
            return samples, model, Extra.NONE

    def write(self, pictures: Iterator[Picture], target: BinaryIO) -> None:
        """Write every page, compressed where any page of the source was."""
        tiff_writer.write(pictures, target, compressed=self._compressed)
