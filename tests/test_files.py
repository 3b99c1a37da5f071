import errno
import os
import resource
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from semscale import files
from semscale.errors import StoreError
from semscale.files import discard, explaining, replace, replacing, sha256, sweep


def failing(code):
    """A file operation that fails with an error number."""

    def fail(*arguments):
        raise OSError(code, os.strerror(code))

    return fail


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_bytes_take_the_place_of_a_file_and_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    replace(path, b"old")
    replace(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["file"]


def test_a_block_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_file_is_on_disk_before_it_has_its_name_and_the_name_before_we_go_on(tmp_path, monkeypatch):
    done = []
    for name in ("make_folder", "open_new", "flush", "rename"):
        run = getattr(files, name)
        monkeypatch.setattr(files, name, lambda *a, name=name, run=run: done.append((name, a[-1].name)) or run(*a))
    replace(tmp_path / "folder" / "file", b"data")
    temporary = f".file.{os.getpid()}.semscale-tmp"
    assert done == [
        ("make_folder", "folder"), ("flush", tmp_path.name),
        ("open_new", temporary), ("flush", temporary), ("rename", "file"), ("flush", "folder"),
    ]  # fmt: skip


def test_two_processes_write_beside_each_other(tmp_path):
    with replacing(tmp_path / "file") as mine:
        assert str(os.getpid()) in mine.name
        code = (
            "import sys; from pathlib import Path; from semscale.files import replace; replace(Path(sys.argv[1]), b'x')"
        )
        subprocess.run([sys.executable, "-c", code, tmp_path / "file"], check=True)
        assert (tmp_path / "file").read_bytes() == b"x"
        mine.write_bytes(b"mine")
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "the disk is full .*free space and run the same command again"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "not writable .*Read-only file system.*choose another -o"),
        (errno.EACCES, "not writable .*Permission denied"),
        (errno.EPERM, "not writable"),
        (errno.EIO, "cannot be written .*Input/output error"),
    ],
)
@pytest.mark.parametrize("operation", ["make_folder", "open_new", "flush", "rename"])
def test_what_the_system_refuses_is_said_with_what_to_do(tmp_path, monkeypatch, operation, code, message):
    monkeypatch.setattr(files, operation, failing(code))
    with pytest.raises(StoreError, match=f"folder/file: {message}"):
        replace(tmp_path / "folder" / "file", b"data")
    assert not list(tmp_path.rglob("*file*"))


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
@pytest.mark.parametrize(("operation", "lacks"), [("flush", "fsync"), ("rename", "rename")])
def test_a_file_system_that_lacks_an_operation_is_named(tmp_path, monkeypatch, operation, lacks, code):
    monkeypatch.setattr(files, operation, failing(code))
    with pytest.raises(StoreError, match=f"file: the file system of this folder lacks {lacks}.*local disk for -o"):
        replace(tmp_path / "file", b"data")
    assert names(tmp_path) == []


def test_a_file_larger_than_the_system_allows_is_said_and_leaves_nothing(tmp_path):
    """A real error of the operating system, where the others are made up."""
    code = (
        "import resource, sys; from pathlib import Path; from semscale.files import replace;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.getrlimit(resource.RLIMIT_FSIZE)[1]}));"
        "replace(Path(sys.argv[1]), bytes(5000))"
    )
    found = subprocess.run([sys.executable, "-c", code, tmp_path / "file"], capture_output=True, text=True)
    assert f"StoreError: {tmp_path / 'file'}: cannot be written (File too large)" in found.stderr
    assert names(tmp_path) == []


def test_a_full_disk_under_pyarrow_is_a_full_disk(tmp_path, monkeypatch):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    table = pa.table({"a": range(1000)})
    # Opened here, for pyarrow removes a file that it could not write.
    full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with pytest.raises(StoreError, match="file: the disk is full"), replacing(tmp_path / "file"), full:
        pq.write_table(table, full)


def test_errors_that_are_not_of_our_files_pass(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        (tmp_path / "input").read_bytes()
    with pytest.raises(ConnectionResetError), replacing(tmp_path / "file"):
        raise ConnectionResetError(errno.ECONNRESET, "reset")
    with pytest.raises(StoreError, match="file: not writable"), replacing(tmp_path / "file") as temporary:
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))


def test_an_error_that_cannot_be_cleaned_up_after_is_still_the_one_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "flush", failing(errno.ENOSPC))
    monkeypatch.setattr(files, "remove", failing(errno.EROFS))
    with pytest.raises(StoreError, match="the disk is full"):
        replace(tmp_path / "file", b"data")
    monkeypatch.undo()
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_sweeping_takes_what_dead_runs_left_and_nothing_else(tmp_path):
    (tmp_path / "img_emb" / "deeper").mkdir(parents=True)
    for name in (".a.12.semscale-tmp", "img_emb/.b.7.semscale-tmp", f".c.{os.getpid()}.semscale-tmp"):
        (tmp_path / name).write_bytes(b"half")
    kept = [".hidden", ".d.12.tmp", ".e.semscale-tmp", "f.12.semscale-tmp", "img_emb/deeper/.g.12.semscale-tmp"]
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    sweep(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(kept)


def test_discarding_is_for_good_and_needs_nothing_to_be_there(tmp_path, monkeypatch):
    discard(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"")
    flushed = []
    monkeypatch.setattr(files, "flush", flushed.append)
    discard(tmp_path / "file")
    assert names(tmp_path) == []
    assert flushed == [tmp_path]
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(files, "remove", failing(errno.EROFS))
    with pytest.raises(StoreError, match="not writable"):
        discard(tmp_path / "file")


def test_a_digest_is_that_of_the_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_only_errors_of_the_system_are_explained(tmp_path):
    with pytest.raises(KeyError), explaining(tmp_path):
        raise KeyError
