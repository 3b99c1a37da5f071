"""The same sources behind a protocol, here fsspec's memory."""

import pytest
from images import png

from semscale.errors import MissingDependencyError, SourceError
from semscale.model import Failure
from semscale.sources import bucket, ended, open_source

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory(monkeypatch):
    monkeypatch.setattr(bucket, "PAUSES", (0.0, 0.0))
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()


def read_all(source):
    return list(source.read(range(len(source))))


def write(memory, names):
    for seed, name in enumerate(names):
        memory.pipe_file(name, png(seed))


def test_a_remote_folder_is_read_like_a_local_one(memory):
    write(memory, ["/b/dog/2.png", "/b/dog/1.PNG", "/b/cat/1.jpg", "/b/readme.md", "/b/top.webp"])
    source = open_source("memory://b")
    assert source.keys(0, 9) == ["top.webp", "cat/1.jpg", "dog/1.PNG", "dog/2.png"]
    assert [s.image for s in read_all(source)] == [png(4), png(2), png(1), png(0)]
    assert [s.group for s in read_all(source)] == [".", "cat", "dog", "dog"]
    assert source.n_ignored == 1
    assert source.uris(0, 1) == ["memory:///b/top.webp"]
    assert [s.fingerprint for s in read_all(source)] == [source.fingerprint(i) for i in range(4)]


def test_a_remote_folder_with_metadata(memory):
    write(memory, ["/b/1.png", "/b/2.png"])
    memory.pipe_file("/b/metadata.csv", b"file_name,text\n2.png,a fox\n3.png,a cat\n")
    first, second, gone = read_all(open_source("memory://b"))
    assert (first.group, second.text) == (".", "a fox")
    assert (gone.key, gone.code, gone.text) == ("3.png", "missing", "a cat")


def test_a_list_may_name_remote_files_and_lie_remotely(memory, tmp_path):
    write(memory, ["/b/1.png", "/b/2.png"])
    (tmp_path / "list.csv").write_text("path,text\nmemory://b/2.png,a fox\nmemory://b/none.png,\n")
    found, gone = read_all(open_source(tmp_path / "list.csv"))
    assert (found.image, found.uri, gone.code) == (png(1), "memory://b/2.png", "missing")
    memory.pipe_file("/b/list.jsonl", b'{"path": "1.png"}\n{"path": "memory://b/2.png"}\n')
    assert [s.image for s in read_all(open_source("memory://b/list.jsonl"))] == [png(0), png(1)]


def test_a_file_that_changes_or_vanishes_after_the_listing(memory):
    write(memory, ["/b/1.png", "/b/2.png", "/b/3.png"])
    source = open_source("memory://b")
    memory.rm("/b/1.png")
    memory.pipe_file("/b/2.png", png(9) + b"more")
    gone, changed, fine = read_all(source)
    assert (gone.code, gone.fingerprint) == ("missing", "")
    assert (changed.code, changed.fingerprint) == ("changed", "")
    assert fine.image == png(2)


def test_a_request_that_fails_once_is_made_again_and_one_that_fails_always_is_a_failure(memory, monkeypatch):
    write(memory, ["/b/1.png", "/b/2.png"])
    real, calls = type(memory).cat_file, []

    def flaky(self, path, **how):
        calls.append(path)
        if path.endswith("2.png") or len(calls) == 1:
            raise ConnectionResetError("connection reset")
        return real(self, path, **how)

    monkeypatch.setattr(bucket, "READERS", 1)
    monkeypatch.setattr(type(memory), "cat_file", flaky)
    first, second = read_all(open_source("memory://b"))
    assert first.image == png(0)
    assert isinstance(second, Failure)
    assert (second.code, second.fingerprint) == ("unreadable", "")
    assert "connection reset" in second.message


def test_errors_of_remote_places_say_what_to_do(memory, monkeypatch):
    with pytest.raises(SourceError, match="memory://nothing"):
        open_source("memory://nothing")
    with pytest.raises(SourceError, match="nosuch://"):
        open_source("nosuch://bucket/folder")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"semscale\[remote\]"):
        open_source("s3://bucket/folder")


def test_an_end_marker_behind_a_protocol(memory):
    write(memory, ["/b/1.png"])
    assert not ended("memory://b")
    memory.pipe_file("/b/_SUCCESS", b"")
    assert ended("memory://b")
    assert open_source("memory://b").n_ignored == 0
