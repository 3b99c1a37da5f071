"""The tables of docs/parity.md: `cd tests && ../.venv/bin/python -m parity.tables ../bench/results/OUTCOME.json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

Row = dict  # a row of an outcome


def main() -> None:
    """Write the tables to standard output."""
    rows = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["rows"]
    sys.stdout.write("\n".join([*compared(rows), "", *explained(rows)]) + "\n")


def compared(rows: list[Row]) -> Iterator[str]:
    """A line for each metric, convention and peer: how many numbers, the first, and the largest differences."""
    yield "| metric | convention | peer | numbers | first: theirs | ours | largest difference, float64 | float32 |"
    yield "|---|---|---|---|---|---|---|---|"
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row["at_least"] == 0:
            groups.setdefault((row["metric"], row["convention"], f"{row['peer']} {row['version']}"), []).append(row)
    for (metric, convention, peer), group in groups.items():
        single = [row for row in group if row["case"].endswith("float32")]
        double = [row for row in group if row not in single]
        numbers = f"{len(group)} | {group[0]['theirs']:.10g} | {group[0]['ours']:.10g}"
        yield f"| {metric} | {convention} | {peer} | {numbers} | {largest(double)} | {largest(single)} |"


def explained(rows: list[Row]) -> Iterator[str]:
    """A line for each reason of a difference, with the largest that it explains."""
    yield "| why | numbers | largest: metric, peer, case | theirs | ours | difference |"
    yield "|---|---|---|---|---|---|"
    found = [row for row in rows if row["verdict"] == "as explained"]
    for why in dict.fromkeys(row["why"] for row in found):
        group = [row for row in found if row["why"] == why]
        worst = max(group, key=lambda row: row["relative"])
        where = f"{worst['metric']}, {worst['peer']}, {worst['case']}"
        numbers = f"{worst['theirs']:.10g} | {worst['ours']:.10g} | {worst['relative']:.1e}"
        yield f"| {why} | {len(group)} | {where} | {numbers} |"


def largest(group: list[Row]) -> str:
    """The largest difference as a share of the larger number; a dash where there is none to compare."""
    return f"{max(row['relative'] for row in group):.1e}" if group else "-"


if __name__ == "__main__":
    main()
