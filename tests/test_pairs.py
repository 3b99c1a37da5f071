"""`semscale pairs`: tables of pairs and neighbours against brute force, stopped and gone on with."""

import dataclasses
import json
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
from pair_stores import call, spec_of, write_store
from search_cases import Emulated, every_looker  # noqa: F401 - a fixture

from semscale import joins, parts
from semscale.errors import StoreError, StoreLockedError, UsageError
from semscale.joins import Sides, write_neighbours, write_pairs
from semscale.keyed import open_keyed
from semscale.locks import exclusive
from semscale.model import Preprocess
from semscale.search import Groups, Tuning, reference
from semscale.search.forecast import forecast
from semscale.search.vectors import ArrayVectors

ODD = ["a\nb.png", "é.png", "'q\".png", "Z.png", "\\xff.png", "10.png", "9.png", "# a,b.png", " .png", "𝄞/x.png"]
SMALL = Tuning(panel=8, tile=5, pairs=3)


def vectors_of(n=40, dim=6, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, dim)).astype(np.float32)
    rows[n // 2 :] = rows[: n - n // 2] + rng.normal(0, 0.1, (n - n // 2, dim)).astype(np.float32)
    rows[3] = rows[7] = rows[1]  # equal images
    rows[5] = 0
    return rows


def keys_of(n, seed=0):
    names = [*ODD, *(f"g/{i}.png" for i in range(n))][:n]
    return [names[i] for i in np.random.default_rng(seed).permutation(n)]


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "store", vectors_of(), keys_of(40), group=[f"g{i % 3}" for i in range(40)])


def read(path):
    return pq.read_table(path).to_pylist()


def brute(rows, keys, threshold, *, other=None, other_keys=None, groups=None):
    """Pairs by key, from the oracle on rows as they are stored."""
    a, b, similarity = reference.pairs_above(rows, threshold, other=other, groups=groups)
    found = set()
    for i, j, s in zip(a.tolist(), b.tolist(), similarity.tolist(), strict=True):
        pair = (keys[i], (other_keys or keys)[j])
        found.add((*(pair if other is not None else sorted(pair)), s))
    return found


def as_set(path):
    rows = [tuple(row.values()) for row in read(path)]
    assert len(set(rows)) == len(rows)
    return set(rows)


@pytest.mark.parametrize("threshold", [1.0, 0.97, 0.3, -1.0])
def test_pairs_are_those_of_brute_force_each_once_in_key_order(store, tmp_path, threshold):
    out = tmp_path / "pairs.parquet"
    done = call("pairs", store, "--threshold", threshold, "-o", out, "--json")
    found = as_set(out)
    assert found == brute(vectors_of(), keys_of(40), threshold)
    assert all(a < b for a, b, _ in found)
    assert json.loads(done.stdout.splitlines()[-1])["rows"] == len(found) > 2
    assert not (tmp_path / ".pairs.parquet.work").exists()
    assert str(pq.read_schema(out).field("similarity").type) == "double"


@pytest.mark.parametrize("mode", ["within", "across"])
def test_groups_are_kept_to(store, tmp_path, mode):
    out = tmp_path / "p.parquet"
    call("pairs", store, "--threshold", "0.2", f"--{mode}", "group", "-o", out, "--quiet")
    groups = Groups(mode, np.arange(40) % 3)
    assert as_set(out) == brute(vectors_of(), keys_of(40), 0.2, groups=groups)


def test_between_two_stores_key_a_is_of_the_first(store, tmp_path):
    keys = [f"other/{i}" for i in range(9)] + ["é.png"]
    other = write_store(tmp_path / "other", vectors_of(10, seed=0), keys)
    out = tmp_path / "p.parquet"
    call("pairs", store, "--threshold", "0.9", "--between", other, "-o", out, "--quiet")
    expected = brute(vectors_of(), keys_of(40), 0.9, other=vectors_of(10), other_keys=keys)
    assert as_set(out) == expected and expected
    call("pairs", store, "--top-k", "2", "--between", other, "-o", out, "--quiet")
    assert {row["neighbour"] for row in read(out)} <= set(keys)
    assert len(read(out)) == 2 * 39  # all but the image without a vector


