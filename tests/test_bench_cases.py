"""The cases of `semscale bench` that need no encoder: their images, their checks, and what they say."""

from __future__ import annotations

import dataclasses
import io
import json
import os

import numpy as np
import pytest
from images import write_tree
from PIL import Image

from semscale.decode import decode
from semscale.errors import UsageError
from semscale.preprocess import _resize_fast, preprocess
from semscale_bench import disk, images, in_memory, roof, rows
from semscale_bench.cases import decode as decode_case
from semscale_bench.cases import memory, roofs, startup, store
from semscale_bench.cases import preprocess as preprocess_case
from semscale_bench.cases.roofs import array_bytes
from semscale_bench.in_memory import KEPT, Sample, by_pillow, go, loaded
from semscale_bench.inputs import VIT
from semscale_bench.measure import Timing
from semscale_bench.memory import Peak
from semscale_bench.plan import Plan
from semscale_bench.ratios import ratio_of

QUICK = Plan(seconds=0.0, repeats=1)


@pytest.fixture
def tiny(monkeypatch):
    """Two kinds of small images, three of each."""
    small = {"jpeg small": ("jpeg 500x375", 120, 80), "png small": ("png 512x512", 90, 100)}
    kinds = {name: dataclasses.replace(images.KINDS[old], width=width, height=height, distinct=3)
             for name, (old, width, height) in small.items()}  # fmt: skip
    monkeypatch.setattr(images, "KINDS", kinds)
    return list(kinds)


def named(outcome):
    return {(row.name, row.data): row for row in outcome.rows}


class TestImages:
    def test_they_are_as_large_as_their_kind_and_always_the_same(self, tmp_path, tiny):
        jpeg, png = images.write_kinds(tmp_path / "a")
        again, _ = images.kinds(QUICK, tmp_path / "b")
        assert [jpeg.name, png.name] == tiny and len(jpeg.files) == 3
        contents = [file.read_bytes() for file in jpeg.files]
        assert [decode(data).shape for data in (contents[0], png.files[0].read_bytes())] == [(80, 120, 3), (100, 90, 3)]
        assert contents == [file.read_bytes() for file in again.files] and len(set(contents)) == 3

    def test_more_than_there_are_different_ones_are_links(self, tmp_path, tiny):
        (found,) = images.write_kinds(tmp_path, names=tiny[:1], count=5)
        assert len(found.files) == 5 and all(file.parent == found.folder for file in found.files)
        assert found.files[4].samefile(found.files[1]) and not found.files[2].samefile(found.files[1])

    @pytest.mark.parametrize(
        ("name", "low", "high"), [("jpeg 500x375", 60_000, 120_000), ("png 512x512", 300_000, 480_000)]
    )
    def test_they_weigh_what_photographs_do(self, name, low, high):
        out = io.BytesIO()
        images.picture(images.KINDS[name], 0).save(out, name.split()[0], quality=90)
        assert low < len(out.getvalue()) < high

    def test_ones_own_are_the_first_of_the_listing(self, tmp_path):
        folder = write_tree(tmp_path / "mine", ["b/2.png", "a/1.png", "c/3.png"])
        (folder / "a" / "notes.txt").write_text("no image")
        (found,) = images.kinds(Plan(data=folder), tmp_path / "unused", count=2)
        assert found.name == "mine" and [file.name for file in found.files] == ["1.png", "2.png"]
        assert not (tmp_path / "unused").exists()

    def test_a_folder_without_images_is_refused(self, tmp_path):
        (tmp_path / "readme.md").write_text("nothing here")
        with pytest.raises(UsageError, match=r"--data: .*no images among 1 files"):
            images.kinds(Plan(data=tmp_path), tmp_path)
        with pytest.raises(UsageError, match=r"--data: .*missing"):
            images.kinds(Plan(data=tmp_path / "missing"), tmp_path)

    def test_a_folder_of_archives_is_refused(self, tmp_path):
        import zipfile

        file = write_tree(tmp_path / "loose", ["a.png"]) / "a.png"
        (tmp_path / "packed").mkdir()
        with zipfile.ZipFile(tmp_path / "packed" / "some.zip", "w") as archive:
            archive.write(file, "a.png")
        with pytest.raises(UsageError, match="archives"):
            images.own_images(tmp_path / "packed", 3)


