"""A run goes on after its decoder crashed, and ends as it should in every other case."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from images import png, write_tree
from PIL import Image

from semscale import isolated, pixels, supervise
from semscale.decode import decode
from semscale.errors import InputError
from semscale.isolated import decode_isolated
from semscale.model import Sample
from semscale.store import Store

PRELUDE = """
import os, pathlib, signal, sys, time
from semscale.supervise import confirmed, supervised
folder = pathlib.Path(sys.argv[1])
def attempt():
    '''Which child this is, from 1.'''
    with (folder / "attempts").open("a") as file:
        file.write("x")
    return len((folder / "attempts").read_text())
def die(number=signal.SIGSEGV):
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    time.sleep(60)
"""
MAIN = "\nsys.exit(supervised(run, lambda line: print(line, file=sys.stderr, flush=True)))\n"


def script(tmp_path, run):
    path = tmp_path / "script.py"
    path.write_text(PRELUDE + textwrap.dedent(run) + MAIN)
    return [sys.executable, str(path), str(tmp_path)]


def finished(tmp_path, run, **options):
    done = subprocess.run(script(tmp_path, run), capture_output=True, text=True, check=False, timeout=60, **options)
    attempts = tmp_path / "attempts"
    return done, len(attempts.read_text()) if attempts.exists() else 0


@pytest.mark.parametrize(("end", "status"), [("return 0", 0), ("return 3", 3), ("sys.exit(2)", 2), ("1 / 0", 1)])
def test_the_status_is_that_of_the_child(tmp_path, end, status):
    done, attempts = finished(tmp_path, f"def run():\n    attempt()\n    {end}")
    assert (done.returncode, attempts) == (status, 1)
    assert done.stderr.count("ZeroDivisionError") == (end == "1 / 0")


def test_standard_streams_stay_and_nothing_is_written_twice(tmp_path):
    run = """
    sys.stdout.write("before, ")
    def run():
        print(sys.stdin.read().upper(), end="")
        return 0
    """
    done, _ = finished(tmp_path, run, input="heard")
    assert (done.stdout, done.stderr) == ("before, HEARD", "")


@pytest.mark.parametrize("name", sorted(number.name for number in supervise.CRASHES))
def test_a_crash_is_told_and_the_run_begins_again(tmp_path, name):
    done, attempts = finished(tmp_path, f"def run():\n    return die(signal.{name}) if attempt() == 1 else 5")
    assert (done.returncode, attempts) == (5, 2)
    assert done.stderr == f"a decoder crashed ({name}); going on without the input that did it\n"


def test_it_goes_on_as_long_as_each_crash_finds_a_culprit(tmp_path):
    run = """
    def run():
        n = attempt()
        for known in range(n - 1):
            confirmed(f"input {known}")
        return 0 if n == 9 else die()
    """
    done, attempts = finished(tmp_path, run)
    assert (done.returncode, attempts, done.stderr.count("going on")) == (0, 9, 8)


@pytest.mark.parametrize("found", ["pass", "confirmed('the same')"])
def test_it_gives_up_when_no_new_input_is_to_blame(tmp_path, found):
    done, attempts = finished(tmp_path, f"def run():\n    attempt()\n    {found}\n    die(signal.SIGABRT)")
    news = 0 if found == "pass" else 1  # a culprit that every child finds again is news once
    assert attempts == 1 + supervise.PATIENCE + news
    assert done.returncode == 128 + signal.SIGABRT
    assert "SIGABRT" in done.stderr.splitlines()[-1] and "doctor" in done.stderr.splitlines()[-1]


def test_other_signals_end_it(tmp_path):
    done, attempts = finished(tmp_path, "def run():\n    attempt()\n    os.kill(os.getpid(), signal.SIGKILL)")
    assert (done.returncode, attempts, done.stderr) == (128 + signal.SIGKILL, 1, "")


WAITING = """
def run():
    attempt()
    def stop(number, frame):
        print("stopped by", signal.Signals(number).name, flush=True)
        {after}
    signal.signal(signal.SIGINT, stop), signal.signal(signal.SIGTERM, stop), signal.signal(signal.SIGHUP, stop)
    print(os.getpid(), flush=True)
    while True:
        time.sleep(0.05)
"""


def started(tmp_path, after):
    command = script(tmp_path, WAITING.format(after=after))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    return process, int(process.stdout.readline())


def ended(process):
    out, _ = process.communicate(timeout=30)
    return out, process.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_parent_reaches_the_child(tmp_path, number):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here, as under nohup, and is left ignored")
    process, _ = started(tmp_path, "os._exit(7)")
    process.send_signal(number)
    assert ended(process) == (f"stopped by {number.name}\n", 7)


def test_ctrl_c_reaches_the_child_once_and_the_parent_waits_for_it(tmp_path):
    process, _ = started(tmp_path, "time.sleep(0.5), os._exit(7)")
    os.killpg(process.pid, signal.SIGINT)
    assert ended(process) == ("stopped by SIGINT\n", 7)


def test_a_crash_after_a_stop_is_no_reason_to_begin_again(tmp_path):
    process, _ = started(tmp_path, "die()")
    process.send_signal(signal.SIGTERM)
    assert ended(process) == ("stopped by SIGTERM\n", 128 + signal.SIGSEGV)
    assert (tmp_path / "attempts").read_text() == "x"


def test_a_child_does_not_outlive_its_parent(tmp_path):
    process, child = started(tmp_path, "pass")
    process.kill()
    assert ended(process) == ("", -signal.SIGKILL)  # the output ends when the last process that holds it does
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # until whoever adopted it has taken notice
            os.kill(child, 0)
            time.sleep(0.05)


def test_outside_of_supervision_a_culprit_is_nobodys_business():
    assert supervise.confirmed("input") is None


PATCH = """
import os
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder

