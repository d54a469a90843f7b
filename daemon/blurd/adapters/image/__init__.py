"""Still images: one module a format, one codec over all of them (`codec.py`).

Libraries: OpenCV (JPEG, PNG), Pillow (JPEG encoding and CMYK, WebP, AVIF, BMP, libtiff), pillow-heif (HEIC). Each is
fed a file rebuilt by `core/containers` from what the decoder needs, so metadata never reaches it, and what it writes is
rebuilt the same way, or written here from the first byte to the last.
"""

from blurd.adapters.image.codec import ImageCodec, ImageFrame, ImageSource
from blurd.adapters.image.document import ImageLimits

__all__ = ["ImageCodec", "ImageFrame", "ImageLimits", "ImageSource"]
