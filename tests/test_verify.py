import hashlib
import json
import os
import random
import shutil
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_store import SPEC, fill, metadata

from semscale.errors import StoreError, StoreLockedError
from semscale.locks import exclusive
from semscale.model import Failure, Shard
from semscale.store import ShardData, Store, open_store
from semscale.verify import UNRECORDED, Problem, Verification, stores_in, verify

DAMAGED = "damaged: its bytes do not have the checksum that was recorded"
FOR_GOOD = "; this cannot be mended: embed again into a new folder"


@pytest.fixture
def store(tmp_path):
    """Three shards of seven inputs: mixed, all failed, all embedded."""
    made = Store.create(tmp_path / "store", SPEC)
    fill(made)
    return made.path


def found(store):
    """The problems of a store as pairs, none of them mended."""
    problems = verify(store).problems
    assert not any(problem.mended for problem in problems)
    return [(problem.file, problem.what) for problem in problems]


def record(store, *names):
    """Make the checksums of shard 0 those of its files as they are, so that only their contents can tell."""
    lines = [f"{hashlib.sha256((store / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (store / "checksums" / "00000.sha256").write_text("".join(lines))


def rewritten(store, **files):
    """Shard 0 with other contents and checksums that fit them; a file that is None is absent."""
    kinds = {"img_emb": "npy", "text_emb": "npy", "metadata": "parquet", "errors": "parquet"}
    names = {kind: f"{kind}/{kind}_00000.{ending}" for kind, ending in kinds.items()}
    for kind, content in files.items():
        if content is None:
            (store / names[kind]).unlink()
        elif isinstance(content, pa.Table):
            pq.write_table(content, store / names[kind])
        else:
            np.save(store / names[kind], content)
    record(store, *(name for name in names.values() if (store / name).exists()))


def flip(path, at=-1):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_store_that_is_whole_has_no_problems(store):
    assert verify(store) == Verification([], 3, 3, 7, 4, 3)
    assert verify(str(store), mend=True).problems == []


def test_an_errors_file_that_was_deleted_is_missed(store):
    (store / "errors" / "errors_00002.parquet").unlink()
    (problem,) = verify(store).problems
    assert (problem.file, problem.what.split(":")[0]) == ("errors/errors_00002.parquet", "missing")


def test_an_unfinished_store_is_no_problem(store):
    for name in ("errors/errors_00002.parquet", "checksums/00002.sha256"):  # as a kill before the last files leaves it
        (store / name).unlink()
    (store / "img_emb" / ".img_emb_00002.npy.77.semscale-tmp").write_bytes(b"half")
    (store / "checksums" / "plan-00001.sha256").write_text("0" * 64 + "  plan/part-00001.parquet\n")
    assert verify(store) == Verification([], 3, 2, 7, 2, 3)
    Store.create(store.parent / "begun", SPEC)
    assert verify(store.parent / "begun") == Verification([], 0, 0, 0, 0, 0)


def files_of(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))


