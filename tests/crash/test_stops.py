"""The watcher is asked to stop (SIGTERM) before each operation of a publication: link, receipt, withdrawal, states.

A publication that is under way is finished: its copy, its receipt and its state, or none of them. Where a file system
does not answer any more the process ends all the same, and the next one finishes.
"""

import random
from collections.abc import Iterator, Sequence

import pytest

from crash.harness import Ground, Run, small_jpeg, wait_for

REGIONS = b'{"regions": [{"class": "region", "box": [0.0, 0.0, 0.5, 0.5]}]}'
DONE = {"published": 1, "withdrawn": 1}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground(tmp_path_factory.mktemp("stops")) as made:
        yield made


def stage_a_replacement(run: Run) -> None:
    """A copy is published, its regions come, and the copy that will replace it is staged."""
    run.drop("a.jpg", small_jpeg(1))
    work, watch = run.start("work"), run.start("watch")
    wait_for(lambda: run.is_done({"published": 1}), "first copy")
    assert work.end() == 0
    run.drop("a.jpg.regions.json", REGIONS)
    wait_for(lambda: run.states()["queued"], "job for the regions")
    assert watch.end() == 0
    work = run.start("work")
    wait_for(lambda: run.states()["staged"], "second copy")
    assert work.end() == 0


def publication(run: Run) -> Sequence[str]:
    """The operations of the counted watcher's publication, from the link to the end of the staged copy."""
    names = [note["operation"] for note in run.operations()]
    names = names[names.index("link") :]
    return names[: len(names) - names[::-1].index("unlink")]


def finish(run: Run) -> None:
    """All is as if nobody had asked."""
    assert run.is_done(DONE)
    assert not run.staged()
    run.check_promises(DONE, ["a-2.jpg"])


@pytest.fixture(scope="module")
def operations(ground: Ground) -> Sequence[str]:
    """What a publication consists of, by one that nobody interrupts."""
    with ground.run() as run:
        stage_a_replacement(run)
        watch = run.start("watch", counted=True)
        wait_for(lambda: run.is_done(DONE) and not run.staged(), "second copy")
        assert watch.end() == 0
        finish(run)
        found = publication(run)
    assert {"link", "fsync", "write", "rename", "unlink", "statement", "commit"} <= set(found)
    return found


def asked(run: Run, stop_at: int, *, hangs: bool) -> None:
    """The replacement is staged, and its publication begun by a watcher that is asked to stop on its way, and ends."""
    stage_a_replacement(run)
    watch = run.start("watch", stop_at=stop_at, hangs=hangs)
    wait_for(lambda: watch.status() is not None, f"end of the watcher, stopped at {stop_at}")
    assert watch.status() == 0


def finished(ground: Ground, stop_at: int) -> None:
    """The publication goes on to its end, without a new process."""
    with ground.run() as run:
        asked(run, stop_at, hangs=False)
        finish(run)


def taken_up(ground: Ground, stop_at: int) -> None:
    """The operation never ends; the next watcher finishes what is left."""
    with ground.run() as run:
        asked(run, stop_at, hangs=True)
        assert run.staged()
        watch = run.start("watch")
        wait_for(lambda: run.is_done(DONE) and not run.staged(), "second copy")
        assert watch.end() == 0
        finish(run)


FORMS = {"finished": finished, "taken up": taken_up}


def places(operations: Sequence[str], form: str) -> Sequence[int]:
    """Where the stop may come. A transaction's thread does not hang: it waits for no file system but the state's."""
    hanging = ("statement", "commit") if form == "taken up" else ()
    return [place for place, name in enumerate(operations, 1) if name not in hanging]


@pytest.mark.parametrize("form", FORMS)
def test_s40_a_stop_at_some_points_of_a_publication(ground: Ground, operations: Sequence[str], form: str) -> None:
    """A spread of operations, another at each run of the suite; the campaign takes every one."""
    first = random.Random().randrange(4)  # noqa: S311
    for stop_at in places(operations, form)[first::4]:
        FORMS[form](ground, stop_at)


@pytest.mark.campaign
@pytest.mark.parametrize("form", FORMS)
def test_s40_a_stop_at_every_point_of_a_publication(ground: Ground, operations: Sequence[str], form: str) -> None:
    for stop_at in places(operations, form):
        FORMS[form](ground, stop_at)
