"""What Samba's shares would show of blurd's folders."""

from blurd.core.shares import Exposure, exposures, parse_shares

IN, OUT = "/srv/blurd/photos/inbound", "/srv/blurd/photos/outbound"
GLOBAL = "[global]\n\tserver role = standalone server\n\tidmap config * : backend = tdb\n\n"


def found(text: str) -> list[tuple[str, Exposure]]:
    return [(share.name, exposure) for share, exposure in exposures(parse_shares(GLOBAL + text), IN, OUT)]


def test_a_share_with_a_veto_and_without_guests_shows_nothing() -> None:
    assert found(f"[copies]\n\tpath = {OUT}\n\tveto files = /.blurd*/\n\tguest ok = No\n") == []


def test_staging_shows_without_a_veto() -> None:
    """In the share itself, in one above it, and in one that begins within; not in one beside it."""
    for path in (OUT, "/srv", "/", f"{OUT}/.blurd"):
        assert found(f"[all]\n\tpath = {path}\n") == [("all", Exposure.STAGING_VISIBLE)]
    for path in ("/srv/blurd/photos/outbound-old", "/home"):
        assert found(f"[other]\n\tpath = {path}\n") == []


def test_a_veto_of_something_else_is_none() -> None:
    assert found(f"[copies]\n\tpath = {OUT}\n\tveto files = /.DS_Store/.blurd-folder/\n") != []
    assert found(f"[copies]\n\tpath = {OUT}\n\tveto files = /.DS_Store/.BLURD/\n") == []  # Samba minds no case


def test_guests_are_found_in_the_share_and_in_what_all_shares_have() -> None:
    assert found(f"[in]\n\tpath = {IN}\n\tguest ok = Yes\n") == [("in", Exposure.GUESTS)]
    assert found(f"[in]\n\tpath = {IN}\n\tpublic = yes\n") == [("in", Exposure.GUESTS)]
    shares = parse_shares(f"[global]\n\tguest ok = Yes\n\n[in]\n\tpath = {IN}\n")
    assert [exposure for _, exposure in exposures(shares, IN, OUT)] == [Exposure.GUESTS]
    shares = parse_shares(f"[global]\n\tguest ok = Yes\n\n[in]\n\tpath = {IN}\n\tguest ok = No\n")
    assert list(exposures(shares, IN, OUT)) == []


def test_what_is_no_share_of_files_is_left_out() -> None:
    text = "[printers]\n\tpath = /srv\n[print$]\n\tpath = /srv\n[homes]\n\tcomment = x\n[own]\n\tpath = /srv/%U\n"
    assert found(text) == []
    assert [share.is_variable for share in parse_shares(GLOBAL + text)] == [True]
