"""Images in tars."""

import bz2
import gzip
import io
import json
import lzma
import os
import random
import tarfile
import tracemalloc
from pathlib import Path

import fsspec
import pytest
import webdataset
from images import png
from webdataset.tariterators import group_by_keys, tar_file_expander

from semscale.errors import SourceError
from semscale.sources import tars
from semscale.sources.places import LocalFile, RemoteFile
from semscale.sources.tars import TarTree
from semscale.sources.trees import Told

PACKERS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
A, B, C = png(1), png(2), png(3)


def tar_bytes(members, kind=tarfile.PAX_FORMAT):
    """A tar of (name, bytes) pairs; a TarInfo may stand for the name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def link(name, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "a.png"
    return info


def words(**said):
    return json.dumps(said).encode()


@pytest.fixture
def tree(tmp_path):
    """What makes a TarTree of the bytes of a tar, or of members."""

    def make(content, **options):
        path = tmp_path / "images.tar"
        path.write_bytes(content if isinstance(content, bytes) else tar_bytes(content))
        return TarTree(LocalFile(path), **options)

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


def problem(tree, name):
    """Code and message of one entry."""
    error = everything(tree)[name].data
    return error.code, error.message


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_bytes_delivered_are_those_written(tree, suffix, kind):
    long = "d" * 90 + "/" + "n" * 95 + ".png"
    members = {"a.png": A, "b/c.JPG": B, long: C, "empty.webp": b"", "exact.gif": bytes(range(256)) * 2}
    found = everything(tree(PACKERS[suffix](tar_bytes(members.items(), kind))))
    assert {name.decode(): file.data for name, file in found.items()} == members
    assert all(file.told is None for file in found.values())


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_tar_behind_fsspec_is_read_as_one_on_disk(tree, suffix):
    content = PACKERS[suffix](tar_bytes([("x/a.png", A), ("x/a.txt", b"a cat"), ("x/b.png", B)]))
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/images.tar", content)
    remote = TarTree(RemoteFile(memory, "/bucket/images.tar"))
    local = tree(content)
    assert (remote.uri, remote.uri_of(0)) == ("memory:///bucket/images.tar", "memory:///bucket/images.tar#x/a.png")
    assert [(f.data, f.told) for f in remote.read([0, 1])] == [(f.data, f.told) for f in local.read([0, 1])]
    assert [f.stamp for f in remote.read([0, 1])] == [remote.stamp(0), remote.stamp(1)]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_webdataset_writer_s_shards_are_understood(tmp_path, suffix):
    with webdataset.ShardWriter(str(tmp_path / f"%02d.tar{suffix}"), maxcount=2, verbose=0) as writer:
        for number, image in enumerate((A, B, C)):
            told = {"seed": number, "model": "m", "prompt": "not this one"}
            writer.write({"__key__": f"set/{number:03d}", "png": image, "txt": f"text {number}", "json": told})
    first, second = (TarTree(LocalFile(path)) for path in sorted(tmp_path.glob("*.tar*")))
    assert first.names(0, 9) == [b"set/000.png", b"set/001.png"] and second.names(0, 9) == [b"set/002.png"]
    files = [*first.read([0, 1]), *second.read([0])]
    assert [file.data for file in files] == [A, B, C]
    assert [file.told for file in files] == [Told(f"text {number}", "m", number) for number in range(3)]
    assert first.described and first.n_ignored == 0


def test_a_webdataset_reader_sees_the_same_samples(tmp_path):
    path = tmp_path / "images.tar"
    path.write_bytes(tar_bytes([("a.json", words(text="x")), ("a.png", A), ("b.png", B), ("b.txt", b"y")]))
    with path.open("rb") as file:
        samples = list(group_by_keys(tar_file_expander([{"url": str(path), "stream": file}])))
    theirs = {sample["__key__"] + ".png": sample["png"] for sample in samples}
    assert {name.decode(): file.data for name, file in everything(TarTree(LocalFile(path))).items()} == theirs


def test_names_uris_and_what_is_counted(tree, tmp_path):
    members = [("./a.png", A), ("notes.md", b"x"), ("./a.txt", b"t"), ("lone.txt", b"x"), ("lone.json", b"{}")]
    found = tree([*members, (tarfile.TarInfo("d.png"), b""), ("z\udcff.png", B)])
    assert found.names(0, 99) == [b"a.png", b"d.png", b"z\xff.png"] and found.names(1, 2) == [b"d.png"]
    assert found.uri == str(tmp_path / "images.tar")
    assert found.uri_of(0) == f"{tmp_path}/images.tar#a.png"
    assert found.uri_of(2) == f"file://{tmp_path}/images.tar#z%FF.png"
    assert found.n_ignored == 3  # notes.md, lone.txt, lone.json


def test_folders_devices_and_pipes_are_no_files(tree):
    odd = []
    for kind in (tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
        info = tarfile.TarInfo(f"{kind.decode()}.png")
        info.type = kind
        odd.append((info, b""))
    found = tree([*odd, ("a.png", A)])
    assert (found.names(0, 9), found.n_ignored) == ([b"6.png", b"3.png", b"a.png"], 0)
    assert [getattr(file.data, "code", file.data) for file in found.read(range(3))] == ["unsupported", "unsupported", A]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_tar_that_was_cut_between_two_members_says_so(tree, suffix):
    whole = tar_bytes([("a.png", A), ("b.png", B)])
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        end = tar.getmembers()[1].offset
    found = tree(gzip.compress(whole[:end]) if suffix else whole[:end])
    assert found.names(0, 9) == [b"a.png", b"damaged-at-byte-%d" % end]
    first, cut = found.read([0, 1])
    assert first.data == A
    assert (cut.data.code, "no end marker" in cut.data.message) == ("broken-archive", True)


def test_a_member_that_claims_to_be_longer_than_the_tar_does_not_swallow_the_rest(tree):
    whole = bytearray(tar_bytes([("a.png", A), ("b.png", B), ("c.png", C)]))
    whole[124:136] = b"77777777777\0"
    whole[148:156] = b"%06o\0 " % (sum(whole[:148]) + 8 * 32 + sum(whole[156:512]))
    found = tree(bytes(whole))
    files = dict(zip(found.names(0, 9), found.read(range(len(found))), strict=True))
    assert (files[b"b.png"].data, files[b"c.png"].data) == (B, C)
    assert files[b"a.png"].data.code == "too-large"
    assert files[b"damaged-at-byte-512"].data.code == "broken-archive"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_sidecar_may_lie_anywhere(tree, suffix):
    """All images first, then all texts in another order, as `tar` packs a folder."""
    members = [(f"{n}.png", png(n)) for n in range(5)] + [(f"{n}.txt", b"text %d" % n) for n in (3, 0, 4, 2, 1)]
    found = tree(PACKERS[suffix](tar_bytes(members)))
    files = list(found.read([4, 0, 1, 2, 3]))
    assert [(file.data, file.told.text) for file in files] == [(png(n), f"text {n}") for n in (4, 0, 1, 2, 3)]


def test_which_sidecar_describes_which_image(tree):
    """The image's own name without the suffix goes before its sample key, the name up to the first dot."""
    names = ["k.left.png", "k.right.png", "flux.1_0.png", "flux.1_1.png", "v.2/a.png", ".hidden.png", "none.png"]
    texts = ["k", "k.left", "flux.1_0", "flux.1_1", "v.2/a", "v", ".hidden", "k.left.more"]
    found = everything(tree([*((n, A) for n in names), *((f"{t}.txt", t.encode()) for t in texts)]))
    told = [found[name.encode()].told.text for name in names]
    assert told == ["k.left", "k", "flux.1_0", "flux.1_1", "v.2/a", ".hidden", None]


