"""A state directory on a disk of its own that gets full, in a private mount namespace: run by test_state.py.

    unshare --mount python full_disk.py ROOT

Fills the disk while the appliance runs, drops a file, looks that nothing goes on and that it is said, makes room, and
looks that everything goes on by itself. Prints OK.
"""

import subprocess
import sys
import time
from pathlib import Path

from appliance import Appliance
from media import flat_png


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


def main(root: Path) -> None:
    made = Appliance(root)
    state = root / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(state)], check=True)
    made.start()
    try:
        made.drop("a.png", flat_png(60, 40))
        made.copy("a.png")
        made.wait(lambda: made.status()["published"] == 1, "the first copy's end")
        ballast = fill(state)
        made.drop("b.png", flat_png(61, 40))
        made.drop("c.png", flat_png(62, 40))
        made.wait(lambda: made.events("state_trouble") or made.events("folder_paused"), "word of it")
        time.sleep(3)
        assert made.process is not None
        assert made.process.poll() is None
        shown = made.blurd("status")
        assert shown.returncode == 1, shown
        assert "state directory has no room" in " ".join(shown.stdout.split()), shown.stdout
        assert not (root / "out" / "c.png").exists()
        ballast.unlink()
        made.copy("b.png")
        made.copy("c.png")
        made.wait(lambda: made.status()["published"] == 3, "all copies")
    finally:
        assert made.stop() == 0
    receipts = (state / "receipts.jsonl").read_bytes().splitlines()
    assert len(receipts) == 3
    assert sorted(path.name for path in (root / "out").iterdir() if path.is_file()) == ["a.png", "b.png", "c.png"]
    assert {event["reason"] for event in made.events("state_trouble") + made.events("folder_paused")} == {"state_full"}
    print("OK")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
