import json

import pytest
from click.testing import CliRunner

from semscale.cli import main
from semscale.metrics.registry import METRICS


def call(*arguments):
    return CliRunner().invoke(main, ["metrics", *arguments])


def test_every_metric_is_listed_with_what_it_measures():
    lines = call().stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(METRICS)
    assert all(described.what in line for described, line in zip(METRICS.values(), lines, strict=True))


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_page_that_leaves_nothing_out(name):
    described, done = METRICS[name], call(name, "--json")
    page, line = done.stdout.rsplit("\n", 2)[0], json.loads(done.stdout.splitlines()[-1])
    for fact in (described.formula, described.range, described.estimator, described.source, described.of):
        assert fact and fact in page
    for preset, convention in described.presets.items():
        assert f"preset {preset}: {convention}" in page
    assert line["metrics"][0]["smallest_n"] == described.smallest_n > 0
    assert described.name == name and described.better in ("higher", "lower", "neither")


def test_a_misspelt_metric_is_told_the_right_one():
    done = call("clip-scor")
    assert done.exit_code != 0
    assert "unknown metric 'clip-scor'; did you mean 'clip-score'?" in done.output
