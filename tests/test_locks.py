import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from semscale import locks
from semscale.errors import StoreError, StoreLockedError, UsageError
from semscale.locks import Part, exclusive, part, planning

HOLD = """
import sys
from pathlib import Path
from semscale.locks import Part, exclusive, part, planning
folder, how = Path(sys.argv[1]), sys.argv[2]
lock = {"whole": exclusive, "planning": planning}.get(how, lambda folder: part(folder, Part.parse(how)))
with lock(folder):
    print("in", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holding(folder, how):
    """Another process that is inside a lock."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, folder, how], **pipes) as process:
        assert process.stdout.readline() == "in\n"
        yield process
        if process.poll() is None:
            process.communicate("\n")


def enter(folder, how):
    """Enter and leave."""
    with exclusive(folder) if how == "whole" else part(folder, Part.parse(how)):
        pass


@pytest.mark.parametrize(
    ("there", "asked", "who"),
    [
        ("whole", "whole", "another run is writing here (process {pid} on {host} since "),
        ("whole", "1/2", "another run is writing here (process {pid} on {host} since "),
        ("1/2", "whole", "another run is writing here (parts of 2, begun by process {pid} on {host} since "),
        ("1/2", "1/2", "part 1/2 of this run is writing here (process {pid} on {host} since "),
        ("1/2", "1/3", "a run of other parts than 1/3 is writing here (parts of 2, begun by process {pid} on {host} "),
        ("1/2", "2/3", "a run of other parts than 2/3 is writing here (parts of 2, begun by process {pid} on {host} "),
    ],
)
def test_who_may_not_come_in_is_told_who_is_there(tmp_path, there, asked, who):
    with holding(tmp_path, there) as process, pytest.raises(StoreLockedError) as refused:
        enter(tmp_path, asked)
    said = str(refused.value)
    assert said.startswith(f"{tmp_path}: " + who.format(pid=process.pid, host=socket.gethostname()))
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\); wait for it or choose another -o$", said)
    enter(tmp_path, asked)  # once it has left


def test_different_parts_of_as_many_are_in_at_once(tmp_path):
    with holding(tmp_path, "1/4"), holding(tmp_path, "3/4"), part(tmp_path, Part(2, 4)), part(tmp_path, Part(4, 4)):
        with pytest.raises(StoreLockedError, match="another run"):
            enter(tmp_path, "whole")
        with pytest.raises(StoreLockedError, match="part 3/4"):
            enter(tmp_path, "3/4")


def test_a_part_that_is_refused_leaves_no_lock_behind(tmp_path):
    with holding(tmp_path, "1/2"):
        for asked in ("1/2", "1/3"):
            with pytest.raises(StoreLockedError):
                enter(tmp_path, asked)
    enter(tmp_path, "whole")


def test_the_last_part_to_leave_keeps_a_whole_run_out(tmp_path):
    with holding(tmp_path, "2/2"):
        enter(tmp_path, "1/2")
        with pytest.raises(StoreLockedError):
            enter(tmp_path, "whole")
    enter(tmp_path, "1/3")


@pytest.mark.parametrize("how", ["whole", "1/2"])
def test_a_lock_goes_with_its_process_even_when_that_is_killed(tmp_path, how):
    with holding(tmp_path, how) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        enter(tmp_path, "whole")
        enter(tmp_path, how)


def test_a_lock_goes_with_its_block_even_where_a_child_has_inherited_it(tmp_path):
    waiting, writing = os.pipe()
    with exclusive(tmp_path):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(waiting, 1)
            os._exit(0)
    os.close(waiting)
    enter(tmp_path, "whole")
    os.close(writing)
    os.waitpid(child, 0)


def test_one_part_plans_at_a_time_and_the_others_wait(tmp_path):
    tmp_path.mkdir(exist_ok=True)
    with holding(tmp_path, "planning"):
        code = f"import sys; sys.argv[1:] = [{str(tmp_path)!r}, '1/2']\n" + HOLD
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        other = subprocess.Popen([sys.executable, "-c", code], **pipes)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(1)
    assert other.communicate("\n")[0] == "in\n"
    with planning(tmp_path):  # free again
        pass


@pytest.mark.parametrize("how", ["whole", "1/2"])
def test_who_comes_in_alone_clears_what_dead_runs_left(tmp_path, how):
    left = tmp_path / ".x.12.semscale-tmp"
    left.write_bytes(b"half")
    with part(tmp_path, Part(2, 2)):
        left.write_bytes(b"half")
        enter(tmp_path, "1/2")
        assert left.exists()  # not alone
    enter(tmp_path, how)
    assert not left.exists()


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS])
@pytest.mark.parametrize("how", ["whole", "1/2"])
def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, how, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(StoreError, match=r"the file system of this folder lacks flock .*local disk for -o"):
        enter(tmp_path, how)


@pytest.mark.parametrize("how", ["whole", "1/2"])
def test_a_folder_that_cannot_be_written_is_said(tmp_path, monkeypatch, how):
    def fail(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(locks.os, "open", fail)
    with pytest.raises(StoreError, match=r"not writable \(Permission denied\); make the folder writable"):
        enter(tmp_path / "new", how)


def test_what_a_run_raises_passes(tmp_path):
    with pytest.raises(FileNotFoundError), exclusive(tmp_path):
        raise FileNotFoundError
    with pytest.raises(OSError, match="input"), planning(tmp_path):
        raise OSError(errno.EIO, "input")


def test_parts_share_out_every_shard_once():
    parts = [Part.parse(f"{i}/3") for i in (1, 2, 3)]
    assert [[p.holds(shard) for p in parts].index(True) for shard in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    assert all(sum(p.holds(shard) for p in parts) == 1 for shard in range(20))
    assert Part.parse("12/12") == Part(12, 12)


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "1/0", "a/4", "1/4/2", "-1/4", "1.5/4", " 1/4", "٢/4"])
def test_what_is_no_part_is_refused_with_the_valid_form(text):
    with pytest.raises(
        UsageError, match=f"part '?{re.escape(text)}'?: must be i/n with i from 1 to n, for example 2/4"
    ):
        Part.parse(text)
