"""The README's table of speeds is that of a result in bench/results."""

from __future__ import annotations

import json

import pytest

from semscale_bench import readme


def values(**more):
    row = {"case": "peers", "unit": "images", "name": "semscale", "data": "png", "rate": 12.34, "spread": 0.1}
    machine = {"cores": 2, "cpu": "A Processor", "gpu": None}
    rows = [row, row | {"name": "other", "data": "jpeg"}, row | {"unit": "pairs", "name": "pairs"}]
    return {
        "rows": rows,
        "sentences": {
            "peers": ["twice (goal 2 met)", "thrice"],
            "pipeline": ["encode bound", "what would move it: a GPU"],
        },
        "machine": machine,
        "commit": "abc",
        **more,
    }


def test_the_readme_shows_the_newest_result():
    newest = readme.newest()
    made = readme.block(json.loads(newest.read_text(encoding="utf-8")), newest.name)
    text = readme.README.read_text(encoding="utf-8")
    assert readme.rewritten(text, made) == text


def test_a_block_has_a_row_for_each_contestant_and_what_is_said():
    made = readme.block(values(), "f.json").splitlines()
    assert made[3:7] == [
        "| | png | jpeg |",
        "|---|---|---|",
        "| semscale | 12.3 (10%) | - |",
        "| other | - | 12.3 (10%) |",
    ]
    assert made[-2:] == ["- twice (goal 2 met)", "- encode bound"]
    assert "2 cores of A Processor" in made[0] and "commit abc" in made[1]


def test_only_what_is_between_the_marks_is_replaced():
    text = f"a\n{readme.BEGIN}\nold\n{readme.END}\nb\n"
    assert readme.rewritten(text, "new") == f"a\n{readme.BEGIN}\n\nnew\n\n{readme.END}\nb\n"
    with pytest.raises(ValueError, match="no <!--"):
        readme.rewritten("nothing", "new")
