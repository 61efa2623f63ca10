from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from facefake.pool import Pool


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
