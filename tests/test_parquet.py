"""Images in the rows of Parquet files."""

import io
import math
import random

import datasets
import fsspec
import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.table import embed_table_storage
from images import png
from PIL import Image

from semscale.errors import SourceError, UsageError
from semscale.model import Failure, Sample
from semscale.sources import parquet
from semscale.sources.parquet import ParquetSource, has_image_column
from semscale.sources.places import LocalFile, RemoteFile

A, B, C = png(1), png(2), png(3)
PATHS = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture
def source(tmp_path):
    """What makes a ParquetSource of columns, a table or the bytes of a file."""

    def make(content, *, group_by=None, **options):
        path = tmp_path / "images.parquet"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            pq.write_table(pa.table(content), path, **options)
        return ParquetSource(LocalFile(path), group_by=group_by)

    return make


def everything(source):
    items = list(source.read(range(len(source))))
    assert len(items) == len(source)
    assert [item.key for item in items] == source.keys(0, len(source))
    assert [item.uri for item in items] == source.uris(0, len(source))
    return items


def images(source):
    """The bytes of each row, or the code of its problem."""
    return [item.image if isinstance(item, Sample) else item.code for item in everything(source)]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([A, B, C]),
        pa.array([A, B, C], pa.large_binary()),
        pa.array([A, B, C], pa.binary_view()),
        pa.array([A, B, C]).dictionary_encode(),
        pa.array([{"bytes": image, "path": None} for image in (A, B, C)], PATHS),
        pa.array([{"bytes": image} for image in (A, B, C)], pa.struct([("bytes", pa.large_binary())])),
    ],
    ids=lambda column: str(column.type),
)
def test_the_bytes_delivered_are_those_written(source, tmp_path, column):
    found = source({"n": [1, 2, 3], "picture": column}, row_group_size=2)
    assert images(found) == [A, B, C]
    assert (found.layout, found.n_ignored, found.n_strays) == ("Parquet rows", 0, 0)
    assert (found.keys(1, 9), found.uris(0, 1)) == (["1", "2"], [f"{tmp_path}/images.parquet#0"])
    assert {item.group for item in everything(found)} == {"."}
    assert has_image_column(LocalFile(tmp_path / "images.parquet"))


def test_a_hugging_face_dataset_with_its_images(tmp_path):
    pixels = [np.random.default_rng(n).integers(0, 256, (8, 9, 3), np.uint8) for n in range(5)]
    columns = {"image": [Image.fromarray(each) for each in pixels], "text": list("abcde"), "label": [0, 1, 0, 1, 0]}
    features = datasets.Features(
        image=datasets.Image(), text=datasets.Value("string"), label=datasets.ClassLabel(names=["cat", "dog"])
    )
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "train.parquet", batch_size=2)
    found = ParquetSource(LocalFile(tmp_path / "train.parquet"), group_by="label")
    items = everything(found)
    assert [item.text for item in items] == list("abcde") and [item.group for item in items] == list("01010")
    for item, each in zip(items, pixels, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(item.image))), each)


@pytest.mark.parametrize("embedded", [True, False])
def test_a_hugging_face_dataset_of_encoded_images_keeps_the_bytes(tmp_path, embedded):
    """Unless it is told to embed them, it writes the absolute paths of the images alone."""
    folder = tmp_path / "elsewhere" if embedded else tmp_path
    folder.mkdir(exist_ok=True)
    for name, data in (("a.png", A), ("b.png", B)):
        (folder / name).write_bytes(data)
    columns = {"image": [str(folder / "b.png"), str(folder / "a.png")], "prompt": ["b", "a"]}
    dataset = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    if embedded:
        dataset = dataset.with_format("arrow").map(embed_table_storage, batched=True)
    dataset.to_parquet(tmp_path / "train.parquet")
    assert images(ParquetSource(LocalFile(tmp_path / "train.parquet"))) == [B, A]


def test_a_pandas_frame_with_missing_numbers(tmp_path):
    frame = pandas.DataFrame(
        {"image": [A, B, C], "prompt": ["x", None, ""], "seed": [1.0, None, 3.0], "model": ["m", "m", None]},
        index=["i", "j", "k"],
    )
    frame.to_parquet(tmp_path / "x.parquet")
    told = [(item.text, item.model, item.seed) for item in everything(ParquetSource(LocalFile(tmp_path / "x.parquet")))]
    assert told == [("x", "m", 1), (None, "m", None), (None, None, 3)]


