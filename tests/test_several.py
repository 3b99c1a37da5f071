"""Several sources in one run."""

import pytest
from images import png, write_tree

from semscale.errors import SourceError, UsageError
from semscale.sources import name_of, open_source
from semscale.sources.several import SeveralSources


def read_all(source):
    return list(source.read(range(len(source))))


def test_sources_are_folders_of_one_and_texts_join_across_them(tmp_path):
    write_tree(tmp_path / "a", ["dog/1.png", "2.png"])
    write_tree(tmp_path / "b", ["dog/1.png"])
    write_tree(tmp_path / "c", ["3.png", "x/4.png"])
    (tmp_path / "c" / "metadata.csv").write_text("file_name,text\n3.png,a fox\n")
    write_tree(tmp_path / "d", ["5.png"])
    (tmp_path / "d" / "metadata.csv").write_text("file_name,text\n5.png,a fox\n")
    source = open_source([tmp_path / name for name in "abcd"])
    assert source.keys(0, 9) == ["a/2.png", "a/dog/1.png", "b/dog/1.png", "c/3.png", "c/x/4.png", "d/5.png"]
    assert source.keys(1, 4) == ["a/dog/1.png", "b/dog/1.png", "c/3.png"]
    assert [s.group for s in read_all(source)] == ["a", "a/dog", "b/dog", "a fox", "./c/x", "a fox"]
    assert [s.image for s in read_all(source)] == [png(1), png(0), png(0), png(0), png(1), png(0)]
    assert [s.fingerprint for s in read_all(source)] == [source.fingerprint(i) for i in range(6)]
    assert source.layout == "group/image, metadata"
    assert source.uris(2, 3) == [str(tmp_path / "b" / "dog" / "1.png")]


def test_items_come_in_the_order_asked_for(tmp_path):
    for name in "ab":
        write_tree(tmp_path / name, ["1.png", "2.png"])
    source = open_source([tmp_path / "a", tmp_path / "b"])
    assert [s.key for s in source.read([3, 0, 2, 1])] == ["b/2.png", "a/1.png", "b/1.png", "a/2.png"]


def test_places_of_one_name_are_told_apart(tmp_path):
    for parent in "xy":
        write_tree(tmp_path / parent / "photos", ["1.png"])
    write_tree(tmp_path / "photos (2)", ["1.png"])
    source = open_source([tmp_path / "x" / "photos", tmp_path / "y" / "photos", tmp_path / "photos (2)"])
    assert source.keys(0, 3) == ["photos/1.png", "photos (3)/1.png", "photos (2)/1.png"]


def test_grouping_by_folder_and_by_column(tmp_path):
    write_tree(tmp_path / "a", ["g/1.png"])
    (tmp_path / "a" / "metadata.csv").write_text("file_name,text,breed\ng/1.png,a fox,red\n")
    write_tree(tmp_path / "b", ["g/1.png"])
    (tmp_path / "b" / "metadata.csv").write_text("file_name,text,breed\ng/1.png,a fox,\n")
    both = [tmp_path / "a", tmp_path / "b"]
    assert [s.group for s in read_all(open_source(both, group_by="parent"))] == ["a/g", "b/g"]
    assert [s.group for s in read_all(open_source(both, group_by="breed"))] == ["red", "./b/g"]


def test_one_empty_place_among_several_is_named(tmp_path):
    write_tree(tmp_path / "a", ["1.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty: no images among 0 files"):
        open_source([tmp_path / "a", tmp_path / "empty"])
    with pytest.raises(UsageError, match="no source given"):
        open_source([])
    with pytest.raises(UsageError, match="an empty name of a source"):
        open_source("")
    with pytest.raises(UsageError, match="given twice; name each source once"):
        open_source([tmp_path / "a", f"{tmp_path}/./a"])


def test_names_of_results(tmp_path):
    assert name_of(tmp_path / "a b") == "a b"
    assert name_of(["s3://bucket/x/y/", tmp_path]) == "y-and-1-more"
    assert name_of("-") == "stdin"
    assert len(name_of(tmp_path / ("x" * 255))) == 150


def test_no_sources_have_no_items():
    assert len(SeveralSources("nothing", [])) == 0
