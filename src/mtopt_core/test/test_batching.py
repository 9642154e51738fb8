from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from mtopt_core.batching import Batcher


def squares(numbers: Sequence[int]) -> list[int]:
    return [number**2 for number in numbers]


def test_one_thread_is_answered_alone_and_at_once():
    batcher = Batcher(squares, largest=4)
    assert [batcher.ask(number) for number in range(5)] == [0, 1, 4, 9, 16]
    assert (batcher.requests, batcher.batches) == (5, 5)


def test_who_comes_while_a_batch_is_computed_forms_the_next_together():
    begun, go_on, sizes = threading.Event(), threading.Event(), []

    def compute(numbers: Sequence[int]) -> list[int]:
        sizes.append(len(numbers))
        begun.set()
        assert go_on.wait(10)
        return squares(numbers)

    batcher = Batcher(compute, largest=3)
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(batcher.ask, 0)
        assert begun.wait(10)
        others = [threads.submit(batcher.ask, number) for number in (1, 2, 3, 4)]
        while len(batcher._waiting) < 4:
            pass
        go_on.set()
        assert [one.result(10) for one in (first, *others)] == [0, 1, 4, 9, 16]
    assert sizes == [1, 3, 1]


def test_a_request_that_fails_takes_none_of_its_batch_with_it():
    first, go_on = threading.Event(), threading.Event()

    def compute(numbers: Sequence[int]) -> list[int]:
        first.set()
        assert go_on.wait(10)
        if 13 in numbers:
            raise ValueError('13')
        return squares(numbers)

    batcher = Batcher(compute, largest=8)
    with ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(batcher.ask, 1)]
        assert first.wait(10)
        answers += [threads.submit(batcher.ask, number) for number in (13, 2)]
        while len(batcher._waiting) < 2:
            pass
        go_on.set()
        assert answers[0].result(10) == 1
        assert answers[2].result(10) == 4
        with pytest.raises(ValueError, match='13'):
            answers[1].result(10)
