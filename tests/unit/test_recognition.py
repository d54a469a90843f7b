"""Which folder is the known one: the whole table."""

import pytest

from blurd.core.recognition import KnownFolder, Place, Verdict, recognise

DISK = Place("/dev/sdb1", "ext4", "/", "aa")
ROOT = Place("/dev/sda1", "ext4", "/srv/in", "bb")
SHARE = Place("//nas/cam", "cifs", "/")


@pytest.mark.parametrize(
    ("known_marker", "known_place", "marker", "place", "verdict"),
    [
        ("m", DISK, "m", DISK, Verdict.KNOWN),
        ("m", DISK, "m", ROOT, Verdict.KNOWN),  # its content was moved to another disk
        ("m", DISK, "x", DISK, Verdict.STRANGE),  # the server changed its disk, or somebody copied a marker
        ("m", DISK, None, DISK, Verdict.UNMARKED),  # a person removed it
        ("m", DISK, None, ROOT, Verdict.STRANGE),  # the bare mount point
        (None, SHARE, None, SHARE, Verdict.UNMARKED),  # read-only
        (None, SHARE, None, ROOT, Verdict.STRANGE),
        (None, SHARE, "m", SHARE, Verdict.KNOWN),  # somebody else marked it
        (None, SHARE, "m", ROOT, Verdict.STRANGE),
    ],
)
def test_s24_s26_a_folder_is_recognised_by_its_marker_or_its_place(
    known_marker: str | None, known_place: Place, marker: str | None, place: Place, verdict: Verdict
) -> None:
    known = KnownFolder("/srv/in", known_marker, known_place)
    assert recognise(known, "/srv/in", marker, place) is verdict


def test_what_is_there_first_is_adopted_and_so_is_another_path_in_the_settings() -> None:
    assert recognise(None, "/srv/in", None, DISK) is Verdict.NEW
    assert recognise(KnownFolder("/srv/before", "m", DISK), "/srv/in", None, ROOT) is Verdict.NEW


def test_s25_a_disk_may_change_its_name_but_not_its_uuid() -> None:
    assert DISK.is_same(Place("/dev/sdc1", "ext4", "/", "aa"))
    assert not DISK.is_same(Place("/dev/sdb1", "ext4", "/", "cc"))
    assert DISK.is_same(Place("/dev/sdb1", "ext4", "/"))
    assert not DISK.is_same(Place("/dev/sdb1", "ext4", "/elsewhere", "aa"))
    assert not SHARE.is_same(Place("//nas/cam", "nfs4", "/"))
