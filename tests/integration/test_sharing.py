"""Whom copies are for: mode and group of what is published, whatever the umask; tried by other users of the machine."""

import grp
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance import let_others_reach
from blurd.adapters.folders import OutboundFolder
from blurd.adapters.sharing import Sharing, make_folder, sharing
from blurd.config import check_settings
from blurd.errors import EquipmentError, Reason

BLURD, PEOPLE, STRANGERS = 61001, 61002, 61003
"""Numbers of users and of their groups; `PEOPLE` is the group at the share."""


def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be several other users")


def as_user(user: int, act: Callable[[], None], *groups: int, umask: int = 0o077) -> int:
    """Run something as a user with further groups, in a child process; 0, or the error number of what it raised."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setgroups(list(groups))
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            os.umask(umask)
            act()
            code = 0
        except OSError as error:
            code = error.errno or 98
        except EquipmentError as error:
            code = 97 if error.reason is Reason.GROUP_UNUSABLE else 96
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """An outbound folder that belongs to blurd and to the people at the share."""
    need_root()
    let_others_reach(tmp_path)
    made = tmp_path / "out"
    made.mkdir()
    os.chown(made, BLURD, PEOPLE)
    made.chmod(0o2770)
    yield made
    tmp_path.parent.chmod(0o700)


def publish(out: Path, people: Sharing | None, *names: str) -> Callable[[], None]:
    def act() -> None:
        with OutboundFolder(out, sharing=people) as outbound:
            for number, name in enumerate(names):
                with outbound.staged(f"job-{number}-1.staged", 0o600) as file:
                    file.write(b"a copy")
                assert outbound.publish(f"job-{number}-1.staged", name)
                outbound.remove_staged(f"job-{number}-1.staged")

    return act


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_people_at_a_share_can_read_and_delete_what_is_published(out: Path, umask: int) -> None:
    assert as_user(BLURD, publish(out, Sharing(0o640), "a.jpg", "trip/day/b.jpg"), PEOPLE, umask=umask) == 0
    for name in ("a.jpg", "trip/day/b.jpg"):
        copy = out / name
        assert (mode_of(copy), copy.stat().st_uid, copy.stat().st_gid) == (0o640, BLURD, PEOPLE)
        assert as_user(PEOPLE, lambda copy=copy: assert_reads(copy)) == 0  # type: ignore[misc]
        assert as_user(STRANGERS, lambda copy=copy: assert_reads(copy)) == 13  # type: ignore[misc]
        assert as_user(STRANGERS, copy.unlink) == 13
    for name in ("trip", "trip/day"):
        assert (mode_of(out / name), (out / name).stat().st_gid) == (0o2770, PEOPLE)
    assert as_user(PEOPLE, (out / "trip/day/b.jpg").unlink) == 0
    assert as_user(PEOPLE, (out / "trip/day").rmdir) == 0
    assert as_user(PEOPLE, (out / "a.jpg").unlink) == 0
    assert (mode_of(out / ".blurd") & 0o777, mode_of(out) & 0o777) == (0o700, 0o770)
    assert as_user(PEOPLE, lambda: list((out / ".blurd").iterdir()).clear()) == 13


def assert_reads(copy: Path) -> None:
    if copy.read_bytes() != b"a copy":
        raise OSError(5, "other content")


def test_without_the_set_group_bit_the_group_is_given_all_the_same(out: Path) -> None:
    out.chmod(0o770)
    assert as_user(BLURD, publish(out, Sharing(0o660), "trip/a.jpg"), PEOPLE) == 0
    assert (mode_of(out / "trip"), (out / "trip").stat().st_gid) == (0o770, PEOPLE)
    assert (mode_of(out / "trip/a.jpg"), (out / "trip/a.jpg").stat().st_gid) == (0o660, PEOPLE)


def test_a_group_of_its_own_goes_before_that_of_outbound(out: Path) -> None:
    os.chown(out, BLURD, STRANGERS)
    out.chmod(0o2775)
    assert as_user(BLURD, publish(out, Sharing(0o640, PEOPLE), "trip/a.jpg"), PEOPLE, STRANGERS) == 0
    assert (out / "trip/a.jpg").stat().st_gid == PEOPLE
    assert (mode_of(out / "trip") & 0o777, (out / "trip").stat().st_gid) == (0o770, PEOPLE)  # others read no copy
    assert as_user(PEOPLE, lambda: assert_reads(out / "trip/a.jpg")) == 0


def test_a_group_that_cant_be_given_pauses_only_where_the_settings_name_it(out: Path) -> None:
    os.chown(out, BLURD, BLURD)
    assert as_user(BLURD, publish(out, Sharing(0o640, PEOPLE), "a.jpg")) == 97
    assert not (out / "a.jpg").exists()
    os.chown(out, BLURD, PEOPLE)
    out.chmod(0o770)
    assert as_user(BLURD, publish(out, Sharing(0o640), "a.jpg")) == 0
    assert (out / "a.jpg").stat().st_gid == BLURD


def test_what_is_inherited_needs_no_change_of_owner(out: Path) -> None:
    """A worker's sandbox has no call for it: what it stages in a folder with the set group bit has the group anyway."""
    assert as_user(BLURD, publish(out, None, "a.jpg"), umask=0o077) == 0  # not even a member
    assert (out / ".blurd").stat().st_gid == PEOPLE
    assert (out / "a.jpg").stat().st_gid == PEOPLE


def test_folders_are_for_those_whom_copies_are_for() -> None:
    """Whoever may read copies may enter; whoever of those may write in outbound may write there."""
    cases = {
        (0o640, 0o2770): 0o770, (0o640, 0o755): 0o750, (0o600, 0o777): 0o700, (0o644, 0o777): 0o777,
        (0o644, 0o755): 0o755, (0o660, 0o755): 0o770, (0o640, 0o700): 0o750,
    }  # fmt: skip
    assert {case: Sharing(case[0]).folder_mode(case[1]) for case in cases} == cases


def test_the_umask_is_what_it_was(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    before = os.umask(0o027)
    try:
        assert make_folder(handle, "a", 0o777)
        assert not make_folder(handle, "a", 0o777)
        assert mode_of(tmp_path / "a") == 0o777
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
        os.close(handle)


def test_a_group_in_the_settings_must_exist_and_be_blurds() -> None:
    assert sharing(0o640, "") == Sharing(0o640)
    with pytest.raises(EquipmentError) as caught:
        sharing(0o640, "no-such-group-here")
    assert caught.value.reason is Reason.GROUP_UNUSABLE
    own = grp.getgrgid(os.getegid())
    assert sharing(0o640, own.gr_name) == Sharing(0o640, own.gr_gid)
    need_root()
    lower = (
        "import os; from blurd.adapters.sharing import sharing; os.setgroups([]); os.setgid(61001); os.setuid(61001)"
    )
    command = [sys.executable, "-c", f"{lower}; sharing(0o640, 'daemon')"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "GROUP_UNUSABLE" in done.stderr


@pytest.mark.parametrize("group", ["photo desk", "-x", "a:b", "7", "x" * 33])
def test_a_group_that_can_be_none_is_refused_by_the_settings(group: str) -> None:
    folder = {"name": "a", "inbound": "/srv/a/in", "outbound": "/srv/a/out", "output_group": group}
    with pytest.raises(EquipmentError) as caught:
        check_settings({"folder": [folder]})
    assert "write a group's name" in caught.value.detail
