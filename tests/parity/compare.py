"""Their numbers beside ours: `cd tests && ../.venv/bin/python -m parity.compare PEERS.json`, which `make parity` does.

Prints a table, writes the outcome where `--save` says, and exits with 1 when a number is further off than it may be.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import rich.console
from parity import ours as answering
from parity.cases import digests
from parity.expected import DOUBLE, Expected
from rich.table import Table

from semscale.metrics import FewSamplesWarning
from semscale_bench.machine import hardware, machine

RESULTS = Path(__file__).parents[2] / "bench" / "results"
FINE = ("equal", "as explained")


@dataclass(frozen=True, slots=True)
class Row:
    """One check of one peer."""

    metric: str
    case: str
    convention: str
    peer: str
    version: str
    theirs: float
    ours: float
    difference: float  # absolute
    relative: float  # of the larger of the two
    tolerance: float  # of `relative`
    at_least: float  # of `relative`: a known difference that is gone is no outcome to keep quiet about
    verdict: str
    why: str


def main() -> None:
    """Compare, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("peers", type=Path, help="what parity.peers wrote")
    parser.add_argument("--save", type=Path, metavar="FILE", help="[default: bench/results/parity_HARDWARE_DATE.json]")
    options = parser.parse_args()
    theirs = json.loads(options.peers.read_text(encoding="utf-8"))
    if other := [name for name, digest in digests().items() if theirs["digests"].get(name) != digest]:
        sys.exit(f"the two environments drew different arrays ({', '.join(other)}); use the same NumPy in both")
    rows, left_out = compare(theirs["peers"], ours())
    outcome = {
        "regime": "metrics of arrays from fixed seeds, drawn anew in either environment; differences as shares",
        "command": "make parity",
        "peers": {**theirs["libraries"], **{name: one["version"] for name, one in theirs["peers"].items()}},
        "not_compared": left_out,
        "rows": [asdict(row) for row in rows],
        "machine": machine(),
    }
    where = options.save or RESULTS / name_of(outcome["machine"])
    where.write_text(json.dumps(outcome) + "\n", encoding="utf-8")
    show(rows, left_out, where)
    sys.exit(any(row.verdict not in FINE for row in rows))


def compare(peers: dict[str, dict], answers: dict[str, dict[str, Expected]]) -> tuple[list[Row], dict[str, str]]:
    """Theirs and ours by peer -> a row for each number that both have, and peer -> why some or all have none."""
    rows, left_out = [], {}
    for name, peer in peers.items():
        values, expected = peer["values"], answers.get(name, {})
        shared = [check for check in values if check in expected]
        rows += [row(name, peer["version"], check, values[check], expected[check]) for check in shared]
        if alone := sorted({check.partition(" | ")[0] for check in values.keys() ^ expected.keys()}):
            left_out[name] = peer["error"] or f"on one side only: {', '.join(alone)}"
    return rows, left_out


def ours() -> dict[str, dict[str, Expected]]:
    """Peer -> our numbers by check."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSamplesWarning)  # the sets are small on purpose
        return {
            name: {k: v for answer in each for k, v in answer().items()} for name, each in answering.answers().items()
        }


def row(peer: str, version: str, check: str, theirs: float, expected: Expected) -> Row:
    """One comparison. NaN on either side is a difference."""
    difference = abs(theirs - expected.value)
    larger = max(abs(theirs), abs(expected.value))
    relative = difference / larger if larger else 0.0
    metric, _, case = check.partition(" | ")
    return Row(
        metric, case, expected.convention, peer, version, theirs, expected.value, difference, relative,
        expected.within, expected.beyond, verdict(relative, expected), expected.why,
    )  # fmt: skip


def verdict(relative: float, expected: Expected) -> str:
    """What a difference, as a share, comes to."""
    if not expected.beyond <= relative <= expected.within:
        return "DIFFERS"
    return "as explained" if expected.why and relative > DOUBLE else "equal"


def name_of(found: dict) -> str:
    """File name from today's date and the machine, as parity_2core-xeon_2026-11-21.json."""
    return f"parity_{hardware(found)}_{datetime.now(UTC):%Y-%m-%d}.json"


def show(rows: list[Row], left_out: dict[str, str], where: Path) -> None:
    """The table, the reasons of known differences, what was not compared, and where it all is."""
    console = rich.console.Console(highlight=False, soft_wrap=True, width=250)
    table = Table(title="peers and semscale on the same arrays", title_justify="left", box=None, pad_edge=False)
    for column in ("metric", "case", "convention", "peer"):
        table.add_column(column)
    for column in ("theirs", "ours", "difference", "relative", "tolerance"):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    for one in rows:
        numbers = (f"{one.theirs:.12g}", f"{one.ours:.12g}", f"{one.difference:.1e}", f"{one.relative:.1e}")
        peer = f"{one.peer} {one.version}"
        table.add_row(one.metric, one.case, one.convention, peer, *numbers, f"{one.tolerance:.0e}", one.verdict)
    console.print(table)
    for why in dict.fromkeys(one.why for one in rows if one.verdict == "as explained"):
        console.print(f"as explained: {why}", markup=False)
    for name, reason in left_out.items():
        console.print(f"not compared: {name}: {reason}", markup=False)
    wrong = sum(one.verdict not in FINE for one in rows)
    console.print(f"{len(rows)} numbers compared, {wrong} further off than they may be: bench/results/{where.name}")


if __name__ == "__main__":
    main()
