"""Generation that is killed, at any moment: what is there is always right, and the next run completes it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from unittest import mock

import pytest
from producers import Plain

from semscale.errors import SourceError
from semscale.model import Failure
from semscale.producers import failures
from semscale.producers.generation import generate
from semscale.producers.request import Setting
from semscale.producers.tar_output import TarOutput
from semscale.sources import open_source

PROMPTS, SEEDS = ["a cat", "A cat", "bad", "b"], [0, 9]
SETTINGS = [Setting(steps=1), Setting(steps=2)]
OUTPUTS = {"folder": lambda out: out, "tars": lambda out: TarOutput(out, 3)}


def run(out, kind="folder"):
    return generate(Plain(batch_size=2), PROMPTS, seeds=SEEDS, out=OUTPUTS[kind](out), settings=SETTINGS)


def data(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()} | {".lock": b""}


class Dying:
    """Kills this process at the k-th operation on the disk, before it is done, or, of an append, half done."""

    def __init__(self, k):
        self._left = k

    def around(self, operation, half=lambda *_: None):
        def done(*arguments):
            self._left -= 1
            if self._left == 0:
                half(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*arguments)

        return done


def append_half(path, rows):
    whole = "".join(json.dumps(row) + "\n" for row in rows)
    with path.open("a") as file:
        file.write(whole[: 2 * len(whole) // 3])


def killed_at(k, out, kind):
    """Run in a process of its own that dies at its k-th operation; return whether it died."""
    child = os.fork()
    if child == 0:
        dying = Dying(k)
        append = dying.around(failures.append, append_half)
        with (
            mock.patch("os.fsync", dying.around(os.fsync)),
            mock.patch("os.replace", dying.around(os.replace)),
            mock.patch("semscale.producers.failures.append", append),
            mock.patch("semscale.producers.folder_output.append", append),
        ):
            run(out, kind)
            os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def check_rightly_described(out):
    """Whatever a reader finds is described, also an image that is named and not there yet."""
    try:
        source = open_source(out)
        items = list(source.read(range(len(source))))
    except SourceError as error:
        if "line" in str(error):  # a torn last line says so
            assert not (out / "metadata.jsonl").read_bytes().endswith(b"\n")
        return
    for item in items:
        assert (item.text in PROMPTS and item.model in ("plain steps=1", "plain steps=2")) and item.seed in SEEDS
        assert item.group == item.text
        assert not isinstance(item, Failure) or item.code == "missing"


@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_run_killed_at_any_operation_is_completed_to_the_same_files(tmp_path, kind):
    whole = tmp_path / "whole"
    assert run(whole, kind).n_failed == 4
    k, out = 1, tmp_path / "out"
    while killed_at(k, out, kind):
        check_rightly_described(out)
        if k % 3 == 0:  # a run that completes may be killed too
            killed_at(k // 2 + 1, out, kind)
            check_rightly_described(out)
        assert not (out / "_SUCCESS").exists() or data(out) == data(whole)
        run(out, kind)
        assert data(out) == data(whole)
        shutil.rmtree(out)
        k += 1 if k < 10 else 9
    assert k > 25


def test_at_every_operation_of_a_run_a_reader_finds_the_right_groups(tmp_path):
    seen = []

    def looked(operation):
        def done(*arguments):
            check_rightly_described(tmp_path)
            seen.append(operation)
            return operation(*arguments)

        return done

    with mock.patch("os.fsync", looked(os.fsync)), mock.patch("os.replace", looked(os.replace)):
        run(tmp_path)
    assert len(seen) > 40
    check_rightly_described(tmp_path)


PROGRAM = """
import sys
from semscale.producers.drawing import SceneProducer
from semscale.producers.generation import generate
from semscale.producers.request import Setting

prompts = ["a red circle", "two blue stars", "a green house on a sandy beach"]
done = generate(SceneProducer(), prompts, seeds=range(10), out=sys.argv[1], settings=[Setting(width=64), Setting()])
print(done.n_kept, done.n_made)
assert not {"torch", "diffusers"} & sys.modules.keys()  # which take seconds, and no scene needs
"""


def test_a_process_killed_midway_goes_on_and_ends_as_if_it_had_not_been(tmp_path):
    command = [sys.executable, "-c", PROGRAM]
    process = subprocess.Popen([*command, tmp_path / "out"])
    while len(list(tmp_path.glob("out/*/*/*.png"))) < 10:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    made = len(list(tmp_path.glob("out/*/*/*.png")))
    assert 10 <= made < 60 and not (tmp_path / "out" / "_SUCCESS").exists()
    source = open_source(tmp_path / "out")
    assert all(item.text and item.model for item in source.read(range(len(source))))
    for out, told in ((tmp_path / "out", f"{made} {60 - made}"), (tmp_path / "whole", "0 60")):
        again = subprocess.run([*command, out], capture_output=True, text=True, check=True)
        assert again.stdout.strip() == told
    assert data(tmp_path / "out") == data(tmp_path / "whole")