class TestInMemory:
    def test_files_read_otherwise_on_purpose_are_left_out_and_told(self, tmp_path):
        folder = write_tree(tmp_path / "some", ["a.png", "d.png"])
        Image.new("RGBA", (9, 9), (1, 2, 3, 4)).save(folder / "b.png")
        (folder / "c.png").write_bytes(b"<html>")
        data, told = loaded(images.own_images(folder, 9))
        assert data == [(folder / name).read_bytes() for name in ("a.png", "d.png")]
        assert told == ["some: 2 of 4 files, which Pillow and semscale do not read alike"]
        for name in ("a.png", "d.png"):
            (folder / name).unlink()
        with pytest.raises(UsageError, match="none of 2 files"):
            loaded(images.own_images(folder, 9))

    def test_a_turned_photo_is_upright_both_ways(self, tiny):
        exif, out = Image.Exif(), io.BytesIO()
        exif[0x0112] = 6
        images.picture(images.KINDS[tiny[0]], 0).save(out, "JPEG", exif=exif)
        assert decode_case.largest(by_pillow(out.getvalue()), decode(out.getvalue())) == 0
        assert by_pillow(out.getvalue()).shape == (120, 80, 3)

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_go_does_all_and_keeps_another_output_each_time(self, workers):
        sample, data = Sample(), [bytes([number]) for number in range(KEPT + 2)]
        with in_memory.own_threads():
            contestant = go(lambda encoded: np.array(encoded[0]), data, sample, workers=workers)
            assert [contestant() for _ in data] == [len(data)] * len(data)
        seen = []
        sample.compared("", 0.0, lambda number, output: seen.append((number, int(output))) or 0.0)
        assert seen == [(number, number) for number in range(2, KEPT + 2)]

    def test_the_worst_counts(self):
        sample = Sample()
        for number in range(3):
            sample.keep(number, np.zeros(1))
        check = sample.compared("difference", 1.0, lambda number, _: float(2 - number))
        assert check.worst == 2.0 and not check.passed


def test_a_ratio_is_taken_round_by_round():
    slow, fast = Timing("slow", 10, (1.0, 4.0, 2.0)), Timing("fast", 20, (1.0, 2.0, 2.0))
    ratio = ratio_of(fast, slow)
    assert (ratio.median, ratio.low, ratio.high, ratio.rounds) == (2.0, 2.0, 4.0, 3)


class TestDecode:
    def test_every_way_is_timed_and_right(self, tiny):
        outcome = decode_case.run(QUICK)
        found = named(outcome)
        assert rows.wrong([outcome]) == [] and len(outcome.sentences) == 2
        assert {name for name, data in found if data == "jpeg small"} > {"Pillow", "semscale", "semscale, fast"}
        assert ("semscale, fast", "png small") not in found  # the same as exact
        assert all(row.timing.units == 3 for row in outcome.rows)
        assert found["semscale", "jpeg small"].check.worst == 0

    def test_a_wrong_decoder_is_told(self, tiny, monkeypatch):
        monkeypatch.setattr(decode_case, "decode", lambda data, **ways: decode(data, **ways) ^ 2)
        assert any("largest difference to Pillow is 2.0e+00" in said for said in rows.wrong([decode_case.run(QUICK)]))

    def test_another_shape_is_no_match(self):
        assert np.isnan(decode_case.largest(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)))
        assert decode_case.largest(np.uint8([[9, 250]]), np.uint8([[12, 200]])) == 50


