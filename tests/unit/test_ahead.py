"""Making things ahead: order, errors in their place, and an end."""

import threading
import time
from collections.abc import Iterator

import pytest

from blurd.core.ahead import ahead


@pytest.mark.parametrize("most", [0, 1, 3, 50])
def test_the_items_come_in_their_order(most: int) -> None:
    assert list(ahead(range(20), most)) == list(range(20))
    assert list(ahead([], most)) == []


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_than_so_many_are_made_early(most: int) -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    for number in ahead(items(), most):
        time.sleep(0.02)
        assert len(made) <= number + 1 + most
    assert made == list(range(10))


def test_items_are_made_while_another_is_used() -> None:
    makers: set[int] = set()

    def items() -> Iterator[int]:
        for number in range(3):
            makers.add(threading.get_ident())
            yield number

    assert list(ahead(items(), 1)) == [0, 1, 2]
    assert makers
    assert threading.get_ident() not in makers


@pytest.mark.parametrize("most", [0, 1, 5])
def test_an_error_comes_where_its_item_would_have_come(most: int) -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("third")

    got: list[int] = []
    with pytest.raises(ValueError, match="third"):
        got.extend(ahead(items(), most))
    coming = ahead(items(), most)
    assert [next(coming), next(coming)] == [1, 2]
    with pytest.raises(ValueError, match="third"):
        next(coming)


def test_nothing_goes_on_after_the_end() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    before = threading.active_count()
    coming = ahead(items(), 2)
    assert next(coming) == 0
    coming.close()
    count = len(made)
    time.sleep(0.05)
    assert len(made) == count <= 4
    assert threading.active_count() == before
