"""One small video file for every format, depth, layout and timing that is treated, each with what is true of it."""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, partial
from typing import Any

from videos import Colour, Form, Video, dahua_file, patched_atom, pictures, woven_pictures, write_clip

X264_PLAIN = {"bf": "0"}
COARSE = {"b": "3M", "qmin": "8"}
"""H.263 and its kin can't code a jump from black to white finely."""
BT709 = Colour(1, 1, 1)
HDR = Colour(9, 16, 9)
MASTERING = {
    "x265-params": "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    ":max-cll=1000,400"
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to make, and what the reader will find that the form does not say.

    `shift` is what the muxer adds to every time, `timed` False where the container has no usable ones.
    """

    suffix: str
    form: Form
    width: int = 128
    height: int = 96
    count: int = 12
    shift: Fraction = Fraction(0)
    timed: bool = True
    others: tuple[str, ...] = ()
    decoded: str = ""
    """The decoder's pixel format where it is not the encoder's."""


def _made(name: str, plan: Plan) -> Video:
    form = plan.form
    frames = (
        woven_pictures(plan.width, plan.height, plan.count, form.fields)
        if form.fields
        else pictures(plan.width, plan.height, plan.count)
    )
    file = io.BytesIO()
    write_clip(file, frames, form)
    times = tuple(time + plan.shift for time in form.times_of(plan.count)) if plan.timed else None
    return Video(
        name, plan.suffix, file.getvalue(), plan.width, plan.height, form, plan.count, times,
        plan.decoded or form.pix_fmt, plan.others,
    )  # fmt: skip


def _plan(suffix: str, container: str, codec: str, pix_fmt: str = "yuv420p", **more: Any) -> Plan:
    """A plan; what `Plan` has no field for goes into its form."""
    own = {key: more.pop(key) for key in tuple(more) if key in Plan.__dataclass_fields__}
    return Plan(suffix=suffix, form=Form(container=container, codec=codec, pix_fmt=pix_fmt, **more), **own)


REORDER = Fraction(2, 25)
"""What a muxer without negative times adds for two reordered frames."""

_CONTAINERS = {
    "mp4_h264": _plan(".mp4", "mp4", "libx264"),
    "mov_h264": _plan(".mov", "mov", "libx264"),
    "m4v_h264": _plan(".m4v", "ipod", "libx264"),
    "mkv_h264": _plan(".mkv", "matroska", "libx264"),
    "avi_h264": _plan(".avi", "avi", "libx264", options=X264_PLAIN, shift=Fraction(1, 25)),
    "avi_h264_b_frames": _plan(".avi", "avi", "libx264", timed=False),
    "ts_h264": _plan(".ts", "mpegts", "libx264", shift=REORDER),
    "ts_h265": _plan(".ts", "mpegts", "libx265", shift=REORDER),
    "mts_h264": _plan(".mts", "mpegts", "libx264", muxing={"mpegts_m2ts_mode": "1"}, shift=REORDER),
    "m2ts_h264": _plan(".m2ts", "mpegts", "libx264", muxing={"mpegts_m2ts_mode": "1"}, shift=REORDER),
    "ts_mpeg2": _plan(".ts", "mpegts", "mpeg2video", shift=Fraction(1, 25), options={"bf": "2"}),
    "mpg_mpeg2": _plan(".mpg", "vob", "mpeg2video", shift=Fraction(54, 100), options={"bf": "2"}),
    "mpg_mpeg1": _plan(".mpg", "mpeg", "mpeg1video", shift=Fraction(54, 100), options={"bf": "2"}),
    "webm_vp8": _plan(".webm", "webm", "libvpx"),
    "webm_vp9": _plan(".webm", "webm", "libvpx-vp9"),
    "webm_av1": _plan(".webm", "webm", "libsvtav1"),
    "wmv_wmv1": _plan(".wmv", "asf", "wmv1"),
    "wmv_wmv2": _plan(".wmv", "asf", "wmv2"),
    "asf_mpeg4": _plan(".asf", "asf", "mpeg4"),
    "asf_h264_b_frames": _plan(".asf", "asf", "libx264", timed=False),
    "flv_h264": _plan(".flv", "flv", "libx264", shift=REORDER),
    "flv_sorenson": _plan(".flv", "flv", "flv"),
    "3gp_h263": _plan(".3gp", "3gp", "h263", width=176, height=144, options=COARSE, sample_aspect=Fraction(12, 11)),
    "3gp_mpeg4": _plan(".3gp", "3gp", "mpeg4", width=176, height=144),
    "3gp_h264": _plan(".3gp", "3gp", "libx264"),
    "ogv_vp8": _plan(".ogv", "ogv", "libvpx"),
    "mxf_mpeg2": _plan(".mxf", "mxf", "mpeg2video"),
    "raw_h264": _plan(".h264", "h264", "libx264", timed=False),
    "raw_h264_no_b_frames": _plan(".h264", "h264", "libx264", options=X264_PLAIN, timed=False),
    "raw_h265": _plan(".h265", "hevc", "libx265", timed=False),
    "raw_mpeg4": _plan(".m4v", "m4v", "mpeg4", timed=False),
    "raw_mpeg2": _plan(".m2v", "mpeg2video", "mpeg2video", timed=False),
    "raw_mpeg1": _plan(".m1v", "mpeg1video", "mpeg1video", timed=False),
    "raw_mjpeg": _plan(".mjpeg", "mjpeg", "mjpeg", "yuvj420p"),
}
_CODECS = {
    "mp4_h265": _plan(".mp4", "mp4", "libx265", tag="hvc1"),
    "mp4_h265_in_band": _plan(".mp4", "mp4", "libx265", tag="hev1"),
    "mkv_h265": _plan(".mkv", "matroska", "libx265"),
    "mp4_mpeg4": _plan(".mp4", "mp4", "mpeg4"),
    "avi_mpeg4": _plan(".avi", "avi", "mpeg4", tag="XVID"),
    "avi_msmpeg4": _plan(".avi", "avi", "msmpeg4", options=COARSE),
    "mkv_mpeg4_b_frames": _plan(".mkv", "matroska", "mpeg4", options={"bf": "2"}),
    "avi_mjpeg": _plan(".avi", "avi", "mjpeg", "yuvj420p"),
    "mov_mjpeg": _plan(".mov", "mov", "mjpeg", "yuvj422p"),
    "mkv_mjpeg": _plan(".mkv", "matroska", "mjpeg", "yuvj444p"),
    "mp4_av1": _plan(".mp4", "mp4", "libsvtav1"),
    "mkv_av1_10bit": _plan(".mkv", "matroska", "libsvtav1", "yuv420p10le"),
    "mkv_vp8": _plan(".mkv", "matroska", "libvpx"),
    "mp4_vp9": _plan(".mp4", "mp4", "libvpx-vp9"),
    "mov_prores": _plan(".mov", "mov", "prores_ks", "yuv422p10le"),
    "mov_prores_4444": _plan(".mov", "mov", "prores_ks", "yuv444p10le", decoded="yuv444p12le"),
    "mkv_ffv1": _plan(".mkv", "matroska", "ffv1"),
    "avi_ffv1": _plan(".avi", "avi", "ffv1"),
    "avi_bgr24": _plan(".avi", "avi", "rawvideo", "bgr24", width=96, height=64, count=8),
    "avi_yuyv422": _plan(".avi", "avi", "rawvideo", "yuyv422", width=96, height=64, count=8),
}
_DEPTHS = {
    "mp4_h264_10bit": _plan(".mp4", "mp4", "libx264", "yuv420p10le"),
    "mp4_h264_422": _plan(".mp4", "mp4", "libx264", "yuv422p"),
    "mp4_h264_422_10bit": _plan(".mp4", "mp4", "libx264", "yuv422p10le"),
    "mp4_h264_444": _plan(".mp4", "mp4", "libx264", "yuv444p"),
    "mp4_h264_grey": _plan(".mp4", "mp4", "libx264", "gray", decoded="yuv420p"),
    "mkv_h264_rgb": _plan(".mkv", "matroska", "libx264rgb", "rgb24", decoded="gbrp"),
    "mkv_h265_grey": _plan(".mkv", "matroska", "libx265", "gray"),
    "mkv_ffv1_grey": _plan(".mkv", "matroska", "ffv1", "gray"),
    "mp4_h264_full_range": _plan(".mp4", "mp4", "libx264", "yuvj420p", colour=Colour(5, 6, 5, full_range=True)),
    "mp4_h264_709": _plan(".mp4", "mp4", "libx264", colour=BT709),
    "mp4_h265_hdr": _plan(".mp4", "mp4", "libx265", "yuv420p10le", options=MASTERING, colour=HDR, tag="hvc1"),
    "mkv_h265_hdr": _plan(".mkv", "matroska", "libx265", "yuv420p10le", options=MASTERING, colour=HDR),
    "mp4_h265_444": _plan(".mp4", "mp4", "libx265", "yuv444p"),
    "mp4_h265_12bit": _plan(".mp4", "mp4", "libx265", "yuv420p12le"),
    "webm_vp9_444": _plan(".webm", "webm", "libvpx-vp9", "yuv444p"),
}
_SHAPES = {
    "webm_vp9_odd": _plan(".webm", "webm", "libvpx-vp9", width=97, height=61),
    "avi_mjpeg_odd": _plan(".avi", "avi", "mjpeg", "yuvj420p", width=97, height=61),
    "mkv_h264_444_odd": _plan(".mkv", "matroska", "libx264", "yuv444p", width=97, height=61),
    "mp4_h264_crop": _plan(".mp4", "mp4", "libx264", width=100, height=70),
    **{
        f"mp4_rotated_{degrees}": _plan(".mp4", "mp4", "libx264", rotation=degrees, height=80)
        for degrees in (90, 180, 270)
    },
    "mov_rotated_90": _plan(".mov", "mov", "libx264", rotation=90, height=80),
    "mp4_mirrored": _plan(".mp4", "mp4", "libx264", mirrored=True),
    "mp4_mirrored_90": _plan(".mp4", "mp4", "libx264", rotation=90, mirrored=True, height=80),
    "mp4_wide_samples": _plan(".mp4", "mp4", "libx264", sample_aspect=Fraction(12, 11), width=176, height=72),
    "mkv_narrow_samples": _plan(".mkv", "matroska", "libx264", sample_aspect=Fraction(1, 2), width=176, height=72),
    "mpg_wide_samples": _plan(
        ".mpg", "vob", "mpeg2video", sample_aspect=Fraction(12, 11), width=176, height=144, shift=Fraction(54, 100)
    ),
    "mp4_h264_tff": _plan(".mp4", "mp4", "libx264", fields="tff", options={"x264-params": "tff=1"}),
    "mp4_h264_bff": _plan(".mp4", "mp4", "libx264", fields="bff", options={"x264-params": "bff=1"}),
    "ts_mpeg2_tff": _plan(
        ".ts", "mpegts", "mpeg2video", fields="tff", options={"flags": "+ildct+ilme"}, shift=Fraction(1, 25)
    ),
    "mpg_mpeg2_bff": _plan(
        ".mpg", "vob", "mpeg2video", fields="bff", options={"flags": "+ildct+ilme"}, shift=Fraction(54, 100)
    ),
}  # fmt: skip


def _milliseconds(*steps: int, start: int = 0) -> tuple[Fraction, ...]:
    times = [start]
    for step in steps:
        times.append(times[-1] + step)
    return tuple(Fraction(time, 1000) for time in times)


UNEVEN = _milliseconds(40, 40, 33, 200, 7, 40, 1000, 16, 17, 40, 333)
LATE = _milliseconds(*[40] * 11, start=10_000)
_TIMINGS = {
    "mp4_uneven": _plan(".mp4", "mp4", "libx264", times=UNEVEN),
    "mkv_uneven": _plan(".mkv", "matroska", "libx264", times=UNEVEN),
    "webm_uneven": _plan(".webm", "webm", "libvpx-vp9", times=UNEVEN),
    "ts_uneven": _plan(".ts", "mpegts", "libx264", times=tuple(time + 2 for time in UNEVEN)),
    "mp4_late": _plan(".mp4", "mp4", "libx264", times=LATE),
    "mkv_late": _plan(".mkv", "matroska", "libx264", times=LATE),
    "ts_late": _plan(".ts", "mpegts", "libx264", times=LATE),
    "mp4_ntsc": _plan(".mp4", "mp4", "libx264", rate=Fraction(30_000, 1001)),
    "mp4_open_gop": _plan(
        ".mp4", "mp4", "libx264", count=30,
        options={"x264-params": "open-gop=1:keyint=8:min-keyint=2:scenecut=0:bframes=3"},
    ),
    "mkv_h265_open_gop": _plan(
        ".mkv", "matroska", "libx265", count=30,
        options={"x265-params": "open-gop=1:keyint=8:min-keyint=2:scenecut=0:bframes=3"},
    ),
    "mp4_no_b_frames": _plan(".mp4", "mp4", "libx264", options=X264_PLAIN),
    "mp4_long_gop": _plan(".mp4", "mp4", "libx264", count=60, width=96, height=64, options={"g": "600"}),
    "mp4_fragmented": _plan(".mp4", "mp4", "libx264", muxing={"movflags": "frag_keyframe+empty_moov"}, count=20,
                            options={"g": "6"}, shift=REORDER),
    "mp4_single_frame": _plan(".mp4", "mp4", "libx264", count=1),
    "mkv_single_frame": _plan(".mkv", "matroska", "libx264", count=1),
}  # fmt: skip
_STREAMS = {
    "mp4_aac": _plan(".mp4", "mp4", "libx264", sound="aac", others=("audio",)),
    "mov_pcm": _plan(".mov", "mov", "libx264", sound="pcm_s16le", others=("audio",)),
    "mkv_pcm": _plan(".mkv", "matroska", "libx264", sound="pcm_s16le", others=("audio",)),
    "avi_pcm": _plan(".avi", "avi", "mpeg4", sound="pcm_s16le", others=("audio",)),
    "webm_opus": _plan(".webm", "webm", "libvpx-vp9", sound="libopus", others=("audio",)),
    "mp4_two_videos": _plan(".mp4", "mp4", "libx264", streams=2, others=("video",)),
    "mkv_two_videos": _plan(".mkv", "matroska", "libx264", streams=2, others=("video",)),
    "mp4_cover": _plan(".mp4", "mp4", "libx264", cover=True, others=("cover",)),
}
_PLANS = {**_CONTAINERS, **_CODECS, **_DEPTHS, **_SHAPES, **_TIMINGS, **_STREAMS}


def _dav(name: str, plan: Plan, codec: int) -> Video:
    """Starts on a whole second of the recorder's clock, runs over the next one."""
    inner = _made(name, plan)
    data = dahua_file(inner.data, codec, (plan.width, plan.height), int(plan.form.rate))
    start = Fraction(1_714_979_289)  # 2024-05-06 07:08:09 UTC
    times = tuple(start + Fraction(round(1000 * index / plan.form.rate), 1000) for index in range(plan.count))
    return replace(inner, suffix=".dav", data=data, times=times)


def _cut_by_edit_list(name: str) -> Video:
    """An edit list that leaves out the first five frames, which must be decoded all the same."""
    skipped = 5
    whole = _made(name, _plan(".mp4", "mp4", "libx264"))
    movie_ticks, media_ticks = 1000 * skipped // 25, 12_800 * skipped // 25

    def later(body: bytes) -> bytes:
        head, duration, start, rest = body[:8], *struct.unpack(">Ii", body[8:16]), body[16:]
        return head + struct.pack(">Ii", duration - movie_ticks, start + media_ticks) + rest

    times = whole.form.times_of(whole.count - skipped)
    return replace(
        whole, data=patched_atom(whole.data, b"elst", later), count=len(times), times=times, first_stamp=skipped
    )


def _resized(name: str, suffix: str, form: Form) -> Video:
    """Six frames of one size, then six of another."""
    parts = []
    for number, (width, height) in enumerate(((128, 96), (96, 64))):
        file = io.BytesIO()
        times = _milliseconds(*[40] * 5, start=1000 + 240 * number)
        write_clip(file, pictures(width, height, 12)[6 * number : 6 * number + 6], replace(form, times=times))
        parts.append(file.getvalue())
    shown = None if form.container == "h264" else _milliseconds(*[40] * 11, start=1000)
    return Video(name, suffix, b"".join(parts), 128, 96, form, 12, shown, form.pix_fmt, resized=True)


_H264_PLAIN = Form(container="h264", codec="libx264", options=X264_PLAIN)
_SPECIAL: dict[str, Callable[[str], Video]] = {
    "dav_h264": partial(_dav, plan=Plan(suffix=".dav", form=_H264_PLAIN, count=30), codec=0x02),
    "dav_h265": partial(
        _dav, plan=_plan(".dav", "hevc", "libx265", count=30, options={"x265-params": "bframes=0"}), codec=0x0C
    ),
    "mp4_edit_list": _cut_by_edit_list,
    "raw_h264_resized": partial(_resized, suffix=".h264", form=_H264_PLAIN),
    "ts_resized": partial(
        _resized, suffix=".ts", form=Form(container="mpegts", codec="libx264", options=X264_PLAIN)
    ),
}  # fmt: skip

NAMES: tuple[str, ...] = (*_PLANS, *_SPECIAL)
"""Every file that `variant` makes."""


@cache
def variant(name: str) -> Video:
    """The file of this name; made once."""
    return _made(name, _PLANS[name]) if name in _PLANS else _SPECIAL[name](name)


def variants() -> Iterator[Video]:
    """All of them."""
    return (variant(name) for name in NAMES)
