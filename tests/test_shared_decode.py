"""Who decodes what, and that every caller gets an answer. No test depends on how long anything really takes."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale.errors import InputError
from semscale.shared_decode import PROBE, WARM_UP, Counts, Load, SharedDecoder, averaged, batch_is_sooner

LIMIT = 30.0  # seconds until a wait counts as a deadlock


def pixels(data):
    return np.frombuffer(data.ljust(12, b"\0")[:12], np.uint8).reshape(2, 2, 3)


class Ticks:
    """A clock that a test turns on."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


class Cpu:
    """Decodes in `seconds` of the clock; b"bad" is refused."""

    def __init__(self, clock=None, seconds=0.0):
        self.clock, self.seconds, self.done = clock, seconds, []

    def __call__(self, data):
        self.done.append(data)
        if self.clock:
            self.clock.seconds += self.seconds
        if data == b"bad":
            raise InputError("decode-failed", "bad on the CPU")
        return pixels(data)


class Batch:
    """Takes what starts with j, in `seconds` an image."""

    def __init__(self, clock=None, seconds=0.0):
        self.clock, self.seconds, self.batches = clock, seconds, []

    def takes(self, data):
        return data.startswith(b"j")

    def decode(self, files):
        self.batches.append(list(files))
        if self.clock:
            self.clock.seconds += self.seconds * len(files)
        return [InputError("truncated", "cut") if data == b"jbad" else pixels(data) for data in files]


class Gate(Batch):
    """Waits in every batch until the test opens."""

    def __init__(self):
        super().__init__()
        self.entered, self.open = threading.Semaphore(0), threading.Event()

    def decode(self, files):
        self.entered.release()
        assert self.open.wait(LIMIT)
        return super().decode(files)


@pytest.fixture
def shared():
    """Make decoders that are closed whatever happens."""
    made = []

    def make(batch, cpu=None, *, workers=1, batch_size=8, **options):
        made.append(SharedDecoder(batch, cpu or Cpu(), workers=workers, batch_size=batch_size, **options))
        return made[-1]

    yield make
    for decoder in made:
        decoder.close()


def all_to_batch(monkeypatch):
    monkeypatch.setattr("semscale.shared_decode.batch_is_sooner", lambda load: True)
    monkeypatch.setattr("semscale.shared_decode.PROBE", 1 << 40)


@pytest.mark.parametrize(
    ("load", "sooner"),
    [
        (Load(0, 0, 2, None, None), True),  # the first image measures the batch decoder,
        (Load(0, 1, 2, None, None), False),  # and those that come meanwhile the CPU
        (Load(9, 1, 2, 1.0, None), False),
        (Load(0, 3, 2, None, 1.0), False),
        (Load(1, 3, 2, None, 1.0), True),
        (Load(0, 0, 2, 1.0, 0.5), True),
        (Load(0, 0, 2, 1.0, 1.0), False),  # equals: the CPU
        (Load(0, 1, 2, 1.0, 0.5), False),
        (Load(1, 1, 2, 1.0, 0.5), False),  # a worker is free
        (Load(2, 1, 2, 1.0, 0.5), True),  # none is: a second turn
        (Load(2, 3, 2, 1.0, 0.5), False),
        (Load(4, 3, 2, 1.0, 0.5), True),
    ],
)
def test_the_choice(load, sooner):
    assert batch_is_sooner(load) is sooner


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    cpu=st.integers(0, 50),
    batch=st.integers(0, 50),
    workers=st.integers(1, 16),
    seconds=st.tuples(st.floats(1e-6, 10), st.floats(1e-6, 10)),
)
def test_more_work_on_a_side_never_makes_it_more_attractive(cpu, batch, workers, seconds):
    here = batch_is_sooner(Load(cpu, batch, workers, *seconds))
    assert batch_is_sooner(Load(cpu + 1, batch, workers, *seconds)) >= here
    assert batch_is_sooner(Load(cpu, batch + 1, workers, *seconds)) <= here
    assert batch_is_sooner(Load(cpu, batch, workers + 1, *seconds)) <= here


def test_a_batch_weighs_as_much_as_its_images():
    one_by_one = 1.0
    for _ in range(5):
        one_by_one = averaged(one_by_one, 3.0, 1)
    assert averaged(1.0, 3.0, 5) == pytest.approx(one_by_one)
    assert averaged(None, 3.0, 5) == 3.0 and 1 < averaged(1.0, 3.0, 1) < averaged(1.0, 3.0, 2) < 3


def decided(cpu_seconds, batch_seconds, shared, images=10 * PROBE):
    """Which side decodes how many of `images` that come one after the other, once both are measured."""
    clock = Ticks()
    decoder = shared(Batch(clock, batch_seconds), Cpu(clock, cpu_seconds), now=clock)
    for i in range(images):
        decoder(b"j%d" % i)
    return decoder.counts


def test_the_faster_side_gets_the_work_and_the_other_is_measured_now_and_then(shared):
    """The first image warms the batch decoder up, the second measures it, the third the CPU."""
    assert decided(3.0, 1.0, shared) == Counts(cpu=1 + 10, batch=10 * PROBE - 11)
    assert decided(1.0, 3.0, shared) == Counts(cpu=10 * PROBE - 12, batch=WARM_UP + 1 + 10)


