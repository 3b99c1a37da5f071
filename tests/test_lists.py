"""Lists of paths: tables, text files, standard input."""

import io
import json
import os
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from images import png, write_tree

from semscale.errors import SourceError, UsageError
from semscale.model import Failure, Sample
from semscale.sources import open_source


def read_all(source):
    return list(source.read(range(len(source))))


@pytest.fixture
def images(tmp_path):
    write_tree(tmp_path / "images", ["1.png", "2.png"])
    return tmp_path


def write_list(folder, suffix, column):
    rows = {column: ["images/2.png", "images/1.png"], "prompt": ["a fox", "a cat"], "seed": [7, 8]}
    path = folder / f"list{suffix}"
    cells = list(zip(*rows.values(), strict=True))
    if suffix == ".parquet":
        pq.write_table(pa.table(rows), path)
    elif suffix == ".jsonl":
        path.write_text(
            "".join(json.dumps(dict(zip(rows, row, strict=True))) + "\n" for row in zip(*rows.values(), strict=True))
        )
    else:
        lines = [",".join(rows), *(",".join(map(str, row)) for row in cells)]
        path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("column", ["file_name", "path", "image_path"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_table_of_paths_is_read_in_its_order_with_its_columns(images, suffix, column):
    source = open_source(write_list(images, suffix, column))
    two, one = read_all(source)
    assert (two.key, two.image, two.text, two.group, two.seed) == ("images/2.png", png(1), "a fox", "a fox", 7)
    assert (one.key, one.image, one.text, one.seed) == ("images/1.png", png(0), "a cat", 8)
    assert two.uri == str(images / "images" / "2.png")
    assert [source.fingerprint(i) for i in (0, 1)] == [two.fingerprint, one.fingerprint]


def test_paths_may_be_absolute_lead_upwards_or_be_file_uris(images):
    odd = images / "images" / "ä b.png"
    shutil.copy(images / "images" / "1.png", odd)
    (images / "deep").mkdir()
    lines = [f"{images}/images/1.png", "../images/2.png", f"file://{images}/images/%C3%A4%20b.png", "gone.png"]
    (images / "deep" / "list.csv").write_text("\n".join(["path", *lines]))
    *found, gone = read_all(open_source(images / "deep" / "list.csv"))
    assert [sample.image for sample in found] == [png(0), png(1), png(0)]
    assert [sample.key for sample in found] == lines[:3]
    assert (gone.key, gone.code) == ("gone.png", "missing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name\na.png\n", "no column 'file_name' or 'path' or 'image_path'; columns: name"),
        ("path\na.png\na.png\n", "names 'a.png' 2 times"),
        ("path,seed\na.png,NaN\n", "row 1, column 'seed': 'NaN' is not a whole number"),
        ("path,text\na.png,x\n,y\n", "row 2 names no file"),
        ("path\n", "no images: it names none"),
        ("path\na.png\n./a.png\n", "'a.png' and './a.png' are the same file"),
        ('path,text\na.png,"x\nb.png,y\n', "row 1 opens a quote that is never closed"),
        ("", "give it a line with the names of its columns"),
        ("path,seed\na.png,1.5\n", "row 1, column 'seed': '1.5' is not a whole number"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(tmp_path, content, message):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path / "list.csv")


def test_a_seed_of_nan_in_parquet_is_refused(tmp_path):
    pq.write_table(pa.table({"path": ["a.png"], "seed": [float("nan")]}), tmp_path / "list.parquet")
    with pytest.raises(SourceError, match="row 1, column 'seed'"):
        open_source(tmp_path / "list.parquet")


def test_text_that_is_no_string_is_refused(tmp_path):
    pq.write_table(pa.table({"path": ["a.png"], "text": [["a", "b"]]}), tmp_path / "list.parquet")
    with pytest.raises(SourceError, match=r"column .text. is list<.*>, not text"):
        open_source(tmp_path / "list.parquet")


def test_grouping_by_a_column_of_a_list(images):
    (images / "list.csv").write_text("path,breed\nimages/1.png,corgi\nimages/2.png,\n")
    assert [s.group for s in read_all(open_source(images / "list.csv", group_by="breed"))] == ["corgi", "./images"]
    with pytest.raises(SourceError, match="no column 'colour' to group by"):
        open_source(images / "list.csv", group_by="colour")


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\0"])
def test_paths_on_standard_input(images, monkeypatch, ends):
    monkeypatch.chdir(images)
    give(monkeypatch, ends.join([b"images/2.png", b"", b"images/1.png", b""]))
    source = open_source("-")
    assert [s.key for s in read_all(source)] == ["images/2.png", "images/1.png"]
    assert [s.image for s in read_all(source)] == [png(1), png(0)]
    assert [s.group for s in read_all(source)] == ["./images"] * 2


def give(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_names_with_newlines_and_bytes_that_are_no_text_come_through_with_nul(images, monkeypatch):
    monkeypatch.chdir(images)
    odd = b"images/\xff\n.png"
    with open(odd, "wb") as file:
        file.write(png(5))
    give(monkeypatch, odd + b"\0images/1.png\0")
    first, second = read_all(open_source("-"))
    assert (first.image, second.image) == (png(5), png(0))
    assert first.key == "images/\\xff\n.png"


def test_a_name_longer_than_the_system_allows_is_a_failure(images, monkeypatch):
    give(monkeypatch, b"x" * 300 + b".png\n" + os.fsencode(images / "images" / "1.png"))
    long, fine = read_all(open_source("-"))
    assert isinstance(long, Failure)
    assert isinstance(fine, Sample)
    assert (long.code, long.group) == ("unreadable", ".")
    assert "name too long" in long.message


def test_a_text_file_of_paths(images):
    (images / "list.txt").write_text("images/1.png\nimages/2.png\n")
    assert [s.image for s in read_all(open_source(images / "list.txt"))] == [png(0), png(1)]
    with pytest.raises(UsageError, match="a plain list of paths"):
        open_source(images / "list.txt", group_by="breed")
    assert [s.group for s in read_all(open_source(images / "list.txt", group_by="parent"))] == ["images"] * 2


def test_nothing_on_standard_input_is_an_error(monkeypatch):
    give(monkeypatch, b"\n")
    with pytest.raises(SourceError, match="no images"):
        open_source("-")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_table_in_another_encoding_is_refused_with_advice(tmp_path, encoding):
    (tmp_path / "list.csv").write_bytes("path,text\na.png,fünf\n".encode(encoding))
    with pytest.raises(SourceError, match=r"cannot be read: .*; save it as UTF-8"):
        open_source(tmp_path / "list.csv")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_whole_seeds_may_be_written_as_pandas_writes_floats(images, suffix):
    text = "path,seed\nimages/1.png,7.0\n" if suffix == "csv" else '{"path": "images/1.png", "seed": 7.0}'
    (images / f"list.{suffix}").write_text(text)
    assert [s.seed for s in read_all(open_source(images / f"list.{suffix}"))] == [7]


def test_a_quote_within_a_cell_is_no_open_quote(images):
    (images / "list.csv").write_text('path,text\nimages/1.png,5" wide\n"images/2.png","says ""hi"", twice"\n')
    assert [s.text for s in read_all(open_source(images / "list.csv"))] == ['5" wide', 'says "hi", twice']


def test_reading_a_table_leaves_no_thread_that_aborts_the_process(tmp_path):
    (tmp_path / "list.csv").write_text("name\na.png\n")
    code = f"from semscale.sources import open_source; open_source({str(tmp_path / 'list.csv')!r})"
    for _ in range(4):
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert ended.returncode == 1
        assert ended.stderr.splitlines()[-1].startswith("semscale.errors.SourceError")
