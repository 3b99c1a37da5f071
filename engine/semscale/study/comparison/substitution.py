"""A substitution by regular expression, in a process of its own: an expression may take for ever, unstoppably.

Python's `re` goes back over a text in exponential time where an expression is nested unhappily, as `(a+)+$` is, and
holds the interpreter meanwhile. A process can be ended, in every thread and on every system.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from semscale.errors import UsageError

ARROW = "=>"
SECONDS = 5.0  # for all prompts; 100,000 take less than one
_SED = re.compile(
    r"s([/|#,!@])(?P<pattern>(?:\\.|(?!\1)[^\\])*)\1(?P<replacement>(?:\\.|(?!\1)[^\\])*)\1(?P<every>g?)", re.DOTALL
)
_CHILD = """
import json, re, sys
given = json.load(sys.stdin)
compiled = re.compile(given["pattern"])
for prompt in given["prompts"]:
    print(json.dumps(compiled.sub(given["replacement"], prompt, count=given["count"])), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Substituting:
    """What is looked for and what takes its place, as `re.sub` takes them."""

    given: str  # as it was written, for messages
    pattern: str
    replacement: str
    count: int  # matches of a prompt that are replaced, from its beginning; 0 for all


def parse_substitution(given: str) -> Substituting | None:
    """`pattern=>replacement`, of every match, or as sed has it `s/pattern/replacement/`, of the first, or with `g` of
    every one; None for what is neither. Raises UsageError for an empty pattern and a bad expression.
    """
    if sed := _SED.fullmatch(given):
        delimiter = sed[1]
        pattern, replacement = (sed[name].replace("\\" + delimiter, delimiter) for name in ("pattern", "replacement"))
        count = 0 if sed["every"] else 1
    elif ARROW in given:
        (pattern, _, replacement), count = given.partition(ARROW), 0
    else:
        return None
    if not pattern:
        raise UsageError(f"--prompt-map {given}: an empty pattern is found before every letter; say what to replace")
    try:
        re.compile(pattern).sub(replacement, "")
    except (re.error, IndexError) as error:
        raise UsageError(f"--prompt-map {given}: not a regular expression with a replacement ({error})") from error
    return Substituting(given, pattern, replacement, count)


def substituted(prompts: Sequence[str], asked: Substituting) -> list[str]:
    """The prompts after the substitution. Raises UsageError, which names the prompt, where it takes over SECONDS."""
    task = {"pattern": asked.pattern, "replacement": asked.replacement, "count": asked.count, "prompts": list(prompts)}
    command = [sys.executable, "-I", "-S", "-c", _CHILD]
    try:
        done = subprocess.run(
            command, input=json.dumps(task).encode(), capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        prompt = prompts[min((error.stdout or b"").count(b"\n"), len(prompts) - 1)]
        raise UsageError(
            f"--prompt-map {asked.given}: took over {SECONDS:g} s, at the prompt {prompt[:200]!r}; write the pattern "
            f"{asked.pattern!r} without a repetition inside a repetition, or give a table"
        ) from error
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UsageError(f"--prompt-map {asked.given}: cannot be applied ({why}); write it simpler, or give a table")
    return [json.loads(line) for line in done.stdout.splitlines()]