@pytest.mark.parametrize(
    ("text", "said", "told"),
    [
        (b"a cat\r\n", None, Told("a cat")),
        (b"\xef\xbb\xbfcat", None, Told("cat")),
        (b"two\nlines \n", None, Told("two\nlines ")),
        (b" \n", {"text": "", "prompt": " ", "caption": "c"}, Told("c")),
        (b"t", {"text": "j", "model": "m", "seed": -3, "g": "x"}, Told("t", "m", -3, "x")),
        (b"t", {"text": 5}, Told("t")),
        (None, {"prompt": "p", "caption": "c", "g": 7}, Told("p", group="7")),
        (None, {"text": None, "model": None, "seed": None, "g": None}, Told()),
        (None, {"seed": 2**63 - 1, "model": " "}, Told(seed=2**63 - 1)),
    ],
)
def test_what_sidecars_say(tree, text, said, told):
    members = [("a.png", A)] + ([] if text is None else [("a.txt", text)])
    members += [] if said is None else [("a.JSON", words(**said))]
    assert everything(tree(members, group_column="g"))[b"a.png"].told == told


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.json", b"[1]", "a.json is not a JSON object"),
        ("a.json", b"{", "a.json is not JSON"),
        ("a.json", b"[" * 100_000, "a.json is not JSON"),
        ("a.json", b'{"text": 1}', "'text' is 1, not a string"),
        ("a.json", b'{"caption": ["x"]}', "'caption' is"),
        ("a.json", b'{"text": "\\ud800"}', "surrogate"),
        ("a.json", b'{"model": {}}', "'model' is {}, not a string"),
        ("a.json", b'{"seed": NaN}', "'seed' is nan, not a whole number"),
        ("a.json", b'{"seed": 1.0}', "'seed' is 1.0"),
        ("a.json", b'{"seed": true}', "'seed' is True"),
        ("a.json", b'{"seed": "4"}', "'seed' is '4'"),
        ("a.json", b'{"seed": 9223372036854775808}', "at most 64 bits"),
        ("a.json", b'{"g": []}', "'g' is []"),
        ("a.txt", b"\xff\xfe", "a.txt is not UTF-8"),
    ],
)
def test_bad_metadata_names_the_member_and_the_problem(tree, name, content, what):
    code, message = problem(tree([("a.png", A), (name, content)], group_column="g"), b"a.png")
    assert code == "bad-metadata" and what in message and message.startswith(name)


