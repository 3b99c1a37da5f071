import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from images import write_tree

import semscale
from semscale.cli import COMMANDS, main
from semscale_bench.run import bench

ROOT = Path(__file__).parents[1]
NAMES = [
    f"{model}/{prompt}/{seed}.png" for model in ("m1", "m2") for prompt in ("a red fox", "cat") for seed in range(3)
]


@pytest.fixture
def images(tmp_path):
    return write_tree(tmp_path / "images", NAMES)


def call(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def score(images, model, *more):
    return call("score", images, "-o", images.parent / "out", "--model", model, "--backend", "fake", *more)


def test_score_ends_with_one_line_of_json_that_equals_the_summary(images, model, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/semscale", "score", "my folder"])
    done = score(images, model, "--json")
    assert done.exit_code == 0
    line = json.loads(done.stdout.splitlines()[-1])
    assert line == json.loads((images.parent / "out" / "summary.json").read_text())
    assert line["scores"]["scs"]["by_model"].keys() == {"m1", "m2"}
    for key in ("n_found", "n_ok", "n_failed", "n_ignored", "n_groups", "images_per_second", "out", "scores"):
        assert key in line
    assert (images.parent / "out" / "report.html").exists()
    assert line["provenance"]["command"] == "semscale score 'my folder'"


def test_quiet_prints_nothing_but_json(images, model):
    assert score(images, model, "--quiet").output == ""
    done = score(images, model, "--quiet", "--json")
    assert len(done.output.splitlines()) == 1


def test_the_table_names_scores_models_and_report(images, model):
    done = score(images, model)
    for text in ("scs", "clip-score", "m1", "m2", "4 groups", "12 images", "report.html", "model/prompt/seed"):
        assert text in done.stdout
    assert "12/12 images" in done.stderr


def test_a_model_called_all_has_its_own_row(model, tmp_path):
    images = write_tree(tmp_path / "images", [f"all/{p}/{s}.png" for p in ("cat", "fox") for s in range(2)])
    rows = [line for line in score(images, model).stdout.splitlines() if line.startswith("scs ")]
    assert len(rows) == 2


def test_too_many_failures_exit_with_3_after_all_results_are_written(images, model):
    (images / "m1" / "cat" / "0.png").write_bytes(b"")
    done = score(images, model, "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout.splitlines()[-1])["n_failed"] == 1
    assert "8.3% of the inputs failed" in done.stderr
    assert score(images, model, "--max-error-rate", "0.1").exit_code == 0


def test_dry_run_writes_nothing(images, model):
    done = score(images, model, "--dry-run", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["n_found"], found["layout"]) == (12, "model/prompt/seed")
    assert found["seconds"] > 0 and found["disk_bytes"] > 0
    assert not (images.parent / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["score", "gone"], 1, "no such file or folder"),
        (["score"], 2, "Missing argument"),
        (["score", ".", "--clip-score", "best"], 2, "torchmetrics"),
        (["score", ".", "--batch-size", "0"], 2, "batch-size"),
        (["embed", "."], 2, "--store"),
        (["frobnicate"], 2, "No such command"),
        (["report", "gone"], 2, "does not exist"),
    ],
)
def test_wrong_calls_say_what_is_wrong(arguments, code, message):
    done = call(*arguments)
    assert done.exit_code == code
    assert message in done.output
    assert "Traceback" not in done.output


def test_an_output_folder_that_cannot_be_made_is_named(images, model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = call("score", images, "--model", model, "--backend", "fake", "-o", tmp_path / "file" / "out")
    assert done.exit_code == 1
    assert "Not a directory" in done.output and "file/out" in done.output and "Traceback" not in done.output


def test_an_unknown_back_end_names_the_choices(images, model):
    done = call("score", images, "--model", model, "--backend", "tpu", "-o", images.parent / "out")
    assert done.exit_code == 2
    assert "'tpu' is not one of 'auto', 'onnx', 'openvino'" in done.output


def test_embed_report_and_version(images, model):
    done = call("embed", images, "-o", images.parent / "store", "--model", model, "--backend", "fake", "--json")
    assert json.loads(done.stdout.splitlines()[-1])["n_ok"] == 12
    assert len(semscale.open_store(images.parent / "store").images) == 12
    score(images, model)
    (images.parent / "out" / "report.html").unlink()
    assert call("report", images.parent / "out").exit_code == 0
    assert (images.parent / "out" / "report.html").exists()
    assert semscale.__version__ in call("--version").output


def test_doctor_names_every_package_and_is_well_here():
    done = call("doctor", "--json")
    findings = {f["what"]: f for f in json.loads(done.stdout.splitlines()[-1])["findings"]}
    assert {"torch", "onnxruntime", "NVIDIA driver"} <= findings.keys()
    assert findings["torch"]["status"] == "ok"
    assert all(f["mend"] for f in findings.values() if f["status"] != "ok" and f["what"] != "NVIDIA driver")


@pytest.mark.parametrize(("driver", "right"), [(True, "onnxruntime-gpu"), (False, "onnxruntime")])
def test_doctor_tells_of_packages_that_cannot_be_together(monkeypatch, driver, right):
    from semscale import doctor

    monkeypatch.setattr(doctor, "_version", lambda package: "1.0")
    found = list(doctor._rivals(driver))
    assert [f.status for f in found] == ["broken", "broken"]
    assert found[0].mend == f"pip uninstall -y onnxruntime onnxruntime-gpu && pip install {right}"


def test_doctor_tells_of_versions_outside_the_pins_and_of_what_is_missing(monkeypatch):
    from semscale import doctor

    versions = {"torch": "2.14.0", "transformers": "4.60.0", "diffusers": None}
    true_version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda p: versions[p] if p in versions else true_version(p))
    found = {f.what: f for f in doctor.examine()}
    assert found["torch"].status == found["transformers"].status == "broken"
    assert "<2.14" in found["torch"].mend and "<4.58" in found["transformers"].mend
    assert (found["diffusers"].status, found["diffusers"].mend) == ("missing", "pip install 'semscale[generate]'")
    assert found["numpy"].status == "ok"


def commands(group=main, prefix="semscale"):
    for name, command in group.commands.items():
        yield f"{prefix} {name}", command


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=lambda x: x if isinstance(x, str) else "")
def test_every_command_has_help_and_is_in_the_readme(name, command):
    assert command.help, f"{name} has no help"
    assert name in (ROOT / "README.md").read_text(), f"{name} is not in the README"
    for option in command.params:
        if isinstance(option, click.Option) and option.name != "repeats":
            assert option.help, f"{name} {option.opts} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_commands_says_what_the_command_says(name):
    assert main.commands[name].name == name
    assert main.commands[name].get_short_help_str(limit=1000) == COMMANDS[name][1]


