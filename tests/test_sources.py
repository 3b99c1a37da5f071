import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import png, write_tree

from semscale.errors import SourceError, UsageError
from semscale.model import Failure, Sample
from semscale.sources import open_source
from semscale.sources.folder import MAX_FILE_BYTES
from semscale.sources.names import key_of


def read_all(source):
    return list(source.read(range(len(source))))


def keys(source):
    return source.keys(0, len(source))


def uris(source):
    return source.uris(0, len(source))


def test_groups_are_parent_folders_and_order_is_stable(tmp_path):
    write_tree(tmp_path, ["dog/b.png", "dog/a.PNG", "cat/x.jpeg", "top.webp", "deep/er/z.gif"])
    (tmp_path / "notes.txt").write_text("no image")
    source = open_source(tmp_path)
    assert keys(source) == ["top.webp", "cat/x.jpeg", "deep/er/z.gif", "dog/a.PNG", "dog/b.png"]
    assert [s.group for s in read_all(source)] == [".", "cat", "deep/er", "dog", "dog"]
    assert all(s.text is None and s.model is None and s.seed is None for s in read_all(source))
    assert source.n_ignored == 1
    assert uris(source)[1] == str(tmp_path / "cat" / "x.jpeg")


def test_the_published_layout_gives_model_prompt_and_seed(tmp_path):
    write_tree(tmp_path, ["sdxl/a red fox/892834.png", "sdxl/a red fox/1.jpg", "pixart/a red fox/1.png"])
    samples = read_all(open_source(tmp_path))
    assert [(s.model, s.text, s.group, s.seed) for s in samples] == [
        ("pixart", "a red fox", "a red fox", 1),
        ("sdxl", "a red fox", "a red fox", 1),
        ("sdxl", "a red fox", "a red fox", 892834),
    ]


@pytest.mark.parametrize(("n_strays", "layout"), [(1, "model/prompt/seed"), (2, "group/image")])
def test_five_percent_of_strays_do_not_take_the_prompts_away_from_the_rest(tmp_path, n_strays, layout):
    seeds = [f"sdxl/a red fox/{seed}.png" for seed in range(19)]
    write_tree(tmp_path, [*seeds, "sdxl/a red fox/best.png", "top.png"][: 19 + n_strays])
    source = open_source(tmp_path)
    found = {item.key: item for item in read_all(source)}
    assert source.layout == layout
    published = layout == "model/prompt/seed"
    assert source.n_strays == (n_strays if published else 0)
    stray, first = found["sdxl/a red fox/best.png"], found[seeds[0]]
    assert (stray.group, stray.text, stray.model, stray.seed) == ("sdxl/a red fox", None, None, None)
    assert first.text == ("a red fox" if published else None)


def test_a_folder_without_any_seed_is_not_the_published_layout(tmp_path):
    write_tree(tmp_path, ["animals/dog/best.png"])
    assert open_source(tmp_path).layout == "group/image"


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
    assert (second.group, second.text) == ("./a", None)
    assert isinstance(third, Failure)
    assert (third.key, third.code, third.group) == ("a/gone.png", "missing", "a cat")


