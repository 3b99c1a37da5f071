import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from semscale.cli_evaluate import METRICS, PRESETS
from semscale.cli_evaluate import evaluate as command
from semscale.errors import SourceError, UsageError
from semscale.evaluation import METRICS as KNOWN
from semscale.evaluation import evaluate
from semscale.metrics.predictions import MEAN_IOU_PRESETS, mean_iou

LABELS = [("cat", "cat"), ("dog", "cat"), ("cat", "cat"), ("", "dog"), ("null", "null")]


def csv(path, rows, header="prediction,truth"):
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return path


def jsonl(path, rows, names=("prediction", "truth")):
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    return path


def parquet(path, rows, names=("prediction", "truth")):
    pq.write_table(
        pa.table({name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}), path
    )
    return path


def masks(folder, pairs, mode=None):
    """A table of PNG masks; arrays become files beside it."""
    rows = []
    for at, pair in enumerate(pairs):
        names = f"masks/p{at}.png", f"masks/t{at}.png"
        for name, mask in zip(names, pair, strict=True):
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask, mode).save(folder / name) if mode else Image.fromarray(mask).save(folder / name)
        rows.append(names)
    return csv(folder / "table.csv", rows)


def call(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.mark.parametrize(("write", "suffix"), [(csv, "csv"), (jsonl, "jsonl"), (parquet, "parquet"), (csv, "CSV")])
def test_accuracy_of_every_kind_of_table(tmp_path, write, suffix):
    found = evaluate(write(tmp_path / f"t.{suffix}", LABELS), "accuracy")
    assert (found.score.value, found.score.n, found.n_rows) == (3 / 4, 4, 5)
    assert found.score.params["n_missing"] == 1


def test_numbers_of_json_lines_and_parquet_are_labels(tmp_path):
    rows = [(1, 1), (2, 3), (None, 3), (3, 3)]
    for table in (jsonl(tmp_path / "t.jsonl", rows), parquet(tmp_path / "t.parquet", rows)):
        found = evaluate(table, "accuracy").score
        assert (found.value, found.n, found.params["n_missing"]) == (pytest.approx(2 / 3), 3, 1)
    floats = parquet(tmp_path / "f.parquet", [(1.0, 1), (float("nan"), 2), (3.0, 3)])  # as pandas writes gaps
    assert evaluate(floats, "accuracy").score.value == 1.0
    truths = jsonl(tmp_path / "b.jsonl", [(True, "true"), (False, "true")])
    assert evaluate(truths, "accuracy").score.value == 0.5


def test_csv_is_compared_as_written_and_what_never_matches_is_told(tmp_path):
    table = csv(tmp_path / "t.csv", [("1.0", "1"), ("02", "2"), ("3", "3")])
    done = call(table, "--metric", "accuracy")
    assert done.exit_code == 0, done.output
    assert "accuracy  0.3333" in done.output and "n = 3 of 3 rows" in done.output
    assert "predictions that are no row's truth, as they are written: 2" in done.output


def test_other_columns_may_be_named(tmp_path):
    table = csv(tmp_path / "t.csv", [("a", "b", "a")], header="truth,guess,label")
    with pytest.warns(UserWarning, match="accuracy of 1 items"):
        assert evaluate(table, "accuracy", prediction="guess", truths=["label"]).score.value == 0.0
    with pytest.warns(UserWarning, match="accuracy of 1 items"):
        assert evaluate(table, "accuracy", prediction="truth", truths=["label"]).score.value == 1.0


@pytest.mark.parametrize(("write", "suffix"), [(csv, "csv"), (jsonl, "jsonl"), (parquet, "parquet")])
def test_a_missing_column_names_those_that_are_there(tmp_path, write, suffix):
    table = write(tmp_path / f"t.{suffix}", LABELS)
    with pytest.raises(UsageError, match="no column 'guess'; there are 'prediction', 'truth'"):
        evaluate(table, "accuracy", prediction="guess")


def test_tables_that_cannot_be_used_are_refused(tmp_path):
    empty = csv(tmp_path / "e.csv", [])
    (tmp_path / "e.jsonl").write_text("\n")
    for table in (empty, tmp_path / "e.jsonl"):
        with pytest.raises(SourceError, match="no rows"):
            evaluate(table, "accuracy")
    (tmp_path / "n.csv").write_text("")
    with pytest.raises(SourceError, match="empty"):
        evaluate(tmp_path / "n.csv", "accuracy")
    with pytest.raises(UsageError, match="not a table"):
        evaluate(csv(tmp_path / "t.txt", LABELS), "accuracy")
    (tmp_path / "b.jsonl").write_text('{"prediction": "a", "truth": "a"}\n{"prediction"\n')
    with pytest.raises(SourceError, match="line 2 cannot be read"):
        evaluate(tmp_path / "b.jsonl", "accuracy")
    (tmp_path / "l.jsonl").write_text('{"prediction": ["a"], "truth": "a"}\n')
    with pytest.raises(SourceError, match="row 1, column 'prediction'"):
        evaluate(tmp_path / "l.jsonl", "accuracy")
    with pytest.raises(UsageError, match="choose from accuracy"):
        evaluate(empty, "f1")
    with pytest.raises(UsageError, match="only bleu takes several"):
        evaluate(empty, "accuracy", truths=["a", "b"])


def pairs(dtype=np.uint8):
    rng = np.random.default_rng(0)
    return [tuple(rng.integers(0, 4, (2, *size)).astype(dtype)) for size in ((5, 7), (4, 4), (1, 9))]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("preset", PRESETS)
def test_masks_are_read_relative_to_the_table(tmp_path, dtype, preset, monkeypatch):
    monkeypatch.chdir("/")
    expected = mean_iou(pairs(), ignore_index=3, preset=preset)
    found = evaluate(masks(tmp_path, pairs(dtype)), "mean-iou", ignore_index=3, preset=preset)
    assert found.score == expected.score
    assert found.per_class == dict(zip(expected.labels.tolist(), expected.iou.tolist(), strict=True))
    assert list(found.per_class) == [0, 1, 2]


def test_palettes_and_few_bits_hold_the_same_labels(tmp_path):
    labels = np.array([[0, 1, 2, 3]], np.uint8)
    palette = Image.fromarray(labels)
    palette.putpalette([9, 9, 9, 200, 0, 0, 9, 9, 9, 0, 0, 7])
    palette.save(tmp_path / "palette.png", bits=2)
    Image.fromarray(labels).save(tmp_path / "grey.png")
    (tmp_path / "two.png").write_bytes(grey_png(bits=2, row=0b00_01_10_11))
    rows = [("palette.png", "grey.png"), ("two.png", "grey.png"), ("grey.png", "two.png")]
    assert evaluate(csv(tmp_path / "t.csv", rows), "mean-iou").per_class == {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}


def grey_png(bits, row):
    """A grey PNG of 4 x 1 pixels in one byte, which Pillow does not write."""
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes([0, row]))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_masks_that_do_not_fit_are_named_with_row_and_file(tmp_path):
    table = masks(tmp_path, pairs())

    def refused(said):
        with pytest.raises(SourceError, match=said):
            evaluate(table, "mean-iou")

    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "masks/t1.png")
    refused(r"row 2: masks/p1.png is 4 x 4 and masks/t1.png is 5 x 4 pixels")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "masks/t1.png")
    refused("row 2: mask masks/t1.png holds colours")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "masks/t1.png", "JPEG")
    refused("row 2: mask masks/t1.png is not a PNG")
    whole = (tmp_path / "masks/p1.png").read_bytes()
    (tmp_path / "masks/p1.png").write_bytes(whole[:45])
    refused("row 2: mask masks/p1.png is damaged")
    (tmp_path / "masks/p1.png").unlink()
    refused("row 2: mask masks/p1.png cannot be read.*No such file")
    table = csv(tmp_path / "gap.csv", [("masks/p0.png", "")])
    refused("row 1: no path of a mask")