class TestPreprocess:
    def test_limits_hold_and_the_goal_is_said(self, tiny):
        outcome = preprocess_case.run(QUICK)
        found = named(outcome)
        assert rows.wrong([outcome]) == []
        assert found["semscale, exact", "png small"].check.worst == 0
        assert found["semscale, close", "jpeg small"].check.worst <= 2  # enlarged, as photographs never are
        assert (
            all("(goal: 2 times at most 1 away: " in said for said in outcome.sentences) and len(outcome.sentences) == 2
        )
        json.dumps(rows.values([outcome]), allow_nan=False)

    def test_the_pil_path_is_the_exact_one(self, tiny, tmp_path):
        for found in images.write_kinds(tmp_path):
            data = found.files[0].read_bytes()
            np.testing.assert_array_equal(preprocess_case.pil_path(data), preprocess(by_pillow(data), VIT))

    def test_torch_leaves_colours_last(self):
        pixels = np.zeros((60, 90, 3), np.uint8)
        assert _resize_fast(pixels, (30, 45), "bicubic").strides == (135, 3, 1)  # else the crop costs half a resize

    def test_a_goal_is_missed_by_rate_or_by_pixels(self):
        slow, fast = Timing("", 1, (2.1,)), Timing("", 1, (1.0,))
        for ours, away, word in ((fast, 1.0, "met"), (fast, 2.0, "missed"), (slow, 0.0, "missed")):
            check = rows.Check("", away, 2.0)
            assert preprocess_case._sentence("photos", ratio_of(ours, slow), check).endswith(f"{word})")


class TestStore:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(store, "SHARD", 128)
        monkeypatch.setattr(store, "SHARDS", 2)

    def test_what_is_read_is_what_was_written(self):
        outcome = store.run(QUICK)
        found = {row.name: row for row in outcome.rows}
        assert set(found) == {*store.ROOFS, *store.ROOFS.values()} and rows.wrong([outcome]) == []
        assert all(row.timing.units == 256 for row in outcome.rows)
        assert found["write"].roof == "plain write and flush" and found["write"].roof_share > 0

    def test_what_is_lost_is_told(self, tmp_path, monkeypatch):
        contestants = store.Contestants(tmp_path)
        assert contestants.worst["write"] == 0
        monkeypatch.setattr(store.Store, "write", lambda *_: None)
        contestants.all()["write"]()
        assert contestants.worst["write"] == 1  # what lies there is of the go before


class TestRoofs:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(roof, "SHAPES", {"cpu": ((32, 48, 64),)})
        monkeypatch.setattr(roof, "INTEGER_SHAPES", ((32, 32, 32),))
        monkeypatch.setattr(roof, "GO_SECONDS", 0.0)
        monkeypatch.setattr(roofs, "array_bytes", lambda *_: 4096)
        monkeypatch.setattr(disk, "FILE", 1 << 16)
        monkeypatch.setattr(disk, "CHUNK", 1 << 14)
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        monkeypatch.setattr(roofs, "survives", lambda precision: precision != "bf16")

    def test_work_is_counted(self):
        outcome = roofs.run(QUICK)
        units = {row.name: (row.timing.units, row.unit) for row in outcome.rows}
        assert units["product fp32"] == (2 * 32 * 48 * 64, "FLOP") and units["product int8"][0] == 2 * 32**3
        assert units["memory copy"] == (2 * 4096, "bytes") and units["memory triad"] == (3 * 4096, "bytes")
        assert units["disk read"] == units["disk write and flush"] == (1 << 16, "bytes")
        assert rows.wrong([outcome]) == [] and len(outcome.sentences) == 3

    def test_a_precision_that_kills_torch_is_told_and_not_tried(self):
        outcome = roofs.run(QUICK)
        assert "product bf16" not in {row.name for row in outcome.rows}
        assert outcome.absent[0].startswith("products in bf16: torch dies")

    def test_a_process_that_dies_is_seen(self, monkeypatch):
        monkeypatch.undo()
        ends = {"good": "pass", "bad": "import os, signal; os.kill(os.getpid(), signal.SIGILL)"}
        monkeypatch.setattr(roofs, "PROBES", ends)
        assert roofs.survives("good") and not roofs.survives("bad")

    def test_an_array_is_far_above_the_cache_and_a_part_of_the_memory(self):
        assert array_bytes(1 << 27, 1 << 40) == 1 << 29
        assert array_bytes(0, 1 << 40) == 1 << 28 and array_bytes(1 << 30, 1 << 33) == 1 << 28

    def test_reads_say_where_they_came_from(self, tmp_path, monkeypatch):
        for counted, word in ((lambda: None, "does not tell"), (iter([0, 1 << 16]).__next__, "cold, from"),
                              (lambda: 0, "warm")):  # fmt: skip
            monkeypatch.setattr(disk, "_read_from_devices", counted)
            made = disk.Disk(tmp_path / "file")
            assert made.read() == 1 << 16 and word in made.reads

    def test_ones_own_disk_where_it_may_be_written(self, tmp_path):
        (tmp_path / "photos").mkdir()
        assert roofs._place(tmp_path / "photos") == (tmp_path.resolve(), [])
        assert roofs._place(None) == (None, [])


