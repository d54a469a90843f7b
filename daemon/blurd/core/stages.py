"""The stages of a job by name, as their times are recorded, and what each time means.

* `analyse`, `plan`, `render` and `verify` follow one another; together they are the treatment of a file, but for
  hashing it. A copy that is rendered again after a leak was found adds to `render` and `verify`.
* `decode`, `detect` and `encode` are parts of them that work at the same time as others do, in threads of their own:
  how long decoding the source took within `analyse`, how long the detectors were asked there (two calls side by side
  count twice), and how long the encoder was busy within `render`, which is what it did not wait for masked frames.
"""

from enum import StrEnum


class Stage(StrEnum):
    """A stage, or a part of one."""

    ANALYSE = "analyse"
    DECODE = "decode"
    DETECT = "detect"
    PLAN = "plan"
    RENDER = "render"
    ENCODE = "encode"
    VERIFY = "verify"


IN_TURN = (Stage.ANALYSE, Stage.PLAN, Stage.RENDER, Stage.VERIFY)
"""Those that follow one another: their sum is the time that a treatment took."""