def test_grouping_by_parent_or_by_a_column(tmp_path):
    write_tree(tmp_path, ["a/1.png", "b/2.png"])
    columns = {"file_name": ["a/1.png", "b/2.png"], "text": ["x", "y"], "subject": ["s1", None]}
    write_table(tmp_path / "metadata.jsonl", columns)
    assert [s.group for s in read_all(open_source(tmp_path, group_by="parent"))] == ["a", "b"]
    assert [s.group for s in read_all(open_source(tmp_path, group_by="subject"))] == ["s1", "./b"]
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
        ("file_name,text,text\na.png,x,y\n", "has 2 columns 'text'; keep one"),
        ("file_name,file_name\na.png,a.png\n", "has 2 columns 'file_name'; keep one"),
        ("file_name,text\na.png,x\nb\0.png,y\n", r"row 2: 'b\\x00\.png' holds a NUL"),
        ("file_name,text\na.png,x\n,y\n", "row 2 names no file"),
        (f"file_name,seed\na.png,7\nb.png,{2**63}\n", f"row 2, column 'seed': '{2**63}' is not a whole number"),
        ("", "cannot be read"),
    ],
)
def test_a_metadata_file_that_makes_no_sense_is_refused(tmp_path, content, message):
    write_tree(tmp_path, ["a.png"])
    (tmp_path / "metadata.csv").write_text(content)
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ('{"file_name": "b.png", "text": 5}', "row 2, column 'text': 5 is not text; put it in quotes"),
        ('{"file_name": "b.png", "model": true}', "row 2, column 'model': True is not text; put it in quotes"),
        (
            '{"file_name": "b.png", "colour": {"r": 1}}',
            "row 2, column 'colour': {'r': 1} is not text; put it in quotes",
        ),
        ('{"file_name": 7}', "row 2, column 'file_name': 7 is not text; put it in quotes"),
        ('{"file_name": "b.png", "text": "\\ud83d"}', "row 2, column 'text': .* is not valid Unicode"),
        ('{"file_name": "b.png", "seed": true}', "row 2, column 'seed': True is not a whole number"),
        ('{"file_name": "b.png", "seed": 1.5}', "row 2, column 'seed': 1.5 is not a whole number"),
        ('{"file_name": "b.png", "seed": "many"}', "row 2, column 'seed': 'many' is not a whole number"),
        (f'{{"file_name": "b.png", "seed": {2**63}}}', f"row 2, column 'seed': '{2**63}' is not a whole number"),
        ('{"file_name": "b\\u0000.png"}', "row 2: .* holds a NUL character"),
        ('{"file_name": "b.png", "text": "x", "text": "y"}', "line 3 cannot be read: a name is given twice"),
        ('{"file_name": "b.png"', "line 3 cannot be read"),
        ("[" * 100_000, "line 3 cannot be read"),
        ("7", "line 3 is not a JSON object"),
    ],
    ids=range(14),
)
def test_a_bad_line_of_json_is_named(tmp_path, second, message):
    write_tree(tmp_path, ["a.png", "b.png"])
    first = '{"file_name": "a.png", "text": "x", "colour": "red"}'
    (tmp_path / "metadata.jsonl").write_text(f"{first}\n\n{second}\n")
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path, group_by="colour")


def test_json_strings_stay_exactly_as_they_are(tmp_path):
    texts = ["2024-01-01", "2024-01-01T00:00:00Z", "1984", "1e3", "true", " a\u2028b\r\n", "null"]
    write_tree(tmp_path, [f"{i}.png" for i in range(len(texts))])
    seeds = [7, "8", None, "", -1, 2**63 - 1, "0"]
    rows = [
        {"file_name": f"{i}.png", "text": t, "seed": s, "other": {"i": i}}
        for i, (t, s) in enumerate(zip(texts, seeds, strict=True))
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / "metadata.jsonl").write_text("\n\n \r\n".join(lines), encoding="utf-8-sig", newline="")
    samples = read_all(open_source(tmp_path))
    assert [s.text for s in samples] == texts
    assert [s.seed for s in samples] == [7, 8, None, None, -1, 2**63 - 1, 0]


def test_json_of_many_rows_is_read_whole_and_in_order(tmp_path):
    rows = [{"file_name": f"{i}.png", "text": f"text {i}"} for i in range(10_001)] + [{"file_name": "last.png"}]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {item.key: item.text for item in read_all(open_source(tmp_path))}
    assert found == {row["file_name"]: row.get("text") for row in rows}


def test_two_columns_of_one_name_in_parquet_are_refused(tmp_path):
    write_tree(tmp_path, ["a.png"])
    table = pa.Table.from_arrays([pa.array([x]) for x in ("a.png", "x", "y")], ["file_name", "text", "text"])
    pq.write_table(table, tmp_path / "metadata.parquet")
    with pytest.raises(SourceError, match="has 2 columns 'text'; keep one"):
        open_source(tmp_path)


def test_whole_numbers_in_parquet_are_seeds_and_others_are_refused(tmp_path):
    write_tree(tmp_path, ["a.png", "b.png"])
    names = ["a.png", "b.png"]
    for seeds in ([892834, None], [892834.0, None]):
        write_table(tmp_path / "metadata.parquet", {"file_name": names, "seed": seeds})
        assert [s.seed for s in read_all(open_source(tmp_path))] == [892834, None]
    for seeds, shown in ((pa.array([1, 2**63], pa.uint64()), 2**63), ([1.0, 1.5], 1.5), ([None, True], "true")):
        pq.write_table(pa.table({"file_name": names, "seed": seeds}), tmp_path / "metadata.parquet")
        with pytest.raises(SourceError, match=f"row 2, column 'seed': '{shown}' is not a whole number"):
            open_source(tmp_path)


