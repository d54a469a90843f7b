"""The package's parts that can be looked at without building it: pages, completion, settings, scripts, shares."""

import hashlib
import re
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from blurd.adapters.own_models import OwnDecoding, OwnInput, OwnModel, read_table
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.store_schema import MIGRATIONS
from blurd.cli import build_parser
from blurd.config import check_settings
from blurd.core.heads import FAMILIES
from blurd.events import EVENTS

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "packaging" / "debian"
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
GENERATE = ROOT / "packaging" / "generate-pages"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    subprocess.run([sys.executable, str(GENERATE), str(folder)], check=True)
    return folder


def commands() -> list[str]:
    text = build_parser().format_help()
    return re.findall(r"^    ([a-z-]+)\b", text[text.index("commands:") :], re.MULTILINE)


def test_the_pages_have_no_fault(pages: Path) -> None:
    if shutil.which("man") is None:
        pytest.skip("needs man: apt-get install man-db groff-base")
    for name in ("blurd.1", "blurd.toml.5", "blurd-models.5"):
        command = ["man", "--warnings", "--encoding=UTF-8", "--local-file", str(pages / name)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={"MANWIDTH": "100", "PATH": "/usr/bin:/bin"}
        )
        assert done.stderr == ""
        assert "NAME\n       blurd" in done.stdout


def test_the_command_page_tells_of_every_command_and_option(pages: Path) -> None:
    page = (pages / "blurd.1").read_text().replace("\\-", "-")
    assert len(commands()) > 8
    for command in commands():
        assert f".SS {command}\n" in page
    for option in ("--config", "--annotations", "--sandboxed", "--check", "--part"):
        assert f"\\fB{option}\\fR" in page


def test_the_settings_page_tells_of_every_key(pages: Path) -> None:
    page = (pages / "blurd.toml.5").read_text().replace("\\-", "-")
    document = tomllib.loads((ROOT / "etc" / "blurd.toml").read_text())
    keys = [key for table in document.values() if isinstance(table, dict) for key in table]
    keys += [key for table in document["defaults"].values() if isinstance(table, dict) for key in table]
    for key in (*keys, *document["folder"][0], "quality", "face"):
        assert f"\\fB{key}\\fR = " in page or f".SS [defaults.{key}]" in page or f".SS [defaults.mask.{key}]" in page, (
            key
        )
    assert "rescan_s\\fR = 60.0\nSeconds between" in page
    assert 'temporary_names\\fR = [ ".*"' in page


def test_the_page_of_models_has_an_example_of_every_family_that_is_read(pages: Path, tmp_path: Path) -> None:
    page = (pages / "blurd-models.5").read_text().replace("\\-", "-")
    for family in FAMILIES:
        example = ROOT / "models" / "examples" / f"{family}.toml"
        (tmp_path / family).mkdir()
        (tmp_path / family / "model.toml").write_text(example.read_text())
        table = read_table(tmp_path, family)
        assert table.family == family
        assert f".SS {family}\n" in page
        assert f'family = "{family}"' in page
    for key in (*OwnModel.model_fields, *OwnInput.model_fields, *OwnDecoding.model_fields):
        assert re.search(rf"^\.B .*\b{key}\b", page, re.MULTILINE), key


def test_the_command_page_tells_of_commands_below_commands(pages: Path) -> None:
    page = (pages / "blurd.1").read_text().replace("\\-", "-")
    for name in ("list", "check", "add", "evaluate"):
        assert f".SS models {name}\n" in page
    assert "\\fB--picture\\fR" in page


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("",), ["run", "doctor", "--config"]),
        (("st",), ["status"]),
        (("blur", "--style", ""), ["blur", "pixelate", "solid"]),
        (("--config", "x", "doctor", "--j"), ["--json"]),
        (("evaluate", "--im"), ["--images"]),
    ],
)
def test_completion_knows_commands_options_and_values(pages: Path, words: tuple[str, ...], expected: list[str]) -> None:
    listed = " ".join(f"'{word}'" for word in ("blurd", *words))
    script = f". '{pages}/blurd.bash'; COMP_WORDS=({listed}); COMP_CWORD={len(words)}; _blurd; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert set(expected) <= set(done.stdout.split())


