"""The README's table of speeds: `python -m semscale_bench.readme` measures, keeps the result, and writes the table.

What it shows is read from one file of bench/results, so that a number in the README is a number of that run. With a
FILE as its argument nothing is measured.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semscale_bench.machine import hardware, machine

ROOT = Path(__file__).parents[2]
RESULTS, README = ROOT / "bench" / "results", ROOT / "README.md"
CASES = ("roofs", "preprocess", "pipeline", "million", "startup", "peers")
TABLE, SAID = "peers", ("peers", "pipeline", "preprocess", "million", "startup")  # what is shown of them
CURE = "what would move it"
BEGIN, END = "<!-- measured by `make bench` -->", "<!-- end -->"


def block(values: dict[str, Any], file: str) -> str:
    """Markdown of a result: a table of the contestants by kind of images, and what each case says."""
    made_on, said = values["machine"], values["sentences"]
    rows = [row for row in values["rows"] if row["case"] == TABLE and row["unit"] == "images"]
    about = f"{made_on['cores']} cores of {made_on['cpu']}" if made_on["gpu"] is None else made_on["gpu"]["name"]
    lines = [
        f"Images a second, files to scores, ViT-B/32's shape with random weights, on {about}; the spread of the rounds",
        f"in brackets, every output checked ([{file}](bench/results/{file}), commit {values['commit']}):",
        "",
        *_table(rows),
        "",
        *(f"- {sentence}" for case in SAID for sentence in said.get(case, []) if _is_shown(case, sentence)),
    ]
    return "\n".join(lines)


def rewritten(text: str, made: str) -> str:
    """The README with the block between its marks replaced. Raises ValueError where there are none."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def newest() -> Path:
    """The result that the README shows: of the last day, and where machines have one each, the one that it names."""
    made = sorted(RESULTS.glob("readme_*.json"), key=lambda path: path.stem[-10:])
    text = README.read_text(encoding="utf-8")
    last = [path for path in made if path.stem[-10:] == made[-1].stem[-10:]]
    return next((path for path in last if path.name in text), last[-1])


def _is_shown(case: str, sentence: str) -> bool:
    """Of the peers what semscale aims at, of the pipeline what there is, not what to do; `bench` itself says all."""
    return "goal" in sentence if case == TABLE else CURE not in sentence


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    kinds, names = (list(dict.fromkeys(row[key] for row in rows)) for key in ("data", "name"))
    cells = {(row["name"], row["data"]): f"{row['rate']:.1f} ({row['spread']:.0%})" for row in rows}
    yield f"| | {' | '.join(kinds)} |"
    yield f"|---|{'---|' * len(kinds)}"
    for name in names:
        yield f"| {name} | {' | '.join(cells.get((name, kind), '-') for kind in kinds)} |"


def _measured() -> Path:
    from semscale_bench.run import bench

    path = RESULTS / f"readme_{hardware(machine())}_{datetime.date.today()}.json"
    arguments = [*CASES, "--out", os.path.relpath(path)]
    sys.argv[1:] = ["bench", *arguments]  # which the result says of itself
    bench.main(arguments, prog_name="semscale bench", standalone_mode=False)
    return path


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else _measured()
    made = block(json.loads(path.read_text(encoding="utf-8").splitlines()[-1]), path.name)
    README.write_text(rewritten(README.read_text(encoding="utf-8"), made), encoding="utf-8")
