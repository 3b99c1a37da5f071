"""The pieces of the report: which groups and images it shows, pictures, densities, names and numbers."""

import base64
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from report_fixture import GROUPS, write_groups

from semscale.report.density import bounded_density
from semscale.report.format import duration, number, plural, shorten, span, tail
from semscale.report.groups import best_and_worst, read_groups
from semscale.report.images import Member, members_of
from semscale.report.palette import COLOURS, marks
from semscale.report.thumbs import LONGEST_SIDE, thumbnail


@pytest.mark.parametrize("n_groups", [0, 1, 2, 3, 11, 12, 13])
def test_no_group_is_both_best_and_worst(tmp_path, n_groups):
    write_groups(tmp_path, np.arange(float(n_groups)))
    best, worst = best_and_worst(read_groups(tmp_path / "groups.parquet").sort_by("scs"), 6)
    assert len(best) + len(worst) == min(n_groups, 12)
    assert not {g.group for g in best} & {g.group for g in worst}
    assert [g.scs for g in best] == sorted((g.scs for g in best), reverse=True)


def test_members_of_a_large_group_are_spread_over_it(tmp_path):
    n = 5000
    rows = pa.table({"group": ["g"] * n, "model": ["a", "b"] * (n // 2), "key": [str(i) for i in range(n)]})
    rows = rows.append_column("uri", rows["key"]).append_column("status", pa.array(["ok"] * (n - 2) + ["failed"] * 2))
    rows = rows.append_column("sha256", rows["key"])
    rows = rows.append_column("group_similarity", pa.array(np.arange(n, 0, -1)))
    pq.write_table(rows, tmp_path / "images.parquet", row_group_size=700)
    write_groups(tmp_path, np.ones(2))
    group, other = best_and_worst(read_groups(tmp_path / "groups.parquet"), 1)[0][0], "b"
    wanted = [replace(group, "a", "4002", "3000"), replace(group, other, None, None)]
    first, second = members_of(tmp_path / "images.parquet", wanted, limit=8)
    assert [m.key for m in first] == ["4002", "0", *spread(first), "3000"] and len(first) == len(second) == 8
    gaps = np.diff([int(m.key) for m in second])
    assert all(int(m.key) % 2 == 1 for m in second) and gaps.min() > 650 and gaps.max() < 780


def replace(group, model, medoid, outlier):
    fields = {name: getattr(group, name) for name in group.__slots__}
    return type(group)(
        **fields | {"group": "g", "model": model, "n": 2499, "medoid_key": medoid, "outlier_key": outlier}
    )


def spread(members):
    middle = [m.key for m in members[2:-1]]
    assert middle == sorted(middle, key=int) and len(set(middle)) == len(middle)
    return middle


def member(path, sha256=None):
    found = sha256 or hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return Member(key="k", uri=str(path), sha256=found, group_similarity=1.0)


def test_a_thumbnail_keeps_the_shape_and_is_never_enlarged(tmp_path):
    Image.new("RGB", (400, 100), (200, 30, 30)).save(tmp_path / "wide.png")
    Image.new("RGB", (7, 5), (200, 30, 30)).save(tmp_path / "tiny.png")
    wide, tiny = thumbnail(member(tmp_path / "wide.png")), thumbnail(member(tmp_path / "tiny.png"))
    assert (wide.width, wide.height) == (LONGEST_SIDE, LONGEST_SIDE // 4) and (tiny.width, tiny.height) == (7, 5)
    pixel = Image.open(io.BytesIO(base64.b64decode(wide.src.split(",")[1]))).getpixel((60, 15))
    assert np.abs(np.array(pixel) - (200, 30, 30)).max() < 12


@pytest.mark.parametrize("uri", ["/nowhere/a.png", "https://example.org/a.png", "bad\0name", "x" * 5000, ""])
def test_a_picture_that_is_not_there_is_a_placeholder(uri):
    found = thumbnail(member(uri, "0" * 64))
    assert found.src == "" and found.missing in {"file not found", "file cannot be read", "a remote file"}


def test_a_picture_that_changed_is_a_placeholder(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    assert thumbnail(member(tmp_path / "broken.png")).missing == "file cannot be shown"
    Image.new("RGB", (30, 20)).save(tmp_path / "other.png")
    assert thumbnail(member(tmp_path / "other.png", "0" * 64)).missing == "file changed since"
    assert thumbnail(member(tmp_path / "other.png")).missing == ""


def test_a_picture_whose_name_is_not_utf8_is_opened_by_its_file_uri(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9 %41.png")
    Image.new("RGB", (30, 20)).save(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert thumbnail(member(f"file://{tmp_path}/caf%E9%20%2541.png", sha256)).missing == ""
    assert thumbnail(member(f"file://{tmp_path}/caf%E9.png", sha256)).missing == "file not found"


@pytest.mark.parametrize(
    "values", [[100.0] * 9, [99.0, 100.0, 100.0, 98.0], [0.0, 100.0], [50.0], list(np.linspace(90, 100, 500))]
)
def test_a_density_is_whole_and_inside_its_bounds(values):
    centres, density = bounded_density(np.array(values), low=0.0, high=100.0)
    assert centres.min() > 0 and centres.max() < 100 and density.min() >= 0
    assert density.sum() * (centres[1] - centres[0]) == pytest.approx(1.0)


def test_a_density_is_reflected_at_its_bound():
    centres, density = bounded_density(np.linspace(80, 100, 4000), low=0.0, high=100.0)
    assert density[-1] == pytest.approx(1 / 20, rel=0.02)  # an unreflected kernel gives half of it
    assert np.interp(90.0, centres, density) == pytest.approx(1 / 20, rel=0.02)


def test_every_model_has_its_own_mark():
    found = marks(["b", None, "a", *(f"m{i}" for i in range(60))])
    assert len({(m.colour, m.glyph) for m in found.values()}) == 63
    assert list(found)[-1] is None and found["a"].colour == COLOURS[0]


def test_numbers_as_text():
    assert [number(v) for v in (1234.5, -0.5, -0.001, None, float("nan"), float("inf"))] == [
        "1,234.50",
        "−0.50",
        "0.00",
        "–",
        "–",
        "–",
    ]
    assert span(1, 2) == "1.00 to 2.00" and span(None, 2) == span(1, float("nan")) == "–"
    assert [plural(n, "group") for n in (0, 1, 2000)] == ["0 groups", "1 group", "2,000 groups"]
    assert [duration(s) for s in (0.5, 59.999, 200, 7500)] == ["0.50 s", "1 min 0 s", "3 min 20 s", "2 h 5 min"]
    assert shorten(GROUPS[3]) == "four lines and 🦊"
    assert shorten("a" * 300, 10) == "aaaaaaaaa…" and tail("folder/" * 9 + "7.png", 10) == "…der/7.png"


def test_a_reduced_precision_is_said_with_its_limits():
    from semscale.report.tables import _gate_words

    limits = {"centred_min": 0.96, "overlap": 0.93, "score_change": 1.0}
    told = {"tower": "image", "candidate": "onnx int8", "n": 128, "limits": limits}
    words = _gate_words({**told, "centred_min": 0.99778, "overlap": 0.98203, "score_change": 0.1825})
    assert words == (
        "image, onnx int8, 128 probes: centred cosine at least 0.9978 (limit 0.96), 98.2% of the ten nearest "
        "neighbours kept (93%), a group's score changed by at most 0.18 of 100 (1)"
    )
    assert "onnx int8" in _gate_words(told)  # a summary of another version is shown as it is


def test_why_an_image_that_is_no_file_here_is_not_shown(tmp_path):
    from semscale.report.thumbs import _elsewhere

    (tmp_path / "a.tar").touch()
    assert _elsewhere(f"{tmp_path}/a.tar#m/1.png") == "inside an archive"
    assert _elsewhere("s3://bucket/a.tar#1.png") == "inside an archive"
    assert _elsewhere("s3://bucket/1.png") == "a remote file"
    assert _elsewhere(f"{tmp_path}/gone#1.png") == ""