def test_the_first_text_column_that_is_not_blank_counts(tmp_path):
    write_tree(tmp_path, [f"{i}.png" for i in range(4)])
    columns = {
        "file_name": [f"{i}.png" for i in range(4)],
        "caption": ["c0", "c1", "c2", " "],
        "prompt": ["p0", "p1", None, ""],
        "text": ["t0", " ", None, None],
    }
    write_table(tmp_path / "metadata.csv", columns)
    samples = read_all(open_source(tmp_path))
    assert [s.text for s in samples] == ["t0", "p1", "c2", None]
    assert [s.group for s in samples] == ["t0", "p1", "c2", "."]


def test_a_folder_never_joins_the_images_whose_text_is_its_name(tmp_path):
    write_tree(tmp_path, ["g1/1.png", "g1/2.png", "top.png"])
    write_table(tmp_path / "metadata.csv", {"file_name": ["g1/1.png"], "text": ["g1"]})
    assert [s.group for s in read_all(open_source(tmp_path))] == [".", "g1", "./g1"]
    assert [s.group for s in read_all(open_source(tmp_path, group_by="parent"))] == [".", "g1", "g1"]


def test_a_listed_file_is_an_input_whatever_its_suffix_and_is_not_ignored_too(tmp_path):
    write_tree(tmp_path, ["g0/0.bin", "g0/1.png", "g0/2.bin"])
    write_table(tmp_path / "metadata.csv", {"file_name": ["./g0/0.bin"], "text": ["a fox"]})
    source = open_source(tmp_path)
    assert keys(source) == ["g0/0.bin", "g0/1.png"]
    assert source.n_ignored == 1  # 2.bin; the metadata file itself is not counted
    assert isinstance(read_all(source)[0], Sample)


def test_two_metadata_files_are_refused(tmp_path):
    write_tree(tmp_path, ["a.png"])
    (tmp_path / "metadata.csv").write_text("file_name\na.png\n")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png"}\n')
    with pytest.raises(SourceError, match=r"both metadata\.csv and metadata\.jsonl; keep one"):
        open_source(tmp_path)


def test_what_is_no_folder_of_images_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no such file or folder"):
        open_source(tmp_path / "gone")
    (tmp_path / "file").write_bytes(png())
    with pytest.raises(SourceError, match="neither a folder nor a file of a known kind"):
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


PARTS = st.lists(st.sampled_from([b"\\", b"\\x", b"ff", b"\xff", b"\xc3\xbc", b"a", b"/", b"."]), min_size=1)


@given(st.lists(PARTS.map(b"".join), unique=True))
def test_every_path_has_its_own_key(names):
    assert len({key_of(name) for name in names}) == len(names)


def test_ordinary_names_are_their_own_keys_and_others_are_escaped():
    for name in ("a/b.png", "ü/\n.png", r"a\b.png", r"the letter \xi", r"\x4", r"\xFF"):
        assert key_of(name.encode()) == name
    assert key_of(b"a\\b/\\\xff") == r"a\b/\\\xff"  # each part by itself, so that a folder has one name
    assert key_of(rb"a/\xff") == r"a/\\xff"


def test_names_that_look_alike_are_two_images_and_each_uri_opens_its_own(tmp_path):
    root = tmp_path / os.fsdecode(b"caf\xe9 %")
    root.mkdir()
    write_tree(root, [os.fsdecode(b"g/\xff.png"), r"g/\xff.png"])
    (tmp_path / "metadata.csv").write_text("")  # of another folder
    write_table(root / "metadata.jsonl", {"file_name": [r"g/\xff.png"], "text": ["a fox"]})
    source = open_source(root)
    assert keys(source) == [r"g/\\xff.png", r"g/\xff.png"]
    assert source.uri == f"file://{tmp_path}/caf%E9%20%25"
    assert uris(source) == [f"{source.uri}/g/%5Cxff.png", f"{source.uri}/g/%FF.png"]
    literal, odd = read_all(source)
    assert (literal.image, odd.image) == (png(1), png(0))
    assert (literal.text, odd.text) == ("a fox", None)
    assert [literal.uri, odd.uri] == uris(source)


def test_uris_of_ordinary_names_are_plain_paths_that_open(tmp_path):
    names = ["a%20b/ü.png", r"g/\xff.png"]
    write_tree(tmp_path, names)
    assert [Path(uri).read_bytes() for uri in uris(open_source(tmp_path))] == [png(0), png(1)]