def test_a_file_behind_fsspec_is_read_as_one_on_disk():
    memory = fsspec.filesystem("memory")
    out = io.BytesIO()
    pq.write_table(pa.table({"image": [A, B], "text": ["a", "b"]}), out)
    memory.pipe("/bucket/x.parquet", out.getvalue())
    found = ParquetSource(RemoteFile(memory, "/bucket/x.parquet"))
    assert images(found) == [A, B] and found.uris(1, 2) == ["memory:///bucket/x.parquet#1"]
    assert [item.fingerprint for item in found.read([0, 1])] == [found.fingerprint(0), found.fingerprint(1)]


def test_what_the_columns_say(source):
    columns = {
        "caption": ["c", "c", "c", "c"],
        "prompt": [" ", None, "p", "p"],
        "text": ["", None, None, "t"],
        "model": pa.array(["m", "m", None, " "]).dictionary_encode(),
        "seed": pa.array([0, -5, None, 2**63 - 1]),
        "image": [A, B, C, A],
    }
    told = [(item.text, item.group, item.model, item.seed) for item in everything(source(columns))]
    assert told == [("c", "c", "m", 0), ("c", "c", "m", -5), ("p", "p", None, None), ("t", "t", None, 2**63 - 1)]


@pytest.mark.parametrize(
    ("column", "groups"),
    [
        (["x", None, " "], ["x", ".", "."]),
        ([3, None, 5], ["3", ".", "5"]),
        ([True, False, None], ["True", "False", "."]),
        (pa.array(["x", "y", "x"]).dictionary_encode(), ["x", "y", "x"]),
        (pa.nulls(3), [".", ".", "."]),
    ],
)
def test_grouping_by_a_column(source, column, groups):
    found = source({"image": [A, B, C], "text": ["t", "u", "v"], "kind": column}, group_by="kind")
    assert [(item.group, item.text) for item in everything(found)] == list(zip(groups, "tuv", strict=True))


def test_grouping_by_a_column_that_is_not_there(source):
    with pytest.raises(UsageError, match=r"--group-by kind: .*no such column; columns: image, text"):
        source({"image": [A], "text": ["t"]}, group_by="kind")


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        ([1.0, 2.5, math.nan, 1e300], [1, "bad-metadata", "bad-metadata", "bad-metadata"]),
        (pa.array([1, 2**63, 3, None], pa.uint64()), [1, "bad-metadata", 3, None]),
        (pa.nulls(4), [None] * 4),
    ],
)
def test_seeds_that_are_no_whole_numbers_fail_their_rows(source, seeds, expected):
    items = everything(source({"image": [A, B, C, A], "seed": seeds}))
    assert [item.seed if isinstance(item, Sample) else item.code for item in items] == expected
    for row, item in enumerate(items):
        if isinstance(item, Failure):
            assert f"row {row}, column 'seed'" in item.message and item.fingerprint


def test_a_dictionary_without_the_value_asked_for_fails_its_row(source, monkeypatch):
    """As damage of a file's index pages leaves it."""
    indices = pa.Array.from_buffers(pa.int32(), 2, pa.array([7, 0], pa.int32()).buffers())
    damaged = pa.DictionaryArray.from_arrays(indices, pa.array(["x"]), safe=False)
    batch = pa.RecordBatch.from_arrays([pa.array([A, B]), damaged], ["image", "text"])
    found = source({"image": [A, B], "text": ["x", "x"]})
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *args, **options: iter([batch]))
    assert images(found) == ["broken-archive", B]


def test_a_row_group_with_fewer_rows_than_it_says(source, monkeypatch):
    found = source({"image": [A, B, C]})
    batch = pa.record_batch({"image": [A]})
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *args, **options: iter([batch]))
    assert images(found) == [A, "broken-archive", "broken-archive"]


