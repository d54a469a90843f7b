"""What is printed past the log goes nowhere, is counted, and holds nobody up: real descriptors, own processes."""

import json
import subprocess
import sys

HEAD = """
import ctypes, os, sys, threading
from blurd.adapters.log import EventLog
from blurd.adapters.own_output import own_output_withheld
from blurd.events import Part
log = EventLog(Part.WORK)
log.capture_libraries()
libc = ctypes.CDLL(None)
locked = ctypes.PyDLL(None)  # calls keep Python's lock
"""


def run(body: str) -> tuple[int, str, list[dict[str, object]]]:
    """Exit status, what a person sees, and the events."""
    done = subprocess.run([sys.executable, "-c", HEAD + body], capture_output=True, text=True, check=False, timeout=60)
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    return done.returncode, done.stdout + "\n".join(said), events


def test_text_is_withheld_and_comes_through_again_afterwards() -> None:
    body = """
print("before")
with own_output_withheld(log.emit):
    print("Erika")
    os.write(2, b"Erika")
    libc.puts(b"Erika")
    libc.fflush(None)
print("after")
print("sentence", file=sys.stderr)
"""
    status, said, events = run(body)
    assert (status, said.split()) == (0, ["before", "after", "sentence"])
    assert {(event["event"], event["severity"]) for event in events} == {("library_spoke", 0)}


def test_who_prints_with_pythons_lock_in_hand_does_not_wait_for_ever() -> None:
    """A mebibyte, which no pipe holds, while the thread that reads can't run."""
    body = """
text = b"Erika " * 174763
with own_output_withheld(log.emit):
    for _ in range(5):
        locked.write(2, text, len(text))
"""
    status, said, events = run(body)
    assert (status, said) == (0, "")
    assert 1 <= len(events) <= 20


def test_the_last_words_of_a_process_that_dies_go_nowhere() -> None:
    body = """
with own_output_withheld(log.emit):
    os.write(2, b"terminate called after throwing Erika")
    os.abort()
"""
    status, said, events = run(body)
    assert status < 0
    assert said == ""
    assert "Erika" not in json.dumps(events)


def test_exceptions_in_threads_and_destructors_are_class_and_line() -> None:
    body = """
class Loud:
    def __del__(self):
        raise OSError("Erika")
def fail():
    raise ZeroDivisionError("Erika")
Loud()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
raise UnicodeDecodeError("utf-8", b"Erika", 0, 1, "Erika")
"""
    status, said, events = run(body)
    assert (status, said) == (1, "")
    assert [event["fault"] for event in events] == ["OSError", "ZeroDivisionError", "UnicodeError"]
