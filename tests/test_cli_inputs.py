"""The command line on every kind of input, good and bad."""

import json
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner
from images import png, write_tree

from semscale import open_store
from semscale.cli import main

PROMPTS = [f"m1/{prompt}/{seed}.png" for prompt in ("a red fox", "a cat") for seed in range(4)]


@pytest.fixture
def call(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, exit_code=0, **how):
        options = [] if arguments[0] == "verify" else ["--model", model, "--backend", "fake", "--quiet", "--json"]
        result = CliRunner().invoke(main, [*map(str, arguments), *options], **how)
        assert result.exit_code == exit_code, result.output + repr(result.exception)
        return result

    return run


def last_line(result):
    return json.loads(result.stdout.splitlines()[-1])


def test_several_sources_make_one_run(call, tmp_path):
    write_tree(tmp_path / "folder", PROMPTS)
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for name in ("1.png", "2.png"):
            path = tmp_path / name
            path.write_bytes(png(7))
            tar.add(path, name)
    line = last_line(call("score", "folder", "shard.tar"))
    assert (line["n_found"], line["n_ok"], line["n_groups"]) == (10, 10, 3)
    assert line["out"] == "semscale-folder-and-1-more"


def test_paths_on_standard_input(call, tmp_path):
    write_tree(tmp_path, PROMPTS)
    line = last_line(call("score", "-", input="\n".join(PROMPTS)))
    assert (line["n_ok"], line["out"], line["layout"]) == (8, "semscale-stdin", "metadata")


def test_errors_are_listed_on_request_each_on_one_line(model, tmp_path):
    write_tree(tmp_path / "images", [*PROMPTS, "m1/a cat/9\n.png"])
    (tmp_path / "images" / "m1" / "a cat" / "9\n.png").write_bytes(b"<html>gone</html>")
    (tmp_path / "images" / "m1" / "a cat" / "0.png").write_bytes(b"")
    arguments = ["score", tmp_path / "images", "-o", tmp_path / "out", "--model", model, "--backend", "fake"]
    found = CliRunner().invoke(main, [*map(str, arguments), "--errors"])
    assert found.exit_code == 3
    listed = found.stdout.splitlines()[:2]
    assert listed[0].startswith("empty-file  m1/a cat/0.png  the file is empty")
    assert listed[1].startswith("not-an-image  m1/a cat/9\\n.png  the bytes are not an image")


def test_images_over_the_limit_are_refused_and_tried_again_under_another(call, tmp_path):
    write_tree(tmp_path / "images", PROMPTS)
    (tmp_path / "images" / "m1" / "a cat" / "0.png").write_bytes(png(1, size=(100, 90)))
    line = last_line(call("score", "images", "--max-pixels", 8999, exit_code=3))
    assert line["failures"] == {"too-large": 1}
    assert last_line(call("score", "images", exit_code=3))["failures"] == {"too-large": 1}
    assert last_line(call("score", "images", "--max-pixels", 9000))["failures"] == {}


def test_parts_make_one_store_and_the_last_one_scores(call, tmp_path):
    write_tree(tmp_path / "images", PROMPTS)
    whole = last_line(call("score", "images", "-o", "whole", "--shard-size", 2))
    first = last_line(call("score", "images", "-o", "out", "--shard-size", 2, "--shards", "2/2"))
    assert (first["n_found"], first["n_ok"], first["n_left"], first["scores"]) == (8, 4, 4, {})
    assert not (tmp_path / "out" / "summary.json").exists()
    second = last_line(call("score", "images", "-o", "out", "--shard-size", 2, "--shards", "1/2"))
    assert second["scores"] == whole["scores"]
    assert files(tmp_path / "out" / "stores") == files(tmp_path / "whole" / "stores")


def files(folder):
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_four_processes_at_once_write_one_store(call, model, tmp_path):
    write_tree(tmp_path / "images", [f"g{n % 5}/{n}.png" for n in range(60)])
    call("embed", "images", "-o", "alone", "--shard-size", 4)
    command = [sys.executable, "-c", "from semscale.cli import run; run()", "embed", "images", "-o", "store"]
    command += ["--shard-size", "4", "--model", model, "--backend", "fake", "--quiet", "--shards"]

    def part(number):
        return subprocess.run([*command, f"{number}/4"], cwd=tmp_path, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(part, range(1, 5)))
    assert [end.returncode for end in ends] == [0] * 4, [end.stderr for end in ends]
    assert files(tmp_path / "store") == files(tmp_path / "alone")
    assert len(open_store(tmp_path / "store").images) == 60
    call("verify", "store")


@pytest.mark.parametrize("shards", ["0/4", "5/4", "1", "a/b", "1/0"])
def test_parts_that_make_no_sense_are_refused(call, tmp_path, shards):
    write_tree(tmp_path / "images", PROMPTS)
    result = call("score", "images", "--shards", shards, exit_code=2)
    assert "i/n" in result.stderr


def test_verify_finds_a_flipped_byte_and_mends_it(call, tmp_path):
    write_tree(tmp_path / "images", PROMPTS)
    call("score", "images", "-o", "out", "--shard-size", 3)
    assert "whole; 3 of 3 shards, 8 embedded, 0 failed of 8 inputs" in call("verify", "out").stdout
    store = next((tmp_path / "out" / "stores").iterdir())
    before = files(store)
    damaged = store / "img_emb" / "img_emb_00001.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x99")
    found = call("verify", "out", exit_code=1).stdout
    assert "img_emb/img_emb_00001.npy" in found
    assert "1 problem" in found
    call("verify", store, "--mend", exit_code=1)
    call("score", "images", "-o", "out", "--shard-size", 3)
    assert files(store) == before


def test_verify_of_what_is_no_store_is_an_error(call, tmp_path):
    assert "not a store" in call("verify", tmp_path, exit_code=1).stderr


def test_results_inside_the_source_are_left_out(call, tmp_path):
    write_tree(tmp_path / "images", PROMPTS)
    for _ in range(2):
        line = last_line(call("score", "images", "-o", "images/out"))
        assert (line["n_found"], line["n_ignored"]) == (8, 0)


def test_what_vanished_is_said(call, model, tmp_path):
    write_tree(tmp_path / "images", PROMPTS)
    call("score", "images", "-o", "out")
    (tmp_path / "images" / PROMPTS[0]).unlink()
    line = last_line(call("score", "images", "-o", "out"))
    assert (line["n_found"], line["n_ok"], line["n_vanished"]) == (8, 8, 1)


def test_auto_takes_a_back_end_that_has_the_precision(model, tmp_path):
    from semscale.errors import UsageError
    from semscale.filling import place
    from semscale.options import Options

    told = []
    chosen = place(tmp_path, Options(precision="int8"), tmp_path, told.append)
    assert (chosen.backend, chosen.precision, told[0].split(" ")[0]) == ("onnx", "int8", "onnx")
    assert place(tmp_path, Options(backend="onnx"), tmp_path).precision == "fp32"
    with pytest.raises(UsageError, match="no back end runs precision 'fp64'"):
        place(tmp_path, Options(precision="fp64"), tmp_path)


def test_errors_are_listed_even_when_all_else_is_quiet(call, tmp_path):
    write_tree(tmp_path / "images", PROMPTS)
    (tmp_path / "images" / PROMPTS[0]).write_bytes(b"")
    told, line = call("score", "images", "--errors", exit_code=3).stdout.splitlines()
    assert told.startswith(f"empty-file  {PROMPTS[0]}")
    assert json.loads(line)["n_failed"] == 1
