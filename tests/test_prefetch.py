import itertools
import threading
import time

import pytest

from semscale.prefetch import ahead, ordered_map


def test_order_is_kept_when_later_items_finish_first():
    def slow_first(i):
        time.sleep(0.02 if i == 0 else 0)
        return i * 10

    assert list(ordered_map(slow_first, range(20), workers=4, depth=8)) == [i * 10 for i in range(20)]


def test_never_more_than_depth_items_are_taken():
    taken = []

    def items():
        for i in itertools.count():
            taken.append(i)
            yield i

    stream = ordered_map(lambda i: i, items(), workers=2, depth=5)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 3 + 5
    stream.close()


@pytest.mark.parametrize("wrap", [lambda f, x: ordered_map(f, x, workers=3, depth=6), lambda f, x: ahead(map(f, x), 6)])
def test_an_error_appears_in_its_place(wrap):
    def fail_at_seven(i):
        if i == 7:
            raise KeyError("seven")
        return i

    seen = []
    with pytest.raises(KeyError, match="seven"):
        for value in wrap(fail_at_seven, range(20)):
            seen.append(value)
    assert seen == list(range(7))


def test_an_error_of_the_iterator_surfaces_after_what_came_before():
    def items():
        yield 1
        yield 2
        raise OSError("disk gone")

    stream = ordered_map(lambda i: i, items(), workers=2, depth=5)
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(OSError, match="disk gone"):
        list(stream)


def test_ahead_reads_in_another_thread_and_equals_its_input():
    threads = set()

    def items():
        for i in range(50):
            threads.add(threading.get_ident())
            yield i

    assert list(ahead(items(), 4)) == list(range(50))
    assert threads and threading.get_ident() not in threads


def test_closing_early_stops_threads_and_closes_the_generator():
    closed = threading.Event()

    def items():
        try:
            yield from itertools.count()
        finally:
            closed.set()

    before = threading.active_count()
    stream = ahead(ordered_map(lambda i: i, items(), workers=2, depth=4), 3)
    assert next(stream) == 0
    stream.close()
    assert closed.is_set()
    assert threading.active_count() == before


def test_nothing_in_nothing_out():
    assert list(ordered_map(str, [], workers=2, depth=2)) == []
    assert list(ahead([], 2)) == []
