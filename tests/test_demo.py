import json

import pytest
from click.testing import CliRunner

from semscale.cli import main
from semscale.demo import MODELS, PROMPTS, SEEDS


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    done = CliRunner().invoke(main, ["demo", "-o", str(out), "--json"])
    assert done.exit_code == 0, done.output
    return out, done.stdout


def test_the_faithful_model_wins_by_both_scores_beyond_doubt(demo):
    line = json.loads(demo[1].splitlines()[-1])
    for name in ("scs", "clip-score"):
        models = line["scores"][name]["by_model"]
        assert models["faithful"]["low"] > models["careless"]["high"], name
        assert f"{name}: faithful" in demo[1]


def test_every_image_is_scored_and_the_report_carries_the_warning(demo):
    line = json.loads(demo[1].splitlines()[-1])
    assert line["n_ok"] == line["n_found"] == len(MODELS) * len(PROMPTS) * len(SEEDS)
    assert line["n_groups"] == len(MODELS) * len(PROMPTS)
    assert "drawn scenes only" in (demo[0] / "report.html").read_text()
    assert "drawn scenes only" in demo[1]


def test_running_it_again_gives_the_same_scores(demo):
    done = CliRunner().invoke(main, ["demo", "-o", str(demo[0]), "--json", "--quiet"])
    again, before = json.loads(done.stdout), json.loads(demo[1].splitlines()[-1])
    assert again["scores"] == before["scores"]
    assert again["images_per_second"] is None
