"""Two small generators, and a task about them, for the tests of `semscale annotate`."""

from __future__ import annotations

import subprocess
import sys
import threading

from images import write_tree

from semscale.study.annotate.folders import choose, list_folder
from semscale.study.annotate.server import application, listen, server
from semscale.study.annotate.session import Session
from semscale.study.annotate.task import Asked, begin

PROMPTS = ("a dog", "a cat", "a key")
SEEDS = (1, 2, 10)


def write_generators(root, prompts=PROMPTS, seeds=SEEDS):
    """Write `root/first` and `root/second`, the same prompts and seeds in both, and return their paths."""
    for place, name in enumerate(("first", "second")):
        names = [f"{prompt}/{seed}.png" for prompt in prompts for seed in seeds]
        write_tree(root / name, names if place == 0 else names[::-1])
    return root / "first", root / "second"


def asked(**changes):
    """The usual question."""
    return Asked(**{"template": "consistency", "question": "Which?", "seed": 0, "n_shown": 20, **changes})


def open_session(folders, out):
    """A session on two folders, whose ratings are in `out`."""
    generators = choose([list_folder(folder) for folder in folders])
    return Session(begin(out, asked(), generators), generators, out)


class Site:
    """The server in a thread of this process."""

    def __init__(self, folders, out):
        listening = listen(0)
        self.out, self.url = out, f"http://127.0.0.1:{listening.getsockname()[1]}/a-token/"
        self._server = server(application(open_session(folders, out), "a-token"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]}, daemon=True)
        self._thread.start()

    def end(self):
        """Stop answering."""
        self._server.should_exit = True
        self._thread.join(20)


class Server:
    """The command itself, in a process of its own."""

    def __init__(self, *arguments):
        code = "from semscale.cli_annotate import annotate; annotate()"
        command = [sys.executable, "-c", code, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said = []
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if line.startswith("http://"):
                break
        assert self.said[-1].startswith("http://"), self.said
        self.url = self.said[-1]

    def end(self, number):
        """Send a signal, wait, and return the exit code; what was printed is in `said`."""
        self.process.send_signal(number)
        self.said += self.process.stdout.read().splitlines()
        code = self.process.wait(20)
        self.process.stdout.close()
        return code
