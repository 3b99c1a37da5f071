"""Hostile files by the thousand: none crashes, hangs or goes unaccounted for, and memory stays in proportion."""

import io
import os
import subprocess
import sys
from collections import Counter

import fuzz
import hostile
import pytest
from PIL import Image

from semscale.decode import BYTES_PER_PIXEL, decode

COUNT = 2000


@pytest.fixture(scope="module")
def results():
    return fuzz.run(COUNT)


def test_every_hostile_file_is_accounted_for(results):
    assert results.faults == [], "the bytes are in " + str([results.saved(index) for index, *_ in results.faults])
    assert results.count == COUNT


def test_decoders_keep_standard_error_clean(results):
    assert results.noise == ""


def test_no_hostile_file_takes_more_memory_than_its_pixels_may(results):
    largest = max(tally.peak for tally in results.tallies.values())
    assert 0 < largest < fuzz.MAX_PIXELS * BYTES_PER_PIXEL or not os.path.exists("/proc/self/clear_refs")


def test_hostile_files_get_past_the_first_check(results):
    """Else the fuzzing would test nothing but signatures."""
    for family, tally in results.tallies.items():
        assert tally.outcomes["decoded"] > 0.05 * tally.outcomes.total(), family
        assert tally.outcomes["decode-failed"] + tally.outcomes["truncated"] > 0, family
    codes = sum((tally.outcomes for tally in results.tallies.values()), Counter())
    assert set(codes) >= {"decoded", "decode-failed", "truncated", "too-large", "not-an-image", "unsupported"}


def test_the_seeds_decode_and_their_pieces_make_the_same_file():
    for name, data in hostile.seeds().items():
        assert decode(data).size, name
        family = name.partition("-")[0]
        if family in hostile.FAMILIES:
            split, join = hostile.FAMILIES[family]
            assert join(split(data)) == data, name


def test_hostile_files_are_the_same_every_time():
    assert [hostile.hostile(index) for index in range(300)] == [hostile.hostile(index) for index in range(300)]
    assert len({hostile.hostile(index)[1] for index in range(300)}) > 280


@pytest.mark.parametrize(("end", "kind"), [("os.abort()", "crash"), ("time.sleep(60)", "hang")])
def test_a_worker_that_dies_is_noticed_and_another_goes_on(end, kind, tmp_path, monkeypatch):
    """Two files of twelve end the process they are in; the worker is this one with another `outcome_of`."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        f"import os, sys, time; sys.path.insert(0, {os.path.dirname(fuzz.__file__)!r})\n"
        "import fuzz; fuzz.HANG_SECONDS = 1\n"
        "bad = {fuzz.hostile(index)[1] for index in (4, 9)}\n"
        f"def outcome_of(data):\n    if data in bad: {end}\n    return 'decoded'\n"
        "fuzz.outcome_of = outcome_of; fuzz.main()\n"
    )
    monkeypatch.setattr(fuzz, "__file__", str(worker))
    monkeypatch.setattr(fuzz.Results, "saved", staticmethod(lambda index: tmp_path / str(index)))
    found = fuzz.run(12, workers=2)
    assert sorted((index, what.partition(":")[0]) for index, _, what in found.faults) == [(4, kind), (9, kind)]
    assert found.count == 12
    assert (tmp_path / "9").read_bytes() == hostile.hostile(9)[1]


MEASURE = """
import sys, fuzz
from semscale.decode import decode
data = sys.stdin.buffer.read()
before = fuzz.memory("VmRSS"); fuzz.forget_peak()
pixels = decode(data)
print((fuzz.memory("VmHWM") - before) / (pixels.size // 3))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="measured by what Linux tells")
@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "AVIF"])
def test_no_format_takes_more_memory_a_pixel_than_is_said(fmt):
    image = Image.effect_noise((1200, 1000), 40).convert("RGBA" if fmt in {"JPEG2000", "WEBP", "PNG"} else "RGB")
    out = io.BytesIO()
    image.save(out, fmt, **({"speed": 10} if fmt == "AVIF" else {"quality_layers": [80]} if fmt == "JPEG2000" else {}))
    environment = os.environ | fuzz.MALLOC | {"PYTHONPATH": os.path.dirname(fuzz.__file__)}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], input=out.getvalue(), capture_output=True, check=True, env=environment
    )
    assert 3 <= float(done.stdout) <= BYTES_PER_PIXEL