def test_bad_metadata_of_one_image_leaves_the_others(tree):
    found = tree([("a.png", A), ("a.json", b"{"), ("b.png", B), ("b.json", words(text="b"))])
    assert codes(found) == {b"a.png": "bad-metadata", b"b.png": ""}
    assert everything(found)[b"b.png"].told == Told("b")


def test_a_sidecar_that_is_a_link_or_too_long_is_not_no_sidecar(tree, monkeypatch):
    monkeypatch.setattr(tars, "MAX_SIDECAR_BYTES", 4)
    found = tree([("a.png", A), (link("a.txt", tarfile.SYMTYPE), b""), ("b.png", B), ("b.txt", b"12345")])
    assert codes(found) == {b"a.png": "bad-metadata", b"b.png": "bad-metadata"}
    assert "link" in problem(found, b"a.png")[1] and "5 bytes" in problem(found, b"b.png")[1]


def test_damage_that_the_listing_sees(tree, monkeypatch):
    monkeypatch.setattr(tars, "MAX_FILE_BYTES", 1000)
    members = [
        ("/etc/a.png", b"1"),
        ("x/../../a.png", b"2"),
        (link("soft.png", tarfile.SYMTYPE), b""),
        (link("hard.png", tarfile.LNKTYPE), b""),
        ("big.png", bytes(1001)),
        ("c.png", b"3"),
        ("c.png", b"4"),
        ("c.png", b"5"),
        ("..a.png", b"6"),
    ]
    found = tree(members)
    assert codes(found) == {
        b"/etc/a.png": "unsafe-name",
        b"x/../../a.png": "unsafe-name",
        b"soft.png": "link",
        b"hard.png": "link",
        b"big.png": "too-large",
        b"c.png": "",
        b"c.png#2": "duplicate-key",
        b"c.png#3": "duplicate-key",
        b"..a.png": "",
    }
    assert everything(found)[b"c.png"].data == b"3"
    assert all(file.stamp == found.stamp(index) for index, file in enumerate(found.read(range(len(found)))))


