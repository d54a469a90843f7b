"""Names of inbound files, staged files and copies."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurd.core.naming import (
    TEMPORARY_NAMES,
    byte_length,
    candidates,
    copy_path,
    fits,
    is_temporary,
    parse_staged_name,
    staged_name,
)


@pytest.mark.parametrize(
    "name",
    [".hidden", "a.part", "a.FILEPART", "a.crdownload", "x.tmp", "~$letter.docx", "a.partial", ".in.a.jpg.",
     ".syncthing.a.jpg.tmp", "~syncthing~a.jpg", ".nfs0001", ".smbdeleteAAA", "._a.jpg", "thumbs.db", "Desktop.ini",
     ".DS_Store", "@eaDir", "NVR_STANDBY_1.dav"],
)  # fmt: skip
def test_temporary_names_are_not_taken(name: str) -> None:
    assert is_temporary(name, TEMPORARY_NAMES)


@pytest.mark.parametrize("name", ["a.jpg", "part.jpg", "tmp", "-rf.jpg", "a.tmp.jpg", "eaDir", "~.jpg"])
def test_other_names_are_taken(name: str) -> None:
    assert not is_temporary(name, TEMPORARY_NAMES)


@pytest.mark.parametrize(
    ("source", "written", "expected"),
    [
        ("a.jpg", ".jpg", "a.jpg"),
        ("a.JPEG", ".jpg", "a.JPEG"),
        ("trip/day 1/a.TIF", ".tiff", "trip/day 1/a.TIF"),
        ("a.heic", ".jpg", "a.heic.jpg"),
        ("photo.jpg", ".png", "photo.jpg.png"),
        ("noname", ".jpg", "noname.jpg"),
        (".jpg", ".jpg", ".jpg.jpg"),
        ("a.b/c", ".png", "a.b/c.png"),
    ],
)
def test_a_copy_mirrors_the_source_and_names_its_format(source: str, written: str, expected: str) -> None:
    assert copy_path(source, written) == expected


def test_collisions_are_counted() -> None:
    assert list(islice(candidates("x/a.jpg"), 3)) == ["x/a.jpg", "x/a-2.jpg", "x/a-3.jpg"]
    assert list(islice(candidates("a.b/c"), 2)) == ["a.b/c", "a.b/c-2"]


def test_a_name_must_leave_room_for_the_number() -> None:
    assert fits("ü" * 100 + ".jpg")
    assert not fits("a" * 255)
    assert not fits("ü" * 126)
    assert fits("long/" * 100 + "a.jpg")


def test_undecodable_bytes_count_one_each() -> None:
    assert byte_length(b"\xff\xfe.jpg".decode("utf-8", "surrogateescape")) == 6


@given(st.integers(1, 2**62), st.integers(1, 20))
def test_a_staged_name_tells_its_job(job: int, attempt: int) -> None:
    assert parse_staged_name(staged_name(job, attempt)) == (job, attempt)


@pytest.mark.parametrize("name", ["job-1.staged", "job-x-1.staged", "once-1-1.staged", "job-1-1.jpg", "job-²-1.staged"])
def test_a_foreign_name_in_staging_is_not_ours(name: str) -> None:
    assert parse_staged_name(name) is None