def test_a_side_that_was_slow_once_is_found_to_be_fast_again(shared):
    clock = Ticks()
    batch = Batch(clock, 9.0)
    decoder = shared(batch, Cpu(clock, 1.0), now=clock)
    for _ in range(2 * PROBE):
        decoder(b"j")
    before = decoder.counts
    batch.seconds = 0.001
    for _ in range(60 * PROBE):
        decoder(b"j")
    assert decoder.counts.batch - before.batch > 20 * PROBE


def test_the_first_batch_pays_for_the_start_and_is_not_counted(shared):
    clock = Ticks()
    batch = Batch(clock, 1000.0)
    decoder = shared(batch, Cpu(clock, 3.0), now=clock)
    decoder(b"j")
    batch.seconds = 1.0
    for _ in range(PROBE - 2):
        decoder(b"j")
    assert decoder.counts == Counts(cpu=1, batch=PROBE - 2)


def test_what_the_batch_decoder_does_not_take_is_decoded_by_the_caller_and_not_measured(shared):
    clock, batch = Ticks(), Batch()
    cpu = Cpu(clock, 1000.0)
    decoder = shared(batch, cpu, now=clock)
    for _ in range(3):
        np.testing.assert_array_equal(decoder(b"png"), pixels(b"png"))
    assert batch.batches == [] and decoder.counts == Counts(3, 0)
    assert decoder._cpu_seconds is None


def test_everybody_gets_their_own_pixels(shared):
    batch, cpu = Batch(), Cpu()
    decoder = shared(batch, cpu, workers=2, batch_size=4)
    names = [(b"j%d" if i % 3 else b"p%d") % i for i in range(300)]
    with ThreadPoolExecutor(12) as pool:
        for name, found in zip(names, pool.map(decoder, names, timeout=LIMIT), strict=True):
            np.testing.assert_array_equal(found, pixels(name))
    done = [*cpu.done, *(data for files in batch.batches for data in files)]
    assert sorted(done) == sorted(names)
    assert decoder.counts == Counts(len(cpu.done), len(names) - len(cpu.done))
    assert max(map(len, batch.batches)) <= 4


def test_a_batch_is_what_came_while_the_last_one_ran(shared, monkeypatch):
    all_to_batch(monkeypatch)
    gate = Gate()
    decoder = shared(gate, batch_size=3)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(decoder, b"j0")
        assert gate.entered.acquire(timeout=LIMIT)
        rest = [pool.submit(decoder, b"j%d" % i) for i in range(1, 6)]
        while len(decoder._waiting) < 5:
            assert not first.done()
            time.sleep(0.001)
        gate.open.set()
        for i, future in enumerate([first, *rest]):
            np.testing.assert_array_equal(future.result(LIMIT), pixels(b"j%d" % i))
    assert [len(files) for files in gate.batches] == [1, 3, 2]


def test_at_most_workers_callers_decode_at_once(shared):
    now, most, lock = [0], [0], threading.Lock()
    together = threading.Barrier(3)

    def cpu(data):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        together.wait(LIMIT)  # three are in here together, or nobody gets out
        with lock:
            now[0] -= 1
        return pixels(data)

    decoder = shared(Batch(), cpu, workers=3)
    with ThreadPoolExecutor(9) as pool:
        assert len(list(pool.map(decoder, [b"png"] * 30, timeout=LIMIT))) == 30
    assert most[0] == 3


def test_errors_reach_the_caller_they_belong_to(shared, monkeypatch):
    decoder = shared(Batch())
    with pytest.raises(InputError, match="bad on the CPU"):
        decoder(b"bad")
    all_to_batch(monkeypatch)
    with pytest.raises(InputError) as caught:
        decoder(b"jbad")
    assert caught.value.code == "truncated"
    np.testing.assert_array_equal(decoder(b"jgood"), pixels(b"jgood"))
    assert decoder.counts == Counts(1, 2)


class Broken(Batch):
    def decode(self, files):
        raise RuntimeError("the device is gone")


class Short(Batch):
    def decode(self, files):
        return super().decode(files)[1:]


@pytest.mark.parametrize(("batch", "kind"), [(Broken(), RuntimeError), (Short(), AssertionError)])
def test_a_broken_batch_decoder_is_heard_of_every_time(batch, kind, shared, monkeypatch):
    all_to_batch(monkeypatch)
    decoder = shared(batch)
    for _ in range(3):
        with pytest.raises(kind):
            decoder(b"j")
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(decoder, b"j") for _ in range(9)]
        assert all(isinstance(future.exception(LIMIT), kind) for future in futures)
    np.testing.assert_array_equal(decoder(b"png"), pixels(b"png"))


def test_a_worker_that_fails_gives_its_place_back(shared):
    decoder = shared(Batch(), workers=1)
    for _ in range(5):
        with pytest.raises(InputError):
            decoder(b"bad")
    assert decoder(b"good") is not None


def test_closing_lets_those_who_wait_finish_and_ends_the_thread(shared, monkeypatch):
    all_to_batch(monkeypatch)
    gate = Gate()
    decoder = shared(gate, batch_size=2)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(decoder, b"j%d" % i) for i in range(5)]
        assert gate.entered.acquire(timeout=LIMIT)
        closing = pool.submit(decoder.close)
        gate.open.set()
        assert closing.result(LIMIT) is None
        for i, future in enumerate(futures):
            np.testing.assert_array_equal(future.result(LIMIT), pixels(b"j%d" % i))
    assert not decoder._thread.is_alive()
    batches = len(gate.batches)
    np.testing.assert_array_equal(decoder(b"j late"), pixels(b"j late"))  # by its caller
    assert len(gate.batches) == batches
    decoder.close()
