"""What a dead process was decoding is known to the next one; what ended well is not suspected."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from semscale.journal import Journal


def dead(folder, positions, name=""):
    """Leave the journal of a process that was killed while it decoded `positions`."""
    code = (
        "import contextlib, os, pathlib, signal, sys; from semscale.journal import Journal\n"
        "journal = Journal.open(pathlib.Path(sys.argv[1]), 8, sys.argv[2])\n"
        "with contextlib.ExitStack() as stack:\n"
        "    for position in sys.argv[3:]: stack.enter_context(journal.decoding(int(position)))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(folder), name, *map(str, positions)], check=False)
    assert ended.returncode == -signal.SIGKILL


def reopened(folder, name=""):
    journal = Journal.open(folder, 4, name)
    journal.close()
    return journal.suspects


def test_a_new_folder_has_no_suspects(tmp_path):
    assert reopened(tmp_path) == frozenset()


def test_what_a_killed_process_was_decoding_is_suspect(tmp_path):
    dead(tmp_path, [0, 7, 2**40])
    assert reopened(tmp_path) == {0, 7, 2**40}


def test_suspects_gather_until_the_run_is_finished(tmp_path):
    dead(tmp_path, [3, 4])
    dead(tmp_path, [4, 9])
    assert reopened(tmp_path) == {3, 4, 9}
    assert reopened(tmp_path) == {3, 4, 9}, "a run in which nothing dies keeps them"
    Journal.open(tmp_path, 4).finish()
    assert list(tmp_path.iterdir()) == []
    assert reopened(tmp_path) == frozenset()


def test_what_ended_well_or_with_an_error_is_not_suspect(tmp_path):
    journal = Journal.open(tmp_path, 1)
    for position in range(5):  # one slot serves any number of decodes, one after the other
        with journal.decoding(position):
            pass
    with pytest.raises(ZeroDivisionError), journal.decoding(6):
        raise ZeroDivisionError
    journal.close()
    assert reopened(tmp_path) == frozenset()


def test_threads_have_a_slot_each(tmp_path):
    journal, together = Journal.open(tmp_path, 4), Barrier(5)

    def decode(position):
        with journal.decoding(position):
            together.wait()
            together.wait()

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(decode, position) for position in range(10, 14)]
        together.wait()
        assert reopened(tmp_path) == {10, 11, 12, 13}
        together.wait()
        assert [future.result() for future in futures] == [None] * 4


def test_processes_on_one_folder_keep_apart(tmp_path):
    dead(tmp_path, [1], "part-1")
    dead(tmp_path, [2], "part-2")
    assert reopened(tmp_path, "part-1") == {1} and reopened(tmp_path, "part-2") == {2}
    assert reopened(tmp_path) == frozenset()
    Journal.open(tmp_path, 1, "part-1").finish()
    assert reopened(tmp_path, "part-2") == {2}


@pytest.mark.parametrize("left", [b"", b"\5\0\0", b"\xff" * 8 + b"\1"])
def test_a_torn_file_is_no_reason_to_fail(tmp_path, left):
    (tmp_path / ".decoding").write_bytes(left)
    assert reopened(tmp_path) == frozenset()


def test_a_folder_that_may_not_be_written_is_an_error(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        Journal.open(tmp_path / "nowhere", 1)
