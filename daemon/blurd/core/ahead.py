"""Making things before they are asked for, in a thread of their own, so that two passes' work goes on side by side."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

_END: Final = object()


def ahead(items: Iterable[T], most: int) -> Generator[T]:
    """The items in their order, up to `most` of them made before they are asked for.

    An error in making one is raised where that one would have come. Nothing goes on once this iterator is closed. With
    `most` 0 each is made when it is asked for.
    """
    iterator = iter(items)
    if most < 1:
        yield from iterator
        return
    maker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
    coming: deque[Future[T | object]] = deque(maker.submit(next, iterator, _END) for _ in range(most))
    try:
        while (item := coming.popleft().result()) is not _END:
            coming.append(maker.submit(next, iterator, _END))
            yield item  # type: ignore[misc]
    finally:
        maker.shutdown(cancel_futures=True)
