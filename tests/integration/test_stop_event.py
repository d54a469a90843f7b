"""A signal that comes in the middle of waiting is heard, and blocks nobody."""

import subprocess
import sys
import threading
import time

from blurd.adapters.stop_event import StopEvent

HAMMER = """
import os, signal, sys, threading, time
from blurd.adapters.stop_event import StopEvent
kind = {"plain": threading.Event, "ours": StopEvent}[sys.argv[1]]
ended_s = time.monotonic() + 2.0
while time.monotonic() < ended_s:
    event = kind()
    signal.signal(signal.SIGALRM, lambda *_: event.set())
    signal.setitimer(signal.ITIMER_REAL, 0.0002)
    while not event.wait(0.000001):
        pass
    if kind is StopEvent:
        os.close(event._reading)
        os.close(event._writing)
print("ended")
"""
"""A handler sets the event that the main thread is waiting for; the same again, thousands of times."""


def test_s40_a_signal_in_the_middle_of_waiting_does_not_block() -> None:
    """With "plain" in the place of "ours" the process hangs within a second."""
    command = [sys.executable, "-c", HAMMER, "ours"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "ended\n", done.stderr


def test_it_wakes_who_waits_and_stays_set() -> None:
    event = StopEvent()
    assert not event.is_set()
    assert not event.wait(0.01)
    threading.Timer(0.1, event.set).start()
    started_s = time.monotonic()
    assert event.wait(30.0)
    assert time.monotonic() - started_s < 5.0
    for _ in range(100_000):  # more than a pipe holds
        event.set()
    assert event.wait(30.0)
    assert event.is_set()
