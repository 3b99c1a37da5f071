import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from images import png, write_tree

from semscale.errors import SourceError, UsageError
from semscale.model import Failure, Sample
from semscale.sources import open_source


def read_all(source):
    return list(source.read(range(len(source.keys()))))


def test_groups_are_parent_folders_and_order_is_stable(tmp_path):
    write_tree(tmp_path, ["dog/b.png", "dog/a.PNG", "cat/x.jpeg", "top.webp", "deep/er/z.gif"])
    (tmp_path / "notes.txt").write_text("no image")
    source = open_source(tmp_path)
    assert source.keys() == ["cat/x.jpeg", "deep/er/z.gif", "dog/a.PNG", "dog/b.png", "top.webp"]
    assert [s.group for s in read_all(source)] == ["cat", "deep/er", "dog", "dog", "."]
    assert all(s.text is None and s.model is None and s.seed is None for s in read_all(source))
    assert source.n_ignored == 1
    assert source.uris()[0] == str(tmp_path / "cat" / "x.jpeg")


def test_the_published_layout_gives_model_prompt_and_seed(tmp_path):
    write_tree(tmp_path, ["sdxl/a red fox/892834.png", "sdxl/a red fox/1.jpg", "pixart/a red fox/1.png"])
    samples = read_all(open_source(tmp_path))
    assert [(s.model, s.text, s.group, s.seed) for s in samples] == [
        ("pixart", "a red fox", "a red fox", 1),
        ("sdxl", "a red fox", "a red fox", 1),
        ("sdxl", "a red fox", "a red fox", 892834),
    ]


def test_one_name_that_is_no_seed_means_it_is_not_the_published_layout(tmp_path):
    write_tree(tmp_path, ["animals/dog/1.png", "animals/dog/best.png"])
    assert {s.group for s in read_all(open_source(tmp_path))} == {"animals/dog"}


@pytest.mark.parametrize("text_column", ["text", "prompt", "caption"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_metadata_file_names_texts_models_and_seeds(tmp_path, suffix, text_column):
    write_tree(tmp_path, ["images/1.png", "images/2.png"])
    columns = {
        "file_name": ["images/2.png", "images/1.png"],
        text_column: ['say "hi", 1984\nnew line', "1984"],
        "model": ["m2", "m1"],
        "seed": [7, None],
    }
    write_table(tmp_path / f"metadata.{suffix}", columns)
    one, two = read_all(open_source(tmp_path))
    assert (one.text, one.group, one.model, one.seed) == ("1984", "1984", "m1", None)
    assert (two.text, two.group, two.model, two.seed) == (
        'say "hi", 1984\nnew line',
        'say "hi", 1984\nnew line',
        "m2",
        7,
    )


def write_table(path, columns):
    import csv
    import json

    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(rows)


def test_an_image_without_a_row_falls_back_to_its_folder_and_a_row_without_an_image_is_a_failure(tmp_path):
    write_tree(tmp_path, ["a/1.png", "a/2.png"])
    write_table(tmp_path / "metadata.csv", {"file_name": ["a/1.png", "a/gone.png"], "text": ["a fox", "a cat"]})
    first, second, third = read_all(open_source(tmp_path))
    assert (first.group, first.text) == ("a fox", "a fox")
    assert (second.group, second.text) == ("a", None)
    assert isinstance(third, Failure)
    assert (third.key, third.code, third.group) == ("a/gone.png", "missing", "a cat")


def test_grouping_by_parent_or_by_a_column(tmp_path):
    write_tree(tmp_path, ["a/1.png", "b/2.png"])
    columns = {"file_name": ["a/1.png", "b/2.png"], "text": ["x", "y"], "subject": ["s1", None]}
    write_table(tmp_path / "metadata.jsonl", columns)
    assert [s.group for s in read_all(open_source(tmp_path, group_by="parent"))] == ["a", "b"]
    assert [s.group for s in read_all(open_source(tmp_path, group_by="subject"))] == ["s1", "b"]
    assert [s.text for s in read_all(open_source(tmp_path, group_by="parent"))] == ["x", "y"]
    with pytest.raises(SourceError, match=r"no column 'colour' to group by; columns: file_name, text, subject"):
        open_source(tmp_path, group_by="colour")


def test_grouping_by_a_column_needs_a_metadata_file(tmp_path):
    write_tree(tmp_path, ["a/1.png"])
    with pytest.raises(UsageError, match="has no metadata file"):
        open_source(tmp_path, group_by="subject")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,text\na.png,x\n", "no column 'file_name'"),
        ("file_name,text\na.png,x\na.png,y\n", "names 'a.png' 2 times"),
        ("file_name,text\n../a.png,x\n", "leaves the folder"),
        ("file_name,seed\na.png,many\n", "column 'seed'"),
        ("file_name,text\na.png\n", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_metadata_file_that_makes_no_sense_is_refused(tmp_path, content, message):
    write_tree(tmp_path, ["a.png"])
    (tmp_path / "metadata.csv").write_text(content)
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path)


def test_two_metadata_files_are_refused(tmp_path):
    write_tree(tmp_path, ["a.png"])
    (tmp_path / "metadata.csv").write_text("file_name\na.png\n")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png"}\n')
    with pytest.raises(SourceError, match=r"both metadata\.csv and metadata\.jsonl; keep one"):
        open_source(tmp_path)


def test_what_is_no_folder_of_images_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no such folder"):
        open_source(tmp_path / "gone")
    (tmp_path / "file").write_bytes(png())
    with pytest.raises(SourceError, match="not a folder"):
        open_source(tmp_path / "file")
    with pytest.raises(SourceError, match="no images among 1 files"):
        open_source(tmp_path)


def test_odd_names_links_and_pipes(tmp_path):
    write_tree(tmp_path, ["g/new\nline.png", "g/ü.png"])
    (tmp_path / "g" / "back").symlink_to(tmp_path)  # a loop
    (tmp_path / "g" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "g" / "pipe.png")
    (tmp_path / "g" / os.fsdecode(b"\xff.png")).write_bytes(png())
    found = {item.key: item for item in read_all(open_source(tmp_path))}
    assert sorted(found) == sorted(["g/new\nline.png", "g/ü.png", "g/gone.png", "g/pipe.png", r"g/\xff.png"])
    assert found["g/gone.png"].code == "missing"
    assert found["g/pipe.png"].code == "unreadable"
    assert isinstance(found[r"g/\xff.png"], Sample)
