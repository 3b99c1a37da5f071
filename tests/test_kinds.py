"""Which reader a place gets, whatever it is called."""

import io
import json
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from images import png, write_tree

from semscale.errors import SourceError, UsageError
from semscale.sources import open_source


def read_all(source):
    return list(source.read(range(len(source))))


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_a_folder_of_archives_is_several_sources(tmp_path):
    write_tar(tmp_path / "b.tar", {"1.png": png(1), "1.txt": b"a fox"})
    (tmp_path / "deep").mkdir()
    pq.write_table(pa.table({"image": [png(2)], "text": ["a fox"]}), tmp_path / "deep" / "c.parquet")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("g/0.png", png(0))
    source = open_source(tmp_path)
    assert source.keys(0, 9) == ["a.zip/g/0.png", "b.tar/1.png", "deep/c.parquet/0"]
    assert [s.image for s in read_all(source)] == [png(0), png(1), png(2)]
    assert [s.group for s in read_all(source)] == ["a.zip/g", "a fox", "a fox"]
    assert source.uri == str(tmp_path)


def test_a_folder_with_images_keeps_its_archives_closed(tmp_path):
    write_tree(tmp_path, ["1.png"])
    (tmp_path / "b.tar").write_bytes(b"no tar at all")
    source = open_source(tmp_path)
    assert (source.keys(0, 9), source.n_ignored) == (["1.png"], 1)


def test_a_zip_is_described_by_its_folders_or_its_metadata(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("m/a fox/7.png", png(0))
    (published,) = read_all(open_source(tmp_path / "a.zip"))
    assert (published.model, published.text, published.seed) == ("m", "a fox", 7)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("x.png", png(0))
        archive.writestr("metadata.csv", "file_name,text,breed\nx.png,a dog,corgi\ngone.png,a cat,\n")
    described, gone = read_all(open_source(tmp_path / "b.zip"))
    assert (gone.key, gone.code, gone.text, gone.fingerprint) == ("gone.png", "missing", "a cat", "")
    assert open_source(tmp_path / "b.zip").n_ignored == 0
    assert (described.text, described.group) == ("a dog", "a dog")
    assert read_all(open_source(tmp_path / "b.zip", group_by="breed"))[0].group == "corgi"
    with pytest.raises(UsageError, match="has no metadata file"):
        open_source(tmp_path / "a.zip", group_by="breed")


def test_a_column_that_no_sidecar_of_a_tar_has_is_refused(tmp_path):
    write_tar(tmp_path / "a.tar", {"1.png": png(1), "1.json": json.dumps({"breed": "corgi"}).encode()})
    assert read_all(open_source(tmp_path / "a.tar", group_by="breed"))[0].group == "corgi"
    with pytest.raises(UsageError, match=r"--group-by bred: no \.json"):
        open_source(tmp_path / "a.tar", group_by="bred")
    write_tar(tmp_path / "b.tar", {"1.png": png(1)})
    with pytest.raises(UsageError, match=r"--group-by breed: no \.json"):
        open_source(tmp_path / "b.tar", group_by="breed")


def test_a_tar_of_a_folder_is_read_as_the_folder(tmp_path):
    write_tar(tmp_path / "a.tar", {"./m/a fox/7.png": png(0), "./m/a fox/8.png": png(1)})
    first, second = read_all(open_source(tmp_path / "a.tar"))
    assert (first.key, first.model, first.text, first.seed) == ("m/a fox/7.png", "m", "a fox", 7)
    assert second.group == "a fox"


def test_a_parquet_file_of_paths_is_a_list_and_one_of_images_is_not(tmp_path):
    write_tree(tmp_path, ["1.png"])
    pq.write_table(pa.table({"path": ["1.png"]}), tmp_path / "paths.parquet")
    pq.write_table(pa.table({"image": [png(3)]}), tmp_path / "images.pq")
    assert read_all(open_source(tmp_path / "paths.parquet"))[0].image == png(0)
    assert read_all(open_source(tmp_path / "images.pq"))[0].image == png(3)


def test_places_may_be_file_uris(tmp_path):
    write_tree(tmp_path / "a b", ["1.png"])
    assert open_source(f"file://{tmp_path}/a%20b").keys(0, 9) == ["1.png"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tar", b"no tar", "a.tar: "),
        ("a.tar.gz", b"no gzip", "a.tar.gz: "),
        ("a.zip", b"no zip", "a.zip: "),
        ("a.parquet", b"no parquet", "a.parquet: "),
        ("a.csv", b"\xff\xfe\x00", "a.csv: "),
        ("a.png", b"x", "one image; give the folder"),
        ("a.doc", b"x", "neither a folder nor a file of a known kind"),
    ],
)
def test_what_is_not_what_its_name_says_is_one_clear_error(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path / name)