@pytest.mark.parametrize("k", [1, 3, 60])
@pytest.mark.parametrize("one_pass", [True, False])
def test_neighbours_are_those_of_brute_force_with_ties_by_key(store, tmp_path, monkeypatch, k, one_pass):
    if not one_pass:
        monkeypatch.setattr(joins, "WHOLE", 3)
        monkeypatch.setattr(joins, "SPAN", 9)
    out = tmp_path / "n.parquet"
    call("pairs", store, "--top-k", k, "-o", out, "--quiet")
    order = sorted(range(40), key=keys_of(40).__getitem__)
    ids, similarity = reference.top_k(vectors_of()[order], k)
    keys = sorted(keys_of(40))
    expected = [
        {"key": keys[i], "neighbour": keys[j], "rank": rank + 1, "similarity": s}
        for i in range(40)
        for rank, (j, s) in enumerate(zip(ids[i].tolist(), similarity[i].tolist(), strict=True))
        if j >= 0
    ]
    assert read(out) == expected
    assert all(row["key"] != row["neighbour"] for row in expected)


def test_neighbours_within_groups_do_not_depend_on_blocks(store, tmp_path, monkeypatch):
    tables = []
    for whole in (100, 3):
        monkeypatch.setattr(joins, "WHOLE", whole)
        monkeypatch.setattr(joins, "SPAN", 9)
        write_neighbours(tmp_path / "n.parquet", Sides(open_keyed(store), mode="across"), 2)
        tables.append(read(tmp_path / "n.parquet"))
    assert tables[0] == tables[1] and len(tables[0]) == 2 * 39


class Stopped(Exception):
    """Stands for a kill."""


def stop_at(monkeypatch, number):
    """Make the run end at a block, and give what takes that back."""
    true = parts.Parts.write

    def write(self, block, tables, schema):
        if block == number:
            next(iter(tables))
            raise Stopped
        true(self, block, tables, schema)

    monkeypatch.setattr(parts.Parts, "write", write)
    return lambda: monkeypatch.setattr(parts.Parts, "write", true)


@pytest.mark.parametrize("kind", ["pairs", "neighbours"])
@pytest.mark.parametrize("number", [0, 1, 3, 4])
def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(store, tmp_path, monkeypatch, number, kind):
    monkeypatch.setattr(joins, "WHOLE", 3)
    monkeypatch.setattr(joins, "SPAN", 8)
    run = partial(write_pairs, threshold=0.1, tuning=SMALL) if kind == "pairs" else partial(write_neighbours, k=2)
    whole = run(tmp_path / "whole.parquet", Sides(open_keyed(store)))
    go_on = stop_at(monkeypatch, number)
    out = tmp_path / "out.parquet"
    with pytest.raises(Stopped):
        run(out, Sides(open_keyed(store)))
    work = tmp_path / ".out.parquet.work"
    assert len(list(work.glob("block-*.parquet"))) == number and work.exists() == (number > 0) and not out.exists()
    go_on()
    done = run(out, Sides(open_keyed(store)))
    assert (done.resumed, done.blocks, done.rows) == (number, whole.blocks, whole.rows)
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not work.exists()


def stopped_run(store, out, monkeypatch):
    go_on = stop_at(monkeypatch, 2)
    with pytest.raises(Stopped):
        write_pairs(out, Sides(open_keyed(store)), 0.1, tuning=SMALL)
    go_on()


def test_another_run_is_refused_where_one_was_stopped(store, tmp_path, monkeypatch):
    out = tmp_path / "out.parquet"
    stopped_run(store, out, monkeypatch)
    with pytest.raises(UsageError, match=r"2 finished blocks of another run \(threshold 0.1, now 0.2\)"):
        write_pairs(out, Sides(open_keyed(store)), 0.2, tuning=SMALL)
    with pytest.raises(UsageError, match="groups None, now within"):
        write_pairs(out, Sides(open_keyed(store), mode="within"), 0.1, tuning=SMALL)
    assert len(list((tmp_path / ".out.parquet.work").glob("block-*"))) == 2


def test_a_store_that_changed_is_refused_where_a_run_was_stopped(store, tmp_path, monkeypatch):
    out = tmp_path / "out.parquet"
    stopped_run(store, out, monkeypatch)
    (store / "errors" / "errors_00005.parquet").unlink()
    with pytest.raises(UsageError, match=r"another run \(store [0-9a-f]{12}, now"):
        write_pairs(out, Sides(open_keyed(store)), 0.1, tuning=SMALL)


