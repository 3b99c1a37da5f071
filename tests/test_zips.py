"""Images in zips."""

import io
import random
import stat
import zipfile
import zlib

import fsspec
import pytest
from images import png

from semscale.errors import SourceError
from semscale.sources import zips
from semscale.sources.places import LocalFile, RemoteFile
from semscale.sources.zips import ZipTree

A, B, C = png(1), png(2), png(3)


def zip_bytes(members, method=zipfile.ZIP_DEFLATED):
    """A zip of (name, bytes) pairs; a ZipInfo may stand for the name."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


@pytest.fixture
def tree(tmp_path):
    """What makes a ZipTree of the bytes of a zip, or of members."""

    def make(content):
        path = tmp_path / "images.zip"
        path.write_bytes(content if isinstance(content, bytes) else zip_bytes(content))
        return ZipTree(LocalFile(path))

    return make


def everything(tree):
    """Name -> File of every entry."""
    names = tree.names(0, len(tree))
    files = list(tree.read(range(len(tree))))
    assert len(names) == len(files) == len(set(names)) == len(tree)
    return dict(zip(names, files, strict=True))


def codes(tree):
    """Name -> "" or the code of the problem."""
    return {name: "" if isinstance(file.data, bytes) else file.data.code for name, file in everything(tree).items()}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_bytes_delivered_are_those_written(tree, method):
    members = {"a.png": A, "b/c.JPG": B, "é/日本.webp": C, "empty.gif": b"", "big.bmp": bytes(3 << 20)}
    found = tree(zip_bytes([*members.items(), ("notes.txt", b"x"), ("folder.png/", b"")], method))
    assert {name.decode(): file.data for name, file in everything(found).items()} == members
    assert all(file.told is None for file in found.read([0, 1])) and not found.described
    assert found.n_ignored == 1
    assert [file.data for file in found.read([4, 0, 2])] == [members["big.bmp"], A, C]


def test_old_names_and_uris(tree, tmp_path):
    """Names without the flag for UTF-8 are of the code page of early PCs."""
    content = zip_bytes([("\u00e9.png", A)])
    local, central = content.find(b"PK\x03\x04"), content.find(b"PK\x01\x02")
    old = bytearray(content.replace("\u00e9".encode(), b"\x82x"))
    old[local + 7] = old[central + 9] = 0
    found = tree(bytes(old))
    assert found.names(0, 9) == ["éx.png".encode()]
    assert found.uri_of(0) == f"{tmp_path}/images.zip#éx.png"
    assert next(found.read([0])).data == A


def test_a_zip_behind_fsspec_is_read_as_one_on_disk():
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/images.zip", zip_bytes([("x/a.png", A), ("metadata.csv", b"file_name\nx/a.png\n")]))
    found = ZipTree(RemoteFile(memory, "/bucket/images.zip"))
    (file,) = found.read([0])
    assert (file.data, file.stamp) == (A, found.stamp(0))
    assert found.uri_of(0) == "memory:///bucket/images.zip#x/a.png"
    assert found.open_member(b"metadata.csv").read() == b"file_name\nx/a.png\n"


def test_a_zip_after_other_bytes_and_one_that_was_streamed(tree):
    assert everything(tree(b"#!/bin/sh\n" + zip_bytes([("a.png", A)])))[b"a.png"].data == A

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def tell(self):
            raise OSError

    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", A)  # its sizes come after it
    assert everything(tree(out.getvalue()))[b"a.png"].data == A


def test_members_beside_the_images(tree, tmp_path):
    found = tree([("a.png", A), ("metadata.csv", b"rows"), ("secret.csv", b"x")])
    assert [found.has_member(name) for name in (b"metadata.csv", b"a.png", b"none.csv")] == [True, True, False]
    with pytest.raises(SourceError, match=r"images.zip#none.csv: no such member"):
        found.open_member(b"none.csv")
    place = found.member("metadata.csv")
    assert (place.uri, place.name) == (f"{tmp_path}/images.zip#metadata.csv", "metadata.csv")
    assert place.open().read() == b"rows" and found.member("none.csv") is None
    before = place.stamp()
    (tmp_path / "images.zip").write_bytes(zip_bytes([("a.png", A), ("metadata.csv", b"others")]))
    assert place.stamp() != before
    with pytest.raises(SourceError, match=r"metadata.csv: the archive changed"):
        place.open()


def test_damage_that_the_directory_shows(tree, monkeypatch):
    monkeypatch.setattr(zips, "MAX_FILE_BYTES", 1000)
    soft = zipfile.ZipInfo("soft.png")
    soft.external_attr = (stat.S_IFLNK | 0o777) << 16
    packed = zipfile.ZipInfo("bzip2.png")
    packed.compress_type = zipfile.ZIP_BZIP2
    members = [
        ("/etc/a.png", b"1"),
        ("x/../../b.png", b"2"),
        (soft, b"a.png"),
        (packed, b"3"),
        ("big.png", bytes(1001)),
    ]
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zip_bytes([*members, ("c.png", b"4"), ("c.png", b"5")])
    found = tree(content)
    assert codes(found) == {
        b"/etc/a.png": "unsafe-name",
        b"x/../../b.png": "unsafe-name",
        b"soft.png": "link",
        b"bzip2.png": "unsupported",
        b"big.png": "too-large",
        b"c.png": "",
        b"c.png#2": "duplicate-key",
    }
    assert everything(found)[b"c.png"].data == b"4"
    assert all(file.stamp == found.stamp(index) != "" for index, file in enumerate(found.read(range(len(found)))))


def test_an_encrypted_member(tree):
    content = bytearray(zip_bytes([("a.png", A), ("b.csv", b"x")]))
    place = -1
    while (place := content.find(b"PK\x01\x02", place + 1)) >= 0:
        content[place + 8] |= 1
    found = tree(bytes(content))
    error = everything(found)[b"a.png"].data
    assert error.code == "unreadable" and "without a password" in error.message
    with pytest.raises(SourceError, match="without a password"):
        found.open_member(b"b.csv")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_data_is_one_failure(tree, method):
    content = bytearray(zip_bytes([("a.png", A), ("b.png", B), ("c.png", C)], method))
    middle = content.find(b"b.png") + 200
    content[middle] ^= 0x55
    assert codes(tree(bytes(content))) == {b"a.png": "", b"b.png": "broken-archive", b"c.png": ""}


def test_a_member_that_is_not_where_the_directory_says(tree):
    content = bytearray(zip_bytes([("a.png", A), ("b.png", B)]))
    content[:4] = b"XXXX"
    assert codes(tree(bytes(content))) == {b"a.png": "broken-archive", b"b.png": ""}


def test_a_bomb_is_not_unpacked_beyond_what_the_directory_says(tree, monkeypatch):
    """64 MiB of zeros that claim to be 1000 bytes."""
    content = bytearray(zip_bytes([("bomb.png", bytes(64 << 20))]))
    central = content.find(b"PK\x01\x02")
    content[central + 24 : central + 28] = (1000).to_bytes(4, "little")
    unpacked = []
    real = zlib.decompressobj

    class Counting:
        def __init__(self, *bits):
            self.inner = real(*bits)

        def decompress(self, data, most):
            out = self.inner.decompress(data, most)
            unpacked.append(len(out))
            return out

        eof = property(lambda self: self.inner.eof)

    monkeypatch.setattr(zips.zlib, "decompressobj", Counting)
    assert codes(tree(bytes(content))) == {b"bomb.png": "broken-archive"}
    assert sum(unpacked) == 1001


@pytest.mark.parametrize("content", [b"", b"no zip" * 100, zip_bytes([("a.png", A)])[:-30]])
def test_what_is_no_zip_is_refused(tree, content):
    with pytest.raises(SourceError, match=r"images\.zip: not a zip.*copy or make it again"):
        tree(content)


def test_a_zip_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        ZipTree(LocalFile(tmp_path / "none.zip"))


def test_an_empty_zip_is_an_empty_tree(tree):
    found = tree([])
    assert (len(found), found.names(0, 9), list(found.read([])), found.has_member(b"a")) == (0, [], [], False)


def test_a_zip_that_changed_or_went_gives_no_wrong_bytes(tree, tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        found = tree([("a.png", A), ("a.png", B)])
    old = found.stamp(0)
    (tmp_path / "images.zip").write_bytes(zip_bytes([("z.png", C), ("a.png", B), ("b.png", A)]))
    assert [(file.data.code, file.stamp) for file in found.read([0, 1])] == [("changed", "")] * 2
    assert tree(zip_bytes([("z.png", C), ("a.png", B)])).stamp(0) != old
    (tmp_path / "images.zip").unlink()
    assert [(file.data.code, file.stamp) for file in found.read([0, 1])] == [("unreadable", "")] * 2


def test_flipped_bytes_never_raise_while_reading(tree):
    whole = zip_bytes([("a.png", A), ("b/c.png", B), ("notes.txt", b"x"), ("d.png", C)])
    directory = whole.find(b"PK\x01\x02")
    rng = random.Random(0)
    n_refused = 0
    for _ in range(600):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 1, 4, 40))):
            place = rng.randrange(rng.choice((0, directory)), len(content))
            content[place] = rng.choice((0, 0x80, 0xFF, content[place] ^ 1 << rng.randrange(8)))
        try:
            found = tree(bytes(content))
        except SourceError:
            n_refused += 1
            continue
        for name, file in everything(found).items():
            assert isinstance(file.data, bytes) or (file.data.code and file.data.message), name
    assert n_refused < 500


def test_a_zip_cut_anywhere_is_refused(tree):
    whole = zip_bytes([("a.png", A), ("b.png", B)])
    for cut in range(0, len(whole), 7):
        with pytest.raises(SourceError):
            tree(whole[:cut])
