"""blurd: photos and videos in, copies with every face and licence plate blurred out."""

from importlib.metadata import version

__version__ = version("blurd")
