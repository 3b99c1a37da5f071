"""What the README shows must run."""

import re
from pathlib import Path

import pytest
from images import write_tree

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_examples_run_as_they_stand(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path / "my-images", [f"group{g}/{i}.png" for g in range(2) for i in range(6)])
    names: dict = {}
    exec(block, names)
    assert names["vectors"].shape[0] == 10
    assert (tmp_path / "semscale-my-images" / "report.html").exists()


def test_files_the_documents_link_to_exist():
    for document in (README, (ROOT / "docs" / "pixels.md").read_text()):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document):
            assert (ROOT / target).exists(), target


def test_what_the_readme_names_of_the_project_exists():
    for path in re.findall(r"`((?:engine|export|bench|tests|docs)/[\w./-]*)`", README):
        assert (ROOT / path).exists(), path
