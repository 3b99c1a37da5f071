"""What the README shows must run."""

import re
from pathlib import Path

from images import write_tree

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_example_of_a_run_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path / "my-images", [f"group{g}/{i}.png" for g in range(2) for i in range(6)])
    names: dict = {}
    exec(EXAMPLES[0], names)
    assert names["vectors"].shape[0] == 10
    assert (tmp_path / "semscale-my-images" / "report.html").exists()


def test_the_example_of_metrics_runs_as_it_stands():
    names: dict = {}
    exec(EXAMPLES[1], names)
    assert names["kid"].interval.low < 0 < names["kid"].interval.high  # both sets are of one distribution
    assert 0.5 < names["coverage"].value <= 1
    assert len(EXAMPLES) == 2


def test_what_the_readme_names_of_the_project_exists():
    for path in re.findall(r"`((?:engine|export|bench|tests|docs)/[\w./-]*)`", README):
        assert (ROOT / path).exists(), path
