"""Runs that are stopped at any operation that changes the disk, in this process or in forks of a clean one.

A run is stopped at its k-th such operation, in one of three ways:

    raise    the operation fails with "no space left on device"
    exit     the process ends at once, before the operation
    power    as exit, but half the bytes of the file in work are there
"""

import errno
import gc
import importlib
import json
import os
import subprocess
import sys
import traceback
from contextlib import contextmanager
from unittest import mock

STOPPED = 9  # exit status of a process that was stopped


class Zygote:
    """A process that has imported everything, once, and forks what is asked of it."""

    def __init__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([sys.executable, __file__], **pipes)

    def start(self, **request):
        """Start `embed` with these arguments, or the command line `arguments`; return its process id."""
        return self._ask({name: value if name == "arguments" else str(value) for name, value in request.items()})

    def wait(self, pid):
        """The exit status of a process, negative where a signal ended it."""
        return self._ask(pid)

    def close(self):
        self._process.communicate()

    def _ask(self, request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def serve():
    for name in ("pyarrow.dataset", "semscale.cli", "semscale.run"):
        importlib.import_module(name)
    gc.freeze()  # the children share the memory
    for line in sys.stdin:
        request = json.loads(line)
        if isinstance(request, int):
            answer = os.waitstatus_to_exitcode(os.waitpid(request, 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                die_of(request)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def die_of(request):
    """In a child: do what is asked, and end without a look back."""
    os.setpgid(0, 0)  # to be killed with its own children
    os.dup2(2, 1)
    status = 1
    try:
        status = command(request["arguments"]) if "arguments" in request else stopped(**request)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def command(arguments):
    """Run the command line and return its exit status."""
    from semscale import cli

    sys.argv = ["semscale", *arguments]
    try:
        return cli.run() or 0
    except SystemExit as end:
        return end.code or 0


def stopped(step, how, **arguments):
    """Embed, stopped at a step if it comes to that."""
    embed(**arguments, stop=Stop(int(step), how))
    return 0


def embed(images, store, model, stop=None, *, index=None, **settings):
    """Embed with the fake back end in shards of 8, stopped somewhere or not; an index is saved after two of them."""
    from semscale import pixels, run, streaming
    from semscale.decode import decode
    from semscale.settings import Settings

    settings = Settings(**{"batch_size": 3, "workers": 1, "shard_size": 8, **settings})
    # What a dead run was decoding is innocent here, and need not be decoded in a process of its own.
    with (
        disk_operations(stop),
        mock.patch.object(pixels, "decode_isolated", decode),
        mock.patch.object(streaming, "SAVED_FROM", 9),
    ):
        return run.embed(images, store, model=model, backend="fake", settings=settings, index=index)


class Stop:
    """Counts operations and stops at one of them."""

    def __init__(self, step, how):
        self._step, self._how = step, how
        self.steps = []  # what was done, "half" where half of it can be

    def __call__(self, half=None):
        """Before each operation; `half` does half of it, where there is such a thing."""
        self.steps.append("whole" if half is None else "half")
        if len(self.steps) - 1 != self._step:
            return
        if self._how == "raise":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._how == "power" and half is not None:
            half()
        os._exit(STOPPED)


class Written:
    """A file that tells before it writes."""

    def __init__(self, file, stop):
        self._file, self._stop = file, stop

    def write(self, data):
        data = memoryview(data).cast("B")

        def half():
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        self._stop(half)
        return self._file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)


@contextmanager
def disk_operations(stop):
    """Call `stop` before every operation of `semscale.files` that changes the disk."""
    from semscale import files, store

    def before(run):
        return lambda *paths: (stop and stop(), run(*paths))[1]

    def flush(path):
        if stop is not None:
            stop((lambda: os.truncate(path, path.stat().st_size // 2)) if path.is_file() else None)
        # And no more: flushing for good takes most of the time, and the kernel does not die here.

    def open_new(path):
        if stop is None:
            return opened(path)
        stop()
        return Written(opened(path), stop)

    opened = files.open_new
    with (
        mock.patch.multiple(
            files, **{name: before(getattr(files, name)) for name in ("make_folder", "rename", "remove")}
        ),
        mock.patch.multiple(files, flush=flush, open_new=open_new),
        mock.patch.object(store, "open_new", open_new),
    ):
        yield


if __name__ == "__main__":
    serve()
