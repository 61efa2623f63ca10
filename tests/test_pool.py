from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from facefake.pool import Pool, spread


def test_opens_only_as_many_as_are_wanted_at_once() -> None:
    opened: list[object] = []

    def open_one() -> object:
        opened.append(object())
        return opened[-1]

    pool = Pool(open_one, 3)
    assert not opened
    with pool.one() as first:
        pass
    with pool.one() as again, pool.one() as second:
        assert again is first
        assert second is not first
    assert opened == [first, second]


def test_places_that_nobody_takes_cost_nothing() -> None:
    pool = Pool(object, 1 << 60)
    with pool.one() as first, pool.one() as second:
        assert first is not second


def test_a_thread_waits_where_all_are_lent() -> None:
    pool = Pool(object, 1)
    began, waited = threading.Event(), threading.Event()

    def take() -> object:
        began.set()
        with pool.one() as lent:
            waited.set()
            return lent

    with ThreadPoolExecutor(1) as threads:
        with pool.one() as first:
            taken = threads.submit(take)
            assert began.wait(5)
            assert not waited.wait(0.05)
        assert taken.result(5) is first


def test_what_opening_or_using_raises_costs_no_place() -> None:
    faults = [ValueError("broken")]

    def open_one() -> object:
        if faults:
            raise faults.pop()
        return object()

    pool = Pool(open_one, 1)
    with pytest.raises(ValueError, match="broken"), pool.one():
        pass
    with pytest.raises(KeyError), pool.one() as first:
        raise KeyError
    with pool.one() as again:
        assert again is first


def test_what_it_lets_go_of_is_opened_anew() -> None:
    pool = Pool(object, 2)
    with pool.one() as first, pool.one() as second:
        pass
    pool.clear()
    with pool.one() as third, pool.one() as fourth:
        assert not {id(first), id(second)} & {id(third), id(fourth)}


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_pieces_of_work_come_back_in_order(threads: int) -> None:
    seen = set()

    def half(piece: int) -> float:
        seen.add(threading.current_thread())
        time.sleep(0.001 * (piece % 3))
        return piece / 2

    with ThreadPoolExecutor(threads) as executor:
        assert spread(executor, threads, half, range(40)) == [piece / 2 for piece in range(40)]
        assert spread(executor, threads, half, []) == []
    assert 0 < len(seen) <= threads
    assert threading.current_thread() not in seen


def test_threads_work_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=30)
    with ThreadPoolExecutor(3) as executor:
        spread(executor, 3, lambda _: together.wait(), range(6))


def test_after_an_error_no_thread_begins_another_piece() -> None:
    failed = threading.Event()
    begun = []

    def work(piece: int) -> None:
        begun.append(piece)
        if piece == 1:
            failed.set()
            raise KeyError(piece)
        assert failed.wait(30)
        time.sleep(0.1)  # until the caller knows

    with ThreadPoolExecutor(2) as executor, pytest.raises(KeyError):
        spread(executor, 2, work, range(1000))
    assert len(begun) < 10


def test_two_callers_share_an_executor() -> None:
    with ThreadPoolExecutor(2) as executor, ThreadPoolExecutor(4) as callers:
        made = callers.map(lambda factor: spread(executor, 2, lambda x: factor * x, range(50)), range(8))
        assert list(made) == [[factor * x for x in range(50)] for factor in range(8)]