def test_a_flipped_byte_is_found_in_every_file(store):
    for name in files_of(store):
        for at in (0, (store / name).stat().st_size // 2, -1):
            flip(store / name, at)
            about = [file for file, _ in found(store)]
            # A damaged list of checksums speaks against the files in it.
            assert about, (name, at)
            assert name in about or name.startswith("checksums/")
            flip(store / name, at)
    assert found(store) == []


def test_a_missing_file_is_found(store):
    last = "errors/"  # without it a shard is only unfinished
    for name in files_of(store):
        content = (store / name).read_bytes()
        (store / name).unlink()
        about = found(store)
        if name.startswith("checksums/"):
            assert about == [(name, UNRECORDED)]
        elif not name.startswith(last):
            assert (name, "missing" + FOR_GOOD * name.startswith(("plan", "store.json"))) in about
        (store / name).write_bytes(content)
    assert found(store) == []


FAILED = pa.table({**{name: [None] for name in ("code", "message")}, "key": ["b"]})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"img_emb": np.zeros((3, 12), np.float32)}, ("img_emb/img_emb_00000.npy", "3 vectors for 2 rows of metadata")),
        ({"img_emb": None}, ("img_emb/img_emb_00000.npy", "0 vectors for 2 rows of metadata")),
        (
            {"img_emb": np.zeros((2, 11), np.float32)},
            ("img_emb/img_emb_00000.npy", "rows of float32 x 11 where store.json says float32 x 12"),
        ),
        (
            {"img_emb": np.zeros((2, 12), np.float16)},
            ("img_emb/img_emb_00000.npy", "rows of float16 x 12 where store.json says float32 x 12"),
        ),
        ({"img_emb": np.zeros(24, np.float32)}, ("img_emb/img_emb_00000.npy", "cannot be read (shape (24,))")),
        (
            {"text_emb": np.zeros((1, 9), np.float32)},
            ("text_emb/text_emb_00000.npy", "rows of float32 x 9 where store.json says float32 x 12"),
        ),
        ({"text_emb": None}, ("metadata/metadata_00000.parquet", "text_row from 0 to 0 for 0 texts")),
        (
            {"metadata": metadata(["a", "c"], [1, -1])},
            ("metadata/metadata_00000.parquet", "text_row from -1 to 1 for 1 texts"),
        ),
        (
            {"metadata": metadata(["a"], [0]), "img_emb": np.zeros((1, 12), np.float32)},
            ("errors/errors_00000.parquet", "1 vectors and 1 failures for 3 planned inputs"),
        ),
        (
            {"metadata": metadata(["c", "a"], [0, 0])},
            ("metadata/metadata_00000.parquet", "its keys are not those of the plan, in the order of the plan"),
        ),
        (
            {"metadata": metadata(["a", "x"], [0, 0])},
            ("metadata/metadata_00000.parquet", "its keys are not those of the plan, in the order of the plan"),
        ),
        (
            {"metadata": metadata(["a", "b"], [0, 0])},
            ("errors/errors_00000.parquet", "a planned key is in both tables, and another in neither"),
        ),
        (
            {"metadata": pa.table({"key": ["a", "c"]})},
            ("metadata/metadata_00000.parquet", "cannot be read (No match for FieldRef.Name(text_row) in key: string"),
        ),
    ],
)  # fmt: skip
def test_contents_that_do_not_fit_are_found_though_the_checksums_do(store, change, problem):
    rewritten(store, **change)
    [(file, what)] = found(store)
    assert file == problem[0]
    assert what == problem[1] or (what.startswith(problem[1]) and "FieldRef" in what)


def test_what_the_plan_does_not_have_is_stray_and_other_files_are_named(store):
    Store(store).write(ShardData(Shard(9, 0, 1), np.ones((1, 12)), np.ones((0, 12)), metadata(["a"], [None]), []))
    (store / "errors" / "errors_00009.parquet").unlink()
    (store / "metadata" / "copy.parquet").write_bytes(b"")
    (store / "metadata" / ".hidden").write_bytes(b"")
    stray = "stray: shard 9 is not in the plan"
    assert found(store) == [
        ("metadata/copy.parquet", "not a file of a store; move it elsewhere"),
        ("metadata/metadata_00009.parquet", stray),
        ("img_emb/img_emb_00009.npy", stray),
    ]
    verify(store, mend=True)
    assert found(store) == [("metadata/copy.parquet", "not a file of a store; move it elsewhere")]


def test_a_file_that_no_checksum_covers_is_found(store):
    shutil.copy(store / "text_emb" / "text_emb_00000.npy", store / "text_emb" / "text_emb_00001.npy")
    assert found(store) == [("text_emb/text_emb_00001.npy", UNRECORDED)]


@pytest.mark.parametrize(
    "name", ["img_emb/img_emb_00002.npy", "metadata/metadata_00002.parquet", "checksums/00002.sha256"]
)
def test_mending_discards_what_is_damaged_and_the_next_run_embeds_it_again(store, name):
    before = {file: (store / file).read_bytes() for file in files_of(store)}
    (store / name).unlink()
    mended = verify(store, mend=True)
    assert (mended.n_finished, len(mended.problems)) == (3, 1)
    assert mended.problems[0].file == name
    assert mended.problems[0].mended
    assert verify(store) == Verification([], 3, 2, 7, 2, 3)
    assert files_of(store) == [file for file in before if "00002" not in file]
    vectors = np.arange(48, dtype=np.float32).reshape(4, 12)
    Store(store).write(ShardData(Shard(2, 5, 7), vectors[2:], vectors[:2] + 200, metadata(["f", "g"], [1, 0]), []))
    assert {file: (store / file).read_bytes() for file in files_of(store)} == before


def test_mending_needs_the_store_to_itself_and_looking_does_not(store):
    with exclusive(store):
        assert verify(store).problems == []
        with pytest.raises(StoreLockedError, match="another run"):
            verify(store, mend=True)