def test_the_table_of_commands_has_every_command_of_every_module():
    """In the order in which help lists them."""
    found = set()
    for path in Path(semscale.__file__).parent.glob("cli_*.py"):
        for name, value in vars(importlib.import_module(f"semscale.{path.stem}")).items():
            if isinstance(value, click.Command) and value.callback.__module__ == f"semscale.{path.stem}":
                found.add(f"{path.stem}:{name}")
    assert {place for place, _ in COMMANDS.values()} == found
    assert list(COMMANDS) == sorted(COMMANDS)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_help_lists_the_commands_as_click_does(columns):
    """With every command imported, which `semscale --help` is spared."""
    context = click.Context(main, info_name="semscale", terminal_width=columns, max_content_width=columns)
    shown, wanted = context.make_formatter(), context.make_formatter()
    main.format_commands(context, shown)
    click.Group("semscale", commands=dict(main.commands.items())).format_commands(context, wanted)
    assert shown.getvalue() == wanted.getvalue()
    assert "doctor" in shown.getvalue()


def test_the_list_of_commands_is_shown_before_any_of_them_is_imported():
    code = (
        "import sys; from semscale.cli import main; sys.argv = ['semscale', '--help'];"
        "main(standalone_mode=False); print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *help_lines, modules = done.stdout.splitlines()
    assert any(line.startswith("  score ") for line in help_lines)
    ours = {name for name in modules.split() if name.startswith("semscale")}
    assert ours == {"semscale", "semscale.cli", "semscale.cli_output", "semscale.errors"}
    for heavy in ("numpy", "torch", "scipy", "pyarrow", "rich", "PIL", "matplotlib", "onnxruntime", "jinja2"):
        assert heavy not in modules.split()


def test_a_command_that_does_not_exist_is_refused_with_what_was_meant():
    done = call("scor")
    assert done.exit_code == 2
    assert "No such command 'scor'" in done.output and "score" in done.output


def test_every_option_the_readme_shows_exists():
    every = [*(command for _, command in commands()), *bench.commands.values()]
    known = {opt for command in every for parameter in command.params for opt in parameter.opts}
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (ROOT / "README.md").read_text()))
    assert shown - known - {"--help", "--no-deps"} == set()


def test_export_writes_towers_and_shows_the_parity_table(tmp_path):
    done = call("export", "demo", "-o", tmp_path / "demo", "--json")
    assert done.exit_code == 0, done.output
    line = json.loads(done.stdout.splitlines()[-1])
    assert {row["tower"] for row in line["parity"]} == {"image", "text"}
    assert all(row["passed"] and 1 - row["min_cosine"] <= row["tolerance"] for row in line["parity"])
    assert "cosine distance" in done.stdout
    assert (tmp_path / "demo" / "image" / "model.onnx").exists()
    again = call("export", "demo", "-o", tmp_path / "demo")
    assert again.exit_code == 2
    assert "already exists" in again.output


@pytest.mark.parametrize(("given", "pool"), [(None, "system"), ("mimalloc", "mimalloc")])
def test_arrow_keeps_no_memory_of_its_own_unless_it_is_told_to(monkeypatch, given, pool):
    name = "ARROW_DEFAULT_MEMORY_POOL"
    monkeypatch.delenv(name, raising=False)
    if given is not None:
        monkeypatch.setenv(name, given)
    code = (
        "import sys; from semscale import cli; sys.argv = ['semscale', '--version']; sys.exit = lambda *_: None; "
        "cli.run(); import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == pool
