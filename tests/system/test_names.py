"""Names and copies over time, in a running appliance: made again, erased, and still accounted for."""

from pathlib import Path

from appliance import Appliance, settings_text
from pictures import png

TELLING = "B-AB 1234 Erika Mustermann"


def test_a_copy_is_made_again_and_its_name_leaves_the_queue(tmp_path: Path) -> None:
    """Real processes: `redo` withdraws the old copy; after a restart names are erased and nothing is taken again."""
    made = Appliance(tmp_path)
    made.config.write_text(settings_text(tmp_path).replace("[state]", "[state]\nnames_days = 0.00001"))
    made.drop(f"{TELLING}/{TELLING}.png", png())
    made.start()
    made.copy(f"{TELLING}/{TELLING}.png")
    made.wait(lambda: made.status()["published"], "a publication")
    assert made.blurd("redo", "--folder", "photos").stdout == "1 in the queue again, 0 left as they are\n"
    made.wait(lambda: made.status()["withdrawn"], "a withdrawal")
    assert [path.name for path in made.outputs()] == [f"{TELLING}-2.png"]
    assert TELLING in made.blurd("show", "2").stdout
    assert made.stop() == 0
    made.start()
    made.wait(lambda: not any(map(remains, (tmp_path / "state").glob("queue.sqlite*"))), "no name in the queue")
    assert made.events("names_erased")[-1]["jobs"] == 2
    scans = made.status()["published"]
    made.drop("another.png", png(2))
    made.copy("another.png")
    made.wait(lambda: made.status()["published"] == scans + 1, "the other file alone")
    assert made.blurd("reconcile").returncode == 0
    assert TELLING not in made.blurd("show", "2").stdout
    assert made.blurd("show", "2", "--sheet", str(tmp_path / "sheet.png")).returncode == 0
    assert made.stop() == 0


def remains(path: Path) -> bool:
    return b"Erika" in path.read_bytes()