def test_text_that_is_not_utf8_fails_its_row(source):
    broken = pa.StringArray.from_buffers(2, *pa.array([b"\xff\xfe", b"ok"]).buffers()[1:])
    items = everything(source({"image": [A, B], "text": broken}))
    assert items[0].code == "bad-metadata" and "UTF-8" in items[0].message and items[1].text == "ok"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": ["a.png"]}, "no column of images.*columns: path"),
        ({"a": [A], "b": [B]}, "several columns of images: a, b; name the one to score 'image'"),
        ({"image": [A], "text": [7]}, "column 'text' is int64, not text"),
        ({"image": [A], "prompt": [b"bytes"]}, "column 'prompt' is binary, not text"),
        ({"image": [A], "seed": ["7"]}, "column 'seed' is string, not whole numbers"),
        ({"image": [A], "seed": [True]}, "column 'seed' is bool, not whole numbers"),
        ({"image": [A], "model": [["m"]]}, "column 'model' is list"),
    ],
)
def test_columns_of_the_wrong_type_are_refused_before_any_work(source, columns, message):
    with pytest.raises(SourceError, match=message):
        source(columns)


def test_a_column_that_is_there_twice(source):
    table = pa.Table.from_arrays([pa.array([A]), pa.array(["x"]), pa.array(["y"])], ["image", "text", "text"])
    with pytest.raises(SourceError, match="has 2 columns 'text'; keep one"):
        source(table)


def test_of_several_image_columns_the_one_called_image_is_taken(source):
    assert images(source({"mask": [B], "image": [A], "other": [C]})) == [A]


def test_a_table_of_paths_holds_no_images(tmp_path):
    pq.write_table(pa.table({"path": ["a.png"], "text": ["b"]}), tmp_path / "x.parquet")
    assert not has_image_column(LocalFile(tmp_path / "x.parquet"))