class TestStartup:
    def test_goals_are_told_from_medians(self):
        seconds = {startup.FLOOR: 0.02, startup.HELP: 0.25, startup.SCORE_HELP: 0.3, startup.SCORE: 4.0}
        timed = {name: Timing(name, 1, (taken,)) for name, taken in seconds.items()}
        said = startup._sentences(timed)
        assert said[0].endswith("0.3 s: met)") and said[1].endswith("3 s: missed)") and len(said) == 2

    def test_a_command_that_fails_is_told_with_what_it_said(self):
        with pytest.raises(UsageError, match=r"exit code 3: no luck"):
            startup._run(("-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"))

    def test_a_score_that_is_no_number_counts_for_nothing(self, tmp_path):
        for value, n_images in ((61.5, 10), (None, 0)):
            summary = {"scores": {"scs": {"value": value, "n_images": 10}}}
            (tmp_path / "summary.json").write_text(json.dumps(summary))
            assert startup.scores_in(tmp_path) == n_images

    def test_modules_are_kept_compiled_whatever_the_shell_says_and_nothing_of_it_stays(self, tmp_path, monkeypatch):
        monkeypatch.setenv(startup.NOT_KEPT, "1")
        monkeypatch.delenv(startup.KEPT_IN, raising=False)
        with startup.compiled(tmp_path):
            startup._run(("-c", "import semscale.errors"))
        assert list(tmp_path.rglob("errors.*.pyc"))
        assert (os.environ[startup.NOT_KEPT], startup.KEPT_IN in os.environ) == ("1", False)


class TestMemory:
    def peaks(self, *processor_seconds, grow=1.0):
        """One round: 100, 200 and 400 images."""
        sizes = zip((100, 200, 400), processor_seconds, (1.0, grow, grow), strict=True)
        return [Peak("embed", n, int(1e8 * more), 10**7, 99.0, seconds, 4.0) for n, seconds, more in sizes]

    def outcome(self, monkeypatch, rounds):
        asked = iter([peak for peaks in rounds for peak in peaks])
        seen = []
        monkeypatch.setattr(memory, "SIZES", (100, 200, 400))
        monkeypatch.setattr(memory, "peak", lambda _, images: seen.append(images) or next(asked))
        found = memory.run(Plan(repeats=len(rounds)))
        assert seen == [100, 200, 400] * len(rounds)  # in turn
        return found

    def test_the_cost_of_an_image_is_that_beyond_the_start_in_each_round(self, monkeypatch):
        rounds = [self.peaks(3, 4, 6), self.peaks(5, 7, 11.4), self.peaks(3, 4, 6.08)]  # 0, 10 and 4 % more
        said = self.outcome(monkeypatch, rounds).sentences
        assert "10.00 ms from 100 to 200 images, 10.40 ms from 200 to 400: +4.0%" in said[1]
        assert said[1].endswith("(+0.0% to +10.0%; goal: within 5%, met)")
        assert self.outcome(monkeypatch, [self.peaks(3, 4, 6.2)]).sentences[1].endswith("within 5%, missed)")

    def test_memory_that_grows_is_told(self, monkeypatch):
        said = self.outcome(monkeypatch, [self.peaks(1, 2, 4, grow=1.2)]).sentences[0]
        assert said == "memory of 400 images: 1.200 times that of 100 images (goal: within 10 %, missed)"