def test_a_lost_specification_or_plan_is_not_mended_and_takes_no_shard_with_it(store):
    (store / "store.json").write_text("{")
    flip(store / "plan" / "part-00000.parquet", 10)
    before = files_of(store)
    problems = verify(store, mend=True).problems
    assert [problem.file for problem in problems] == ["store.json", "plan/part-00000.parquet"]
    assert all(problem.what == DAMAGED + FOR_GOOD and not problem.mended for problem in problems)
    assert files_of(store) == before


def test_a_lost_part_at_the_end_of_the_plan_is_told_from_one_that_never_was(store):
    grown = Store(store)
    grown.append_plan([(["h"], ["/images/h"], [3])])
    (store / "plan" / "part-00001.parquet").unlink()
    assert found(store) == []  # the next run plans it again
    lost = [Failure("h", "/images/h", "missing", "gone")]
    grown.write(ShardData(Shard(3, 7, 8), np.ones((0, 12)), np.ones((0, 12)), metadata([], []), lost))
    assert found(store) == [("plan/part-00001.parquet", "missing" + FOR_GOOD)]
    (store / "plan" / "part-00000.parquet").rename(store / "plan" / "part-00001.parquet")
    assert ("plan/part-00000.parquet", "missing" + FOR_GOOD) in found(store)


@pytest.mark.parametrize(
    ("column", "what"),
    [([0, 0, 2], "shard 2 where 1 was expected"), ([0, 1, 0], "shard 0 where 2 was expected")],
)
def test_a_plan_whose_shards_do_not_rise_one_by_one_is_found(tmp_path, column, what):
    Store.create(tmp_path, SPEC).append_plan([(list("abc"), list("abc"), column)])
    assert found(tmp_path) == [("plan/part-00000.parquet", what + FOR_GOOD)]


def test_a_store_begun_without_checksums_keeps_its_shards(store):
    shutil.rmtree(store / "checksums")
    names = ["store", "plan-00000", "00000", "00001", "00002"]
    assert found(store) == [(f"checksums/{name}.sha256", UNRECORDED) for name in names]
    assert not any(problem.mended for problem in verify(store, mend=True).problems)
    (store / "img_emb" / "img_emb_00000.npy").write_bytes(b"")
    assert Problem("checksums/00000.sha256", UNRECORDED, mended=True) in verify(store, mend=True).problems
    assert open_store(store).finished() == [1, 2]


def test_where_there_is_no_store_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="not a store"):
        verify(tmp_path)
    with pytest.raises(StoreError, match="not a store"):
        verify(tmp_path / "nowhere")


def test_the_stores_of_a_folder_of_results_are_found(store, tmp_path):
    assert stores_in(store) == [store]
    (tmp_path / "out" / "stores").mkdir(parents=True)
    with pytest.raises(StoreError, match="nor results with stores"):
        stores_in(tmp_path / "out")
    for name in ("b", "a"):
        shutil.copytree(store, tmp_path / "out" / "stores" / name)
    (tmp_path / "out" / "stores" / "c").mkdir()
    assert stores_in(tmp_path / "out") == [tmp_path / "out" / "stores" / name for name in "ab"]


def test_damage_of_any_kind_is_a_problem_and_never_an_exception(store):
    """Also where the checksums were damaged in the same way, or are not there."""
    rng = random.Random(0)
    whole = {name: (store / name).read_bytes() for name in files_of(store)}
    for trial in range(200):
        name = rng.choice(sorted(whole))
        content = bytearray(whole[name])
        for _ in range(rng.choice([1, 1, 3, 30])):
            content[rng.randrange(len(content))] = rng.randrange(256)
        del content[rng.choice([len(content), len(content), rng.randrange(len(content))]) :]
        (store / name).write_bytes(content)
        if trial % 2:
            shutil.rmtree(store / "checksums")
        result = verify(store)
        assert bool(result.problems) == (bytes(content) != whole[name] or bool(trial % 2))
        assert json.dumps([problem.what for problem in result.problems])
        for name in whole:
            (store / name).parent.mkdir(exist_ok=True)
            (store / name).write_bytes(whole[name])


def test_a_folder_in_the_place_of_a_file_is_a_problem(store):
    for name in files_of(store):
        content = (store / name).read_bytes()
        (store / name).unlink()
        (store / name).mkdir()
        assert found(store), name
        os.rmdir(store / name)
        (store / name).write_bytes(content)


def test_what_semscale_calls_whole_sha256sum_does_too(store):
    command = "sha256sum --strict --quiet --check checksums/*.sha256"
    assert subprocess.run(command, shell=True, cwd=store, capture_output=True).stdout == b""
    assert found(store) == []
