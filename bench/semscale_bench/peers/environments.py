"""An environment for each peer that needs one, made on first use in the user's cache, and kept.

CACHE/bench-peers/NAME/             a virtual environment
CACHE/bench-peers/NAME.making/      held by the process that makes it
CACHE/bench-peers/NAME/stamp.txt    what was installed; where that is something else, it is made anew
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from semscale.errors import SemscaleError, StoreLockedError
from semscale.locks import exclusive
from semscale_bench.peers.requirements import REQUIREMENTS, TORCH
from semscale_export.cache import cache_folder

STAMP = "stamp.txt"
SECONDS = 900  # for one package


class NotInstalled(SemscaleError):
    """An environment could not be made; says what of it failed, and how."""


def python_of(name: str, say: Callable[[str], None] = lambda _: None) -> Path:
    """The interpreter of a peer's environment, a name of REQUIREMENTS, which is made where there is none or another.

    `say` is told before it is made, which takes minutes. Raises NotInstalled, and tries again when it is next asked.
    """
    folder = cache_folder() / "bench-peers" / name
    wanted = (TORCH, *REQUIREMENTS[name])
    if not _is_made(folder, wanted):
        say(f"{name}: making its environment, {folder}")
        try:
            with exclusive(folder.with_name(f"{name}.making")):
                _make(folder, wanted)
        except StoreLockedError as error:
            raise NotInstalled("its environment is being made by another process; try again") from error
    return folder / "bin" / "python"


def _is_made(folder: Path, wanted: Sequence[str]) -> bool:
    stamp = folder / STAMP
    return (
        stamp.is_file()
        and (folder / "bin" / "python").exists()
        and stamp.read_text(encoding="utf-8").splitlines() == list(wanted)
    )


def _make(folder: Path, wanted: Sequence[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    _call([sys.executable, "-m", "venv", str(folder)], "its environment")
    for requirement in wanted:
        alone = [] if requirement == TORCH else ["--no-deps"]
        _call([str(python), "-m", "pip", "install", "--quiet", *alone, requirement], requirement)
    (folder / STAMP).write_text("\n".join(wanted) + "\n", encoding="utf-8")


def _call(command: Sequence[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"{what} does not install: not done after {SECONDS} s") from error
    if done.returncode:
        raise NotInstalled(f"{what} does not install: {_last_error(done.stderr) or f'code {done.returncode}'}")


def _last_error(printed: str) -> str:
    """pip's last error, or the last line where it names none."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or [""])[-1]