def test_links_that_lead_to_themselves_do_not_stop_the_run(tmp_path):
    write_tree(tmp_path, ["g/1.png"])
    for name in ("loop", "loop.png"):
        (tmp_path / "g" / name).symlink_to(name)
    source = open_source(tmp_path)
    assert source.n_ignored == 1
    image, loop = read_all(source)
    assert isinstance(image, Sample)
    assert (loop.key, loop.code) == ("g/loop.png", "unreadable")


def test_every_real_folder_is_visited_once(tmp_path):
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    write_tree(elsewhere, ["x/0.png", "x/deep/1.png", "y/2.png"])
    write_tree(root, ["g1/3.png"])
    (root / "g0").symlink_to("g1")  # earlier in byte order, but the real path wins
    (root / "b").symlink_to(elsewhere / "x")
    (root / "a").symlink_to(elsewhere / "x")
    (root / "c").symlink_to(elsewhere / "x" / "deep")
    (root / "d").symlink_to(elsewhere)
    (elsewhere / "x" / "back").symlink_to(root)
    assert keys(open_source(root)) == ["g1/3.png", "a/0.png", "a/deep/1.png", "d/y/2.png"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    write_tree(tmp_path, ["a/1.png", "b/2.png"])
    scandir = os.scandir

    def refuse(path):
        if path.endswith(b"/b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(SourceError, match="/b: cannot be listed: Permission denied"):
        open_source(tmp_path)


def test_folders_may_be_nested_deeper_than_python_recurses(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    deepest = "d/" * 1200 + "1.png"
    (tmp_path / deepest).write_bytes(png())
    try:
        assert keys(open_source(tmp_path)) == [deepest]
    finally:  # shutil.rmtree, which tidies up after tests, recurses
        (tmp_path / deepest).unlink()
        for depth in range(1200, 0, -1):
            os.rmdir(tmp_path / ("d/" * depth))


def test_a_file_too_large_for_memory_is_a_failure(tmp_path):
    write_tree(tmp_path, ["a.png", "b.png"])
    os.truncate(tmp_path / "a.png", MAX_FILE_BYTES + 1)  # sparse: takes no room
    large, small = read_all(open_source(tmp_path))
    assert (large.key, large.code) == ("a.png", "too-large")
    assert str(MAX_FILE_BYTES) in large.message
    assert isinstance(small, Sample)


def test_a_fingerprint_changes_with_the_file_and_with_what_is_known_of_it(tmp_path):
    write_tree(tmp_path, ["a.png", "b.png"])
    table = {"file_name": ["a.png", "b.png", "gone.png"], "text": ["x", "y", "z"]}
    write_table(tmp_path / "metadata.csv", table)
    source = open_source(tmp_path)
    before = [item.fingerprint for item in read_all(source)]
    assert before == [source.fingerprint(i) for i in range(3)]
    assert before[2] == "" and len(set(before)) == 3
    (tmp_path / "a.png").write_bytes(png(9, (31, 17)))
    write_table(tmp_path / "metadata.csv", table | {"text": ["x", "another", "z"]})
    after = open_source(tmp_path)
    assert source.fingerprint(0) != before[0] and source.fingerprint(1) == before[1]
    assert after.fingerprint(0) == source.fingerprint(0) and after.fingerprint(1) != before[1]


def test_a_file_that_becomes_readable_has_another_fingerprint(tmp_path, monkeypatch):
    write_tree(tmp_path, ["a.png"])
    source = open_source(tmp_path)
    readable = source.fingerprint(0)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert source.fingerprint(0) not in ("", readable)


def test_results_of_earlier_runs_below_the_source_are_not_listed(tmp_path):
    write_tree(tmp_path, ["g/1.png"])
    (tmp_path / "notes.txt").write_text("no image")
    before = open_source(tmp_path)
    write_tree(tmp_path, ["out/images/1.png", "out/stores/m/store.json", "out/report.html", "out/.lock"])
    write_tree(tmp_path, ["out2/.lock", "out2/store.json", "out2/plan/part-00000.parquet"])
    after = open_source(tmp_path)
    assert (keys(after), after.n_ignored) == (keys(before), before.n_ignored) == (["g/1.png"], 1)
    write_tree(tmp_path, ["shop/store.json", "shop/2.png", "locked/.lock", "locked/3.png"])  # not ours
    assert keys(open_source(tmp_path)) == ["g/1.png", "locked/3.png", "shop/2.png"]
    write_tree(tmp_path, [".lock", "stores/m/store.json"])  # the source itself is never left out
    assert keys(open_source(tmp_path)) == ["g/1.png", "locked/3.png", "shop/2.png"]
    assert keys(open_source(tmp_path / "out" / "images")) == ["1.png"]