def test_the_line_of_json_says_everything(tmp_path):
    done = call(masks(tmp_path, pairs()), "--metric", "mean-iou", "--ignore-index", "3", "--json", "--quiet")
    line = json.loads(done.stdout)
    assert line["value"] == pytest.approx(mean_iou(pairs(), ignore_index=3).score.value)
    assert (line["metric"], line["n"], line["n_rows"], line["low"]) == ("mean-iou", 3, 3, None)
    assert (line["params"]["preset"], line["params"]["ignore_index"]) == ("pooled", 3)
    assert list(line["per_class"]) == ["0", "1", "2"]
    done = call(csv(tmp_path / "t.csv", LABELS), "--metric", "accuracy", "--json", "--quiet")
    line = json.loads(done.stdout)
    assert line["low"] < line["value"] < line["high"] and line["params"]["n_missing"] == 1


def test_lines_for_people(tmp_path):
    done = call(masks(tmp_path, pairs()), "--metric", "mean-iou", "--preset", "per-image")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("mean-iou  0.") and "Student t" in done.output and "  class 3: 0." in done.output
    done = call(csv(tmp_path / "t.csv", LABELS), "--metric", "accuracy")
    assert "left out, without a prediction or a truth: 1" in done.output
    assert call(tmp_path / "t.csv", "--metric", "accuracy", "--quiet").output == ""


def test_options_of_another_metric_are_refused(tmp_path):
    table = csv(tmp_path / "t.csv", LABELS)
    for option in (("--ignore-index", "3"), ("--preset", "pooled")):
        done = call(table, "--metric", "accuracy", *option)
        assert done.exit_code == 2 and f"{option[0]} is for --metric mean-iou" in done.output
    assert call(table).exit_code == 2


def test_choices_of_the_command_are_those_there_are():
    assert METRICS == KNOWN and tuple(MEAN_IOU_PRESETS) == PRESETS


def test_bleu_takes_several_columns_of_truths(tmp_path):
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
    rows = [("the cat sat on the mat", "a cat sat on the mat", "the cat sat on a mat"), ("it is red", "it was red", "")]
    table = jsonl(tmp_path / "t.jsonl", rows, ("prediction", "one", "two"))
    done = call(table, "--metric", "bleu", "--truth", "one", "--truth", "two", "--json")
    assert done.exit_code == 0, done.output
    line = json.loads(done.stdout.splitlines()[-1])
    assert "signature: nrefs:var|" in done.stdout and line["params"]["signature"].startswith("nrefs:var")
    assert line["value"] > evaluate(table, "bleu", truths=["one"]).score.value > 0