def test_damaged_entries_are_described_too(tree):
    found = everything(tree([(link("a.png", tarfile.SYMTYPE), b""), ("a.txt", b"a cat")]))
    assert found[b"a.png"].data.code == "link" and found[b"a.png"].told == Told("a cat")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE])
def test_sparse_members_are_refused(tree, kind):
    info = tarfile.TarInfo("holes.png")
    if kind == tarfile.XHDTYPE:
        info.pax_headers = {"GNU.sparse.map": "0,4", "GNU.sparse.size": "9", "GNU.sparse.name": "holes.png"}
    else:
        info.type = kind
    assert codes(tree([(info, b"data"), ("a.png", A)])) == {b"holes.png": "unsupported", b"a.png": ""}


def test_a_damaged_header_costs_its_member_and_no_other(tree):
    content = bytearray(tar_bytes([("a.png", A), ("b.png", bytes(600)), ("c.png", C)]))
    second = 512 + (len(A) + 511) // 512 * 512
    content[second : second + 512] = b"x" * 512
    found = everything(tree(bytes(content)))
    gap = b"damaged-at-byte-%d" % second
    assert list(found) == [b"a.png", gap, b"c.png"]
    assert found[b"c.png"].data == C and found[gap].data.code == "broken-archive"
    assert "512 bytes" in found[gap].data.message