def test_a_block_that_was_damaged_is_named_and_made_again_once_deleted(store, tmp_path, monkeypatch):
    out, sides = tmp_path / "out.parquet", Sides(open_keyed(store))
    stopped_run(store, out, monkeypatch)
    block = tmp_path / ".out.parquet.work" / "block-00000.parquet"
    block.write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"block-00000\.parquet: cannot be read .* delete it, and run again"):
        write_pairs(out, sides, 0.1, tuning=SMALL)
    block.unlink()
    done = write_pairs(out, sides, 0.1, tuning=SMALL)
    assert done.resumed == 0 and done == write_pairs(tmp_path / "whole.parquet", sides, 0.1, tuning=SMALL)


def test_a_second_run_at_once_is_refused(store, tmp_path):
    with exclusive(tmp_path / ".out.parquet.work"), pytest.raises(StoreLockedError):
        write_pairs(tmp_path / "out.parquet", Sides(open_keyed(store)), 0.1)


def test_more_pairs_than_allowed_stop_the_run_and_a_larger_limit_goes_on(store, tmp_path, monkeypatch):
    monkeypatch.setattr(joins, "refuse_flood", lambda *_: None)
    out, sides = tmp_path / "out.parquet", Sides(open_keyed(store))
    whole = write_pairs(tmp_path / "whole.parquet", sides, 0.1, tuning=SMALL)
    with pytest.raises(UsageError, match=f"more than --max-pairs {whole.rows - 1} pairs; raise it"):
        write_pairs(out, sides, 0.1, tuning=SMALL, max_pairs=whole.rows - 1)
    done = write_pairs(out, sides, 0.1, tuning=SMALL, max_pairs=whole.rows)
    assert done.resumed > 0 and done.rows == whole.rows


def test_a_flood_is_refused_before_it_begins_with_a_threshold_that_fits(store, tmp_path):
    out = tmp_path / "out.parquet"
    with pytest.raises(
        UsageError, match=r"pairs \(.* from a sample\), over --max-pairs 30; --threshold 0\."
    ) as refused:
        call("pairs", store, "--threshold", "0", "--max-pairs", 30, "-o", out)
    assert not list(tmp_path.glob(".out*"))
    fitting = str(refused.value).split("--threshold ")[1].split()[0]
    call("pairs", store, "--threshold", fitting, "--max-pairs", 30, "-o", out, "--quiet")
    assert 0 < len(read(out)) <= 30


def test_too_many_neighbours_are_refused(store, tmp_path):
    with pytest.raises(UsageError, match="the 3 nearest of 40 images are over --max-pairs 119"):
        call("pairs", store, "--top-k", "3", "--max-pairs", 119, "-o", tmp_path / "out.parquet")


def test_a_forecast_is_right_when_all_are_sampled_and_holds_the_truth_when_not():
    rows = np.random.default_rng(1).standard_normal((2000, 8)).astype(np.float32)
    for mode in (None, "within", "across"):
        groups = None if mode is None else Groups(mode, np.arange(2000) % 4)
        true = len(reference.pairs_above(rows[:300], 0.5, groups=groups and Groups(mode, groups.rows[:300]))[0])
        small = forecast(ArrayVectors(rows[:300]), 0.5, 10, groups=groups)
        assert (small.pairs, small.interval.low, small.interval.high) == pytest.approx((true, true, true))
    found = forecast(ArrayVectors(rows), 0.5, 1000)
    true = len(reference.pairs_above(rows, 0.5)[0])
    assert found.interval.low < true < found.interval.high < 1.3 * found.interval.low
    assert len(reference.pairs_above(rows, found.fitting)[0]) < 1500
    between = forecast(ArrayVectors(rows[:50]), 0.5, 10, other=ArrayVectors(rows))
    assert between.pairs == pytest.approx(len(reference.pairs_above(rows[:50], 0.5, other=rows)[0]))


def test_a_forecast_of_nothing_is_not_certain_and_equal_images_fit_nowhere():
    lonely = np.concatenate([np.eye(2000, dtype=np.float32)])
    found = forecast(ArrayVectors(lonely), 0.9, 5)
    assert (found.pairs, found.interval.low) == (0, 0) and found.interval.high > 1
    equal = forecast(ArrayVectors(np.ones((100, 3), np.float32)), 1.0, 5)
    assert equal.pairs == 4950 and equal.fitting is None


