"""The example that reruns the published study: every command of it, on fewer prompts."""

import json

import consistency_study
from click.testing import CliRunner

from semscale.cli import main


def test_the_study_goes_from_nothing_to_comparisons(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = consistency_study.tiny(tmp_path)
    for path in (study.prompts, *study.painted):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    for command in consistency_study.commands(study, tmp_path):
        done = CliRunner().invoke(main, [*command, "--quiet"])
        assert done.exit_code == 0, (command, done.output, done.exception)
    for name, models in (("pixart-sdxl", ["pixart", "sdxl"]), ("sdxl-lora", ["sdxl", "sdxl-lora"])):
        found = json.loads((tmp_path / name / "comparison.json").read_text())
        assert [one["name"] for one in found["models"]] == models
        assert "2 prompts" in (tmp_path / name / "compare.html").read_text()
    assert (tmp_path / "plan" / "plan.png").exists()


def test_the_real_study_is_that_of_the_paper(tmp_path):
    files = {name: tmp_path / name for name in ("prompts.txt", "monet.txt", "tok.txt", "seeds.txt")}
    for file in files.values():
        file.write_text("".join(f"{n}\n" for n in range(104)))
    painted = (files["monet.txt"], files["tok.txt"])
    real = consistency_study.real(
        tmp_path / "out", files["prompts.txt"], painted, files["seeds.txt"], "style.safetensors"
    )
    assert real.prompts.read_text().split() == [str(n) for n in range(100)]  # the paper used 100 of its 104
    first, *_, last = consistency_study.commands(real, tmp_path)
    assert first[first.index("--model") + 1] == "stabilityai/stable-diffusion-xl-base-1.0"
    for option, value in {"--size": "768", "--steps": "20", "--guidance": "7.5", "--n": "20"}.items():
        assert first[first.index(option) + 1] == value
    assert last[last.index("--prompt-map") + 1] == "s/Monet/TOK/"
    every = {
        option for command in consistency_study.commands(real, tmp_path) for option in command if option[:2] == "--"
    }
    assert every <= {opt for command in main.commands.values() for each in command.params for opt in each.opts}
    refused = CliRunner().invoke(consistency_study.main, [str(tmp_path), "--real"])
    assert refused.exit_code == 2