def test_a_gap_ends_at_the_next_header_and_is_one_entry(tree):
    junk = b"\xff" * 512 + bytes(512) + b"\xfe" * 512
    content = tar_bytes([("a.png", A)])[: 512 + (len(A) + 511) // 512 * 512] + junk + tar_bytes([("b.png", B)])
    found = everything(tree(content + b"end"))
    assert [name.partition(b"-")[0] for name in found] == [b"a.png", b"damaged", b"b.png", b"damaged"]
    messages = [file.data.message for file in found.values() if not isinstance(file.data, bytes)]
    assert ["1536 bytes" in messages[0], "3 bytes" in messages[1]] == [True, True]


def test_tars_in_a_row_are_one(tree):
    assert list(everything(tree(tar_bytes([("a.png", A)]) + tar_bytes([("b.png", B)])))) == [b"a.png", b"b.png"]


def test_headers_that_claim_the_impossible_do_not_stop_the_listing(tree):
    """A size that is negative, or beyond any disk; a long name that would fill the memory."""
    for size, kind in ((-1024, b"0"), (1 << 60, b"0"), (1 << 40, b"L"), (-512, b"x")):
        info = tarfile.TarInfo("evil.png")
        info.size, info.type = size, kind
        evil = info.tobuf(tarfile.GNU_FORMAT)
        found = codes(tree(tar_bytes([("a.png", A)])[:-10240] + evil + tar_bytes([("b.png", B)])))
        assert found.pop(b"b.png") == ""
        assert "broken-archive" in found.values() or b"a.png" not in found


def test_a_chain_of_long_names_is_no_way_to_exhaust_the_stack(tree):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 512
    chain = (info.tobuf(tarfile.GNU_FORMAT) + b"n" * 512) * 600
    found = tree(
        chain + tar_bytes([("b.png", B)])
    )  # whose name is now the first one of the chain that could be followed
    assert set(codes(found).values()) == {"broken-archive"}


@pytest.mark.parametrize("content", [b"", b"not a tar" * 1000, png(1), gzip.compress(b"text" * 999, mtime=0), A[:100]])
def test_what_is_no_tar_is_refused(tree, content):
    with pytest.raises(SourceError, match=r"images\.tar: not a tar.*copy or make it again"):
        tree(content)


def test_zstandard_is_named(tree):
    with pytest.raises(SourceError, match=r"Zstandard.*zstd -d"):
        tree(b"\x28\xb5\x2f\xfd" + bytes(100))


def test_a_tar_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        TarTree(LocalFile(tmp_path / "none.tar"))


def test_an_empty_tar_is_an_empty_tree(tree):
    found = tree(tar_bytes([]))
    assert (len(found), found.names(0, 9), list(found.read([])), found.described) == (0, [], [], False)


def test_the_stamp_changes_with_the_tar(tree):
    members = [("a.png", A), ("a.txt", b"one")]
    before = tree(members)
    old = [before.stamp(0), next(before.read([0])).stamp]
    after = tree([("a.png", A), ("a.txt", b"another")])
    assert old[0] == old[1] != after.stamp(0)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_tar_that_changed_gives_no_wrong_bytes(tree, tmp_path, suffix):
    found = tree(PACKERS[suffix](tar_bytes([("a.png", A), ("a.txt", b"t"), (link("b.png", tarfile.SYMTYPE), b"")])))
    (tmp_path / "images.tar").write_bytes(PACKERS[suffix](tar_bytes([("z.png", C + A), ("a.png", B)])))
    files = list(found.read([0, 1]))
    assert [(file.data.code, file.stamp) for file in files] == [("changed", "")] * 2


class Failing:
    """A place whose file fails with an error of the file system, once or always."""

    def __init__(self, path, fails):
        self.inner, self.fails, self.uri, self.name = LocalFile(path), fails, str(path), path.name

    def open(self):
        file = self.inner.open()
        if self.fails:
            self.fails -= 1
            file.close()
            raise ConnectionError("the other side hung up")
        return file

    def stamp(self):
        return self.inner.stamp()


def test_a_failure_of_the_file_system_is_tried_again(tmp_path):
    path = tmp_path / "images.tar"
    path.write_bytes(tar_bytes([("a.png", A), ("b.png", B)]))
    place = Failing(path, 0)
    found = TarTree(place)
    place.fails = 1
    first, second = found.read([0, 1])
    assert (first.data.code, first.stamp, second.data) == ("unreadable", "", B)
    assert "hung up" in first.data.message
    place.fails = 1
    with pytest.raises(SourceError, match="hung up"):
        TarTree(place)


def test_a_compressed_tar_is_unpacked_once_for_rising_indices(tree, monkeypatch):
    """Going back would unpack it from its start."""
    members = [(f"{n}.png", random.Random(n).randbytes(40_000)) for n in range(20)]
    members += [(f"{n}.txt", b"%d" % n) for n in range(20)]
    found = tree(gzip.compress(tar_bytes(members)))

    def refuse(self):
        raise AssertionError("rewound")

    monkeypatch.setattr(gzip._GzipReader, "_rewind", refuse)
    files = list(found.read(range(1, 20, 3)))
    assert [file.data for file in files] == [members[n][1] for n in range(1, 20, 3)]


def test_what_is_kept_of_a_compressed_tar_goes_with_it(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(tars.tempfile, "tempdir", str(tmp_path))
    found = tree(gzip.compress(tar_bytes([("a.png", A), ("a.txt", b"a cat")])))
    assert len(list(tmp_path.glob("semscale-*"))) == 1
    assert next(found.read([0])).told == Told("a cat")
    del found
    assert not list(tmp_path.glob("semscale-*"))
    with pytest.raises(SourceError):
        tree(gzip.compress(b"no tar"))
    assert not list(tmp_path.glob("semscale-*"))


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_a_compressed_tar_that_is_cut_gives_all_before_the_cut(tree, suffix):
    members = [(f"{n:02d}.png", random.Random(n).randbytes(30_000)) for n in range(40)]
    packed = PACKERS[suffix](tar_bytes(members))
    found = everything(tree(packed[: len(packed) * 9 // 10]))
    *whole, cut, rest = found.items()
    assert len(whole) >= (20 if suffix == ".bz2" else 33)
    assert [file.data for _, file in whole] == [data for _, data in members[: len(whole)]]
    assert rest[0].startswith(b"damaged-at-byte-") and rest[1].data.code == "broken-archive"
    assert isinstance(cut[1].data, bytes) or cut[1].data.code == "truncated"


def test_a_wrong_checksum_of_gzip_is_one_entry(tree):
    packed = bytearray(gzip.compress(tar_bytes([("a.png", A), ("b.png", B)])))
    packed[-6] ^= 1
    found = everything(tree(bytes(packed)))
    assert [found[b"a.png"].data, found[b"b.png"].data] == [A, B]
    assert [file.data.code for name, file in found.items() if name.startswith(b"damaged")] == ["broken-archive"]


def small_tar():
    long = "n" * 120 + ".png"
    return tar_bytes([("a.png", A[:700]), ("a.txt", b"text"), ("b.json", words(seed=1)), ("b.png", B[:90]), (long, C)])


def test_a_tar_cut_anywhere_accounts_for_all_that_is_listed(tree):
    whole = small_tar()
    rng = random.Random(0)
    originals = {name: file.data for name, file in everything(tree(whole)).items()}
    cuts = [*range(512, len(whole), 512), *(rng.randrange(512, len(whole)) for _ in range(60))]
    for cut in cuts:
        found = everything(tree(whole[:cut]))
        for name, file in found.items():
            if isinstance(file.data, bytes):
                assert file.data == originals[name]
            else:
                assert file.data.code in {"truncated", "broken-archive"}


@pytest.mark.parametrize("suffix", PACKERS)
def test_flipped_bytes_never_raise_while_reading(tree, suffix):
    whole = PACKERS[suffix](small_tar())
    rng = random.Random(suffix)
    n_refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 1, 4, 40))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        try:
            found = tree(bytes(content))
        except SourceError:
            n_refused += 1
            continue
        assert all(file.stamp for file in everything(found).values())
    assert n_refused < 300


def test_flipped_header_bytes_with_a_right_checksum(tree):
    """What someone makes up on purpose: every field of a header, its sum corrected."""
    whole = small_tar()
    rng = random.Random(1)
    for _ in range(300):
        content = bytearray(whole)
        start = rng.choice((0, 1536, 3072))
        for _ in range(rng.choice((1, 3))):
            content[start + rng.randrange(512)] = rng.choice((0, 0x80, 0xFF, 0x2F, 0x37, rng.randrange(256)))
        block = content[start : start + 512]
        block[148:156] = b" " * 8
        content[start + 148 : start + 156] = b"%06o\0 " % sum(block)
        try:
            found = tree(bytes(content))
        except SourceError:
            continue
        assert len(everything(found)) == len(found)  # each entry is read once, under a name of its own


def test_the_listing_takes_little_memory_for_each_member(tmp_path):
    path = tmp_path / "many.tar"
    n = 10_000
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number in range(n // 2):
            for suffix, data in ((".png", b"12345"), (".txt", b"1")):
                info = tarfile.TarInfo(f"{number:08d}{suffix}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    TarTree(LocalFile(path))
    # The interpreter's table of interned names is renewed once in hundreds of thousands, and then counts here whole:
    # 15 MB at the end of a long run of tests. Two listings in a row cannot both meet that.
    kept, peak = (min(values) for values in zip(_listed(path, n), _listed(path, n), strict=True))
    assert kept < 60 * n, f"{kept / n:.0f} bytes a member"
    assert peak < 150 * n, f"{peak / n:.0f} bytes a member"


def _listed(path, n):
    """Bytes that a listing of a tar of n members keeps, and its peak."""
    tracemalloc.start()
    try:
        found = TarTree(LocalFile(path))
        assert len(found) == n // 2 and found.described
        return tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


def test_real_tars_made_by_gnu_tar(tmp_path):
    import shutil
    import subprocess

    if shutil.which("tar") is None:
        pytest.skip("no tar program here")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(A)
    (folder / "a.txt").write_text("a cat\n")
    (folder / ("long" * 40 + ".png")).write_bytes(B)
    os.link(folder / "a.png", folder / "hard.png")
    with (folder / "holes.png").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    subprocess.run(["tar", "-cSf", tmp_path / "x.tar", "--format=gnu", "--sort=name", "."], cwd=folder, check=True)
    found = everything(TarTree(LocalFile(Path(tmp_path / "x.tar"))))
    assert found[b"a.png"].data == A and found[b"a.png"].told == Told("a cat")
    assert found[b"long" * 40 + b".png"].data == B
    assert found[b"hard.png"].data.code == "link"
    assert found[b"holes.png"].data.code == "unsupported" or len(found[b"holes.png"].data) == (1 << 20) + 3