def test_the_settings_that_the_package_brings_are_valid() -> None:
    """They are short on purpose: what everybody changes should not meet a new version's changes at each upgrade."""
    folder = check_settings(tomllib.loads((DEBIAN / "blurd.toml").read_text())).folder[0]
    shown = check_settings(tomllib.loads((ROOT / "etc" / "blurd.toml").read_text())).folder[0]
    assert (folder.name, folder.inbound, folder.outbound) == (shown.name, shown.inbound, shown.outbound)
    places = (ROOT / "systemd" / "blurd.tmpfiles").read_text()
    for place in (folder.inbound, folder.outbound):
        assert re.search(rf"^d {place} +2770 blurd blurd", places, re.MULTILINE)


def test_the_settings_that_the_package_brings_stay_as_they_are() -> None:
    """Whoever has edited them is asked at the next upgrade if they change; where nobody is there to answer, dpkg stops.

    So they change only for a reason that is worth it; then the upgrade's notes must say so.
    """
    released = "c5e5e45f49648a51bb2e7b8170d95328d06c76a91f82a4b168962022e7ad34a7"
    assert hashlib.sha256((DEBIAN / "blurd.toml").read_bytes()).hexdigest() == released


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_are_sound_shell(name: str) -> None:
    text = (DEBIAN / name).read_text()
    assert text.startswith("#!/bin/sh\n")
    assert "\nset -e\n" in text
    subprocess.run(["sh", "-n", str(DEBIAN / name)], check=True)


@pytest.mark.parametrize(("ahead", "refused"), [(-1, False), (0, False), (1, True), (300, True)])
def test_s41_a_version_that_cant_read_the_queue_refuses_to_be_installed(
    tmp_path: Path, ahead: int, *, refused: bool
) -> None:
    queue = tmp_path / "queue.sqlite"
    SqliteJobStore(queue).close()
    with sqlite3.connect(queue) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + ahead}")
    connection.close()
    done = before_installation(queue)
    assert done.returncode == refused
    assert ("not installed" in done.stderr) == refused


def test_what_is_no_queue_keeps_nothing_from_being_installed(tmp_path: Path) -> None:
    """blurd itself sets it aside."""
    for content in (None, b"", b"SQLite format 3\0", b"\xa5" * 4096):
        queue = tmp_path / "queue.sqlite"
        if content is not None:
            queue.write_bytes(content)
        done = before_installation(queue)
        assert (done.returncode, done.stderr) == (0, "")


def before_installation(queue: Path) -> subprocess.CompletedProcess[str]:
    """The script that runs before anything is replaced, as build-deb fills it in."""
    text = (DEBIAN / "preinst").read_text().replace("@SCHEMA@", str(len(MIGRATIONS)))
    assert text.count("/var/lib/blurd/queue.sqlite") == 1
    script = queue.with_name("preinst")
    script.write_text(text.replace("/var/lib/blurd/queue.sqlite", str(queue)))
    return subprocess.run(["sh", str(script), "upgrade", "1.0"], capture_output=True, text=True, check=False)


def test_no_script_removes_what_must_be_kept() -> None:
    for name in SCRIPTS:
        for line in (DEBIAN / name).read_text().splitlines():
            if re.match(r"\s*(rm|find .*-exec rm|rmdir)\b", line):
                assert "/var/lib/blurd" not in line
                assert "/srv" not in line


def test_the_shares_fit_the_folders_of_the_package() -> None:
    shares = (ROOT / "packaging" / "samba" / "blurd.conf").read_text()
    folder = check_settings(tomllib.loads((DEBIAN / "blurd.toml").read_text())).folder[0]
    assert f"path = {folder.inbound}\n" in shares
    assert f"path = {folder.outbound}\n" in shares


def test_the_catalog_is_installed_with_every_event() -> None:
    catalog = (ROOT / "systemd" / "blurd.catalog").read_text()
    for event in EVENTS:
        assert f"-- {event.message_id()}\n" in catalog, event.name