class Patched(Loader):
    '''Loads `semscale.decode` as it is, but for bytes with a magic prefix, of which it dies.'''
    def __init__(self, real):
        self.real = real
    def create_module(self, spec):
        return self.real.create_module(spec)
    def exec_module(self, module):
        self.real.exec_module(module)
        decode = module.decode
        def deadly(data, **options):
            if data.startswith(b"abort"):
                os.abort()
            if data.startswith(b"hang"):
                __import__("time").sleep(60)
            return decode(data, **options)
        module.decode = deadly

class Finder(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "semscale.decode":
            return None
        spec = PathFinder.find_spec(name, path, target)
        spec.loader = Patched(spec.loader)
        return spec

__import__("sys").meta_path.insert(0, Finder())
"""


@pytest.fixture
def deadly(tmp_path):
    """The environment of a process whose decoder aborts; its own children inherit it."""
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch" / "sitecustomize.py").write_text(PATCH)
    return os.environ | {"PYTHONPATH": str(tmp_path / "patch"), "PYTHONFAULTHANDLER": ""}


def test_isolated_decoding_gives_what_decoding_gives():
    for data in (png(3), b"<html>", b"", png(3)[:60]):
        assert outcome(decode_isolated, data) == outcome(decode, data)
    large = io.BytesIO()
    Image.new("RGB", (600, 400), "red").save(large, "JPEG")
    assert decode_isolated(large.getvalue(), shrink_to=50).shape == decode(large.getvalue(), shrink_to=50).shape
    pixels = decode_isolated(png(3))
    assert pixels.flags.c_contiguous and pixels.flags.writeable
    with pytest.raises(InputError, match="--max-pixels"):
        decode_isolated(png(3), max_pixels=10)


def outcome(function, data):
    try:
        return function(data).tolist()
    except InputError as error:
        return error.code, error.message


def test_a_decoder_that_dies_or_hangs_in_isolation_is_an_input_error(deadly, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", deadly["PYTHONPATH"])
    with pytest.raises(InputError, match=r"SIGABRT.*PNG") as caught:
        decode_isolated(b"abort")
    assert caught.value.code == "decoder-crashed"
    monkeypatch.setattr(isolated, "SECONDS", 2.0)
    with pytest.raises(InputError, match=r"2 seconds.*PNG") as caught:
        decode_isolated(b"hang")
    assert caught.value.code == "decoder-hung"
    assert decode_isolated(png(3)).shape == decode(png(3)).shape


def test_a_process_that_cannot_decode_at_all_says_nothing_of_the_input(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="status 1"):
        decode_isolated(png(3))


def test_a_run_outlives_its_decoder(deadly, tmp_path, model):
    """Of 40 images some abort the process that decodes them: they are rows of the errors, all else is embedded."""
    images = write_tree(tmp_path / "images", [f"group/{i:02}.png" for i in range(40)])
    names = {f"group/{i:02}.png" for i in (2, 3, 29)}
    for name in names:
        (images / name).write_bytes(b"abort")
    entry = "import sys; from semscale.cli import run; sys.argv[0] = 'semscale'; sys.exit(run())"
    options = ["--model", model, "--backend", "fake", "--shard-size", "10", "--workers", "2", "--max-error-rate", "1"]
    command = [sys.executable, "-c", entry, "embed", str(images), "-o", str(tmp_path / "store"), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=deadly, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("a decoder crashed (SIGABRT); going on") in {2, 3}
    store = Store(tmp_path / "store")
    errors = {row["key"]: row["code"] for row in store.errors().to_pylist()}
    assert errors == dict.fromkeys(names, "decoder-crashed")
    assert set(store.metadata().column("key").to_pylist()) == {f"group/{i:02}.png" for i in range(40)} - names
    assert not list((tmp_path / "store").glob(".decoding*")) and not list((tmp_path / "store").glob(".suspects*"))


def test_a_decoder_that_is_killed_from_outside_is_tried_again_and_blamed_for_nothing(monkeypatch):
    deaths = [-signal.SIGKILL, -signal.SIGKILL]
    run = subprocess.run

    def killed(*arguments, **how):
        return subprocess.CompletedProcess(arguments, deaths.pop(), b"", b"") if deaths else run(*arguments, **how)

    monkeypatch.setattr(isolated.subprocess, "run", killed)
    assert decode_isolated(png(), max_pixels=10_000).shape == (20, 24, 3)
    deaths += [-signal.SIGKILL] * isolated.ATTEMPTS
    with pytest.raises(InputError, match="killed each time") as caught:
        decode_isolated(png(), max_pixels=10_000)
    assert caught.value.code == "decoder-killed"
    failure = pixels._failure(Sample("k", "u", b"", "g", fingerprint="now"), caught.value)
    assert failure.fingerprint == ""  # so that the next run tries again
