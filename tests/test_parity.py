"""The numbers of the peers, as `make parity` wrote them down: ours still agree, and docs/parity.md shows them."""

import json
from pathlib import Path

import pytest
from parity import compare, tables
from parity.expected import Expected

ROOT = Path(__file__).parents[1]
OUTCOME = max((ROOT / "bench" / "results").glob("parity_*.json"), key=lambda path: path.stem[-10:])  # the newest
ROWS = json.loads(OUTCOME.read_text())["rows"]


@pytest.fixture(scope="module")
def ours():
    return compare.ours()


@pytest.mark.parametrize("peer", sorted({row["peer"] for row in ROWS}))
def test_what_is_computed_now_agrees_with_what_the_peer_gave_then(peer, ours):
    for row in (row for row in ROWS if row["peer"] == peer):
        check = f"{row['metric']} | {row['case']}"
        now = compare.row(peer, row["version"], check, row["theirs"], ours[peer][check])
        assert now.verdict in compare.FINE, now


def test_every_peer_was_compared_and_nothing_differed():
    assert {row["peer"] for row in ROWS} == {"torchmetrics", "torch-fidelity", "prdc", "vendi-score", "scikit-image"}
    assert {row["verdict"] for row in ROWS} == set(compare.FINE)
    assert json.loads(OUTCOME.read_text())["not_compared"] == {}


@pytest.mark.parametrize(
    ("theirs", "expected", "verdict"),
    [
        (1.0, Expected(1.0, "", 1e-9), "equal"),
        (0.0, Expected(0.0, "", 1e-9), "equal"),
        (1.0, Expected(1.0 + 1e-7, "", 1e-9), "DIFFERS"),
        (1.0, Expected(1.0 + 1e-7, "", 1e-6, "float32"), "as explained"),
        (1.0, Expected(1.0, "", 1e-6, "float32"), "equal"),
        (1.0, Expected(1.0, "", 0.5, "another convention", 0.1), "DIFFERS"),
        (1.0, Expected(0.8, "", 0.5, "another convention", 0.1), "as explained"),
        (0.0, Expected(1e-12, "", 1e-9), "DIFFERS"),
        (float("nan"), Expected(1.0, "", 1.0, "anything"), "DIFFERS"),
        (1.0, Expected(float("nan"), "", 1.0, "anything"), "DIFFERS"),
    ],
)
def test_verdict(theirs, expected, verdict):
    assert compare.row("peer", "1", "metric | case", theirs, expected).verdict == verdict


def test_a_peer_without_numbers_is_listed_with_its_error(ours):
    none = {"version": None, "error": "ModuleNotFoundError: No module named 'prdc'", "values": {}}
    rows, left_out = compare.compare({"prdc": none}, ours)
    assert rows == [] and left_out == {"prdc": none["error"]}


def test_file_name():
    for cpu, words in (("Intel(R) Xeon(R) Processor @ 2.00GHz", "xeon"), ("AMD EPYC 9B14", "epyc-9b14")):
        assert compare.name_of({"cpu": cpu, "cores": 2}).startswith(f"parity_2core-{words}_")


def test_the_document_shows_the_outcome():
    document = (ROOT / "docs" / "parity.md").read_text()
    assert f"bench/results/{OUTCOME.name}" in document
    for line in (*tables.compared(ROWS), *tables.explained(ROWS)):
        assert line in document, line