def test_rows_without_a_direction_are_in_no_pair_and_counted(tmp_path):
    rows = vectors_of()  # one of which is zero
    rows[3], rows[7, 2], rows[11, 0] = 0, np.nan, np.inf
    made = write_store(tmp_path / "invalid", rows, keys_of(40))
    done = call("pairs", made, "--threshold", "-1", "-o", tmp_path / "out.parquet", "--json")
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["n_images"], line["n_invalid"], line["rows"]) == (40, 4, 36 * 35 // 2)
    assert "(4 without a valid vector are in none)" in done.stdout


def test_stores_that_cannot_be_compared_are_refused_and_small_differences_told(store, tmp_path):
    out = tmp_path / "p.parquet"
    base = spec_of(6)
    specs = {
        "sha256": dataclasses.replace(base.image, sha256="1" * 64),
        "name": dataclasses.replace(base.image, name="other/model"),
        "preprocess": dataclasses.replace(base.image, preprocess=Preprocess(8, 8, "bicubic", (0,) * 3, (1,) * 3)),
    }
    for name, image in specs.items():
        made = write_store(tmp_path / name, vectors_of()[:5], list("abcde"), spec=spec_of(6, image=image))
        with pytest.raises(UsageError, match=f"different encoders: {name}"):
            call("pairs", store, "--threshold", "0.9", "--between", made, "-o", out)
    with pytest.raises(UsageError, match="compared with itself"):
        call("pairs", store, "--threshold", "0.9", "--between", store, "-o", out)
    halves = write_store(tmp_path / "half", vectors_of(8), list("abcdefgh"), spec=spec_of(6, dtype="float16"))
    done = call("pairs", store, "--threshold", "0.9", "--between", halves, "-o", out)
    assert "the stores differ in dtype: float32 and float16" in done.stdout


def test_wrong_calls_say_what_is_wrong(store, tmp_path):
    out = ["-o", tmp_path / "p.parquet"]
    for arguments, message in (
        ([], "either --threshold or --top-k"),
        (["--threshold", "0.9", "--top-k", "3"], "either --threshold or --top-k"),
        (["--threshold", "0.9", "--within", "group", "--across", "group"], "one of --within"),
    ):
        with pytest.raises(UsageError, match=message):
            call("pairs", store, *arguments, *out)


def test_the_results_of_score_are_taken_where_they_hold_one_store(store, tmp_path):
    results = tmp_path / "results"
    (results / "stores").mkdir(parents=True)
    store.rename(results / "stores" / "one")
    call("pairs", results, "--threshold", "0.9", "-o", tmp_path / "p.parquet", "--quiet")
    write_store(results / "stores" / "two", vectors_of()[:3], list("abc"))
    with pytest.raises(UsageError, match="has 2 stores; name one of"):
        call("pairs", results, "--threshold", "0.9", "-o", tmp_path / "p.parquet")


@pytest.mark.parametrize("n", [0, 1])
def test_stores_without_pairs_give_a_table_without_rows(tmp_path, n):
    store = write_store(tmp_path / "store", vectors_of(40)[:n], keys_of(40)[:n])
    for what in (["--threshold", "0.5"], ["--top-k", "2"]):
        done = call("pairs", store, *what, "-o", tmp_path / "p.parquet", "--json")
        assert read(tmp_path / "p.parquet") == []
        assert json.loads(done.stdout.splitlines()[-1])["n_images"] == n


@pytest.mark.usefixtures("every_looker")
@pytest.mark.parametrize("kind", ["threshold", "top-k"])
def test_a_gpu_is_used_where_there_is_one_and_writes_the_same_table(store, tmp_path, monkeypatch, kind):
    looked, find = [], Emulated.look
    monkeypatch.setattr(Emulated, "look", lambda *given: looked.append(1) or find(*given))
    asked = ["pairs", store, f"--{kind}", "0.5" if kind == "threshold" else 3, "--quiet"]
    call(*asked, "-o", tmp_path / "cpu.parquet")
    assert not looked
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    call(*asked, "-o", tmp_path / "gpu.parquet")
    assert looked
    assert (tmp_path / "cpu.parquet").read_bytes() == (tmp_path / "gpu.parquet").read_bytes()
    looked.clear()
    call(*asked, "-o", tmp_path / "told.parquet", "--device", "cpu")
    assert not looked


@pytest.mark.parametrize("command", ["pairs", "dedup", "novelty"])
def test_a_gpu_that_is_not_there_is_refused(store, tmp_path, monkeypatch, command):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    more = ["--reference", store] if command == "novelty" else []
    with pytest.raises(UsageError, match=r"torch finds no GPU .*use --device cpu"):
        call(command, store, *more, "--threshold", "0.5", "--device", "cuda", "-o", tmp_path / "out.parquet")