def test_images_that_are_only_named(source, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").write_bytes(A)
    paths = ["sub/a.png", "none.png", f"{tmp_path}/sub/a.png", "/none/a.png", None, "sub", "\0", "sub/../sub/a.png"]
    column = pa.array([*({"bytes": None, "path": path} for path in paths), None], PATHS)
    found = source({"image": column})
    gone, odd = "missing", "unreadable"
    assert images(found) == [A, gone, A, gone, gone, odd, odd, A, gone]
    # What is gone stays so until the table changes: else every run would read its shard again.
    fingerprints = [item.fingerprint for item in everything(found)]
    assert [bool(each) for each in fingerprints] == [True, True, True, True, True, False, False, True, True]


def test_images_that_are_only_named_far_away():
    memory = fsspec.filesystem("memory")
    out = io.BytesIO()
    pq.write_table(pa.table({"image": pa.array([{"bytes": None, "path": "a.png"}], PATHS)}), out)
    memory.pipe("/far/x.parquet", out.getvalue())
    assert images(ParquetSource(RemoteFile(memory, "/far/x.parquet"))) == ["missing"]


def test_an_image_that_is_too_large(source, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_FILE_BYTES", 1000)
    assert images(source({"image": [b"x" * 1001, b"x" * 1000]})) == ["too-large", b"x" * 1000]


def test_any_order_gives_the_same_rows(source):
    cells = [b"%d" % n for n in range(200)]
    found = source({"image": cells}, row_group_size=70)
    order = [0, 1, 1, 150, 3, 199, 69, 70, 0, 139, 140, 141]
    assert [item.image for item in found.read(order)] == [cells[n] for n in order]


def test_rising_indices_go_through_each_row_group_once(source, monkeypatch):
    found = source({"image": [b"%d" % n for n in range(100)], "unused": ["x"] * 100}, row_group_size=10)
    entered = []
    real = pq.ParquetFile.iter_batches

    def watched(self, *args, **kwargs):
        entered.append((kwargs["row_groups"], kwargs["columns"]))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    assert len(list(found.read([*range(5), 7, *range(20, 45), 99]))) == 32
    assert entered == [([group], ["image"]) for group in (0, 2, 3, 4, 9)]


def damaged_group(rows, columns, damaged):
    """A file of three row groups, of which the pages of the second are damaged."""
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, row_group_size=rows, write_page_checksum=True, compression="none")
    chunk = pq.ParquetFile(out).metadata.row_group(1).column(0)
    content = bytearray(out.getvalue())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    damaged(content, start, start + chunk.total_compressed_size)
    return bytes(content)


def test_a_damaged_row_group_costs_its_rows_and_no_other(source):
    def flip(content, start, stop):
        content[stop - 3] ^= 0xFF

    cells = [random.Random(n).randbytes(3000) for n in range(60)]
    found = source(damaged_group(20, {"image": cells}, flip))
    got = images(found)
    assert got[:20] == cells[:20] and got[40:] == cells[40:]
    broken = got.index("broken-archive")
    assert broken >= 20 and set(got[broken:40]) == {"broken-archive"} and got[20:broken] == cells[20:broken]
    assert [item.code for item in found.read([39, 38])] == ["broken-archive"] * 2
    assert all(item.fingerprint == found.fingerprint(row) for row, item in enumerate(everything(found)))


def test_a_damaged_page_header_costs_the_row_group(source):
    def zero(content, start, stop):
        content[start : start + 16] = b"\xff" * 16

    cells = [random.Random(n).randbytes(300) for n in range(60)]
    assert images(source(damaged_group(20, {"image": cells}, zero))) == [
        *cells[:20],
        *["broken-archive"] * 20,
        *cells[40:],
    ]


@pytest.mark.parametrize("content", [b"", b"not parquet" * 100, b"PAR1" + b"x" * 100 + b"PAR1"])
def test_what_is_no_parquet_is_refused(source, tmp_path, content):
    with pytest.raises(SourceError, match=r"images\.parquet: .*copy or write it again"):
        source(content)
    with pytest.raises(SourceError):
        has_image_column(LocalFile(tmp_path / "images.parquet"))


def test_rows_that_cannot_all_be_there_are_refused(source):
    """A row takes more than a byte in any file of images; a damaged count could stand for billions of failures."""
    with pytest.raises(SourceError, match="its counts of rows cannot be right"):
        source({"image": pa.nulls(50_000, pa.binary())})


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        ParquetSource(LocalFile(tmp_path / "none.parquet"))


def test_an_empty_table(source):
    found = source({"image": pa.array([], pa.binary())})
    assert (len(found), found.keys(0, 9), list(found.read([]))) == (0, [], [])


def test_a_file_that_changed_or_went_gives_no_wrong_bytes(source, tmp_path):
    found = source({"image": [A, B]})
    old = found.fingerprint(0)
    source({"image": [C, A, B]})
    assert [(item.code, item.fingerprint) for item in found.read([0, 1])] == [("changed", "")] * 2
    assert source({"image": [C, A]}).fingerprint(0) != old
    (tmp_path / "images.parquet").unlink()
    assert [(item.code, item.fingerprint) for item in found.read([0, 1])] == [("unreadable", "")] * 2


def test_a_failure_of_the_file_system_is_tried_again(source, monkeypatch):
    found = source({"image": [b"%d" % n for n in range(40)]}, row_group_size=40)
    real, calls = pq.ParquetFile.iter_batches, []

    def failing(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise TimeoutError(110, "the other side is slow")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *a, **k: lazily(failing, *a, **k))
    first, second = found.read([0, 1])
    assert (first.code, first.fingerprint) == ("unreadable", "") and "slow" in first.message
    assert second.image == b"1"


def lazily(function, *args, **kwargs):
    yield from function(*args, **kwargs)


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_flipped_bytes_never_raise_while_reading(source, compression):
    out = io.BytesIO()
    cells = pa.array([{"bytes": random.Random(n).randbytes(50), "path": f"{n}.png"} for n in range(12)], PATHS)
    columns = {"image": cells, "text": [f"text {n % 3}" for n in range(12)], "seed": list(range(12))}
    pq.write_table(pa.table(columns), out, row_group_size=5, compression=compression)
    whole = out.getvalue()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    rng = random.Random(compression)
    n_refused = 0
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 1, 4))):
            place = rng.randrange(rng.choice((0, footer)), len(content))
            content[place] = rng.choice((0, 0xFF, content[place] ^ 1 << rng.randrange(8)))
        try:
            found = source(bytes(content))
        except SourceError:
            n_refused += 1
            continue
        everything(found)
    assert n_refused < 360
