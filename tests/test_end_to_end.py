"""Real photos through the command, against transformers and a double loop that share no code with semscale."""

import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from checkpoints import PHOTOS
from click.testing import CliRunner
from PIL import Image
from test_consistency import double_loop
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

from semscale.cli import main
from semscale.metrics.vectors import unit_rows

pytestmark = pytest.mark.skipif(not PHOTOS.is_dir(), reason="the DreamBooth photos are not beside this checkout")
SUBJECTS = ("backpack", "cat", "dog2", "vase")
LONG = "a very long caption that says the same again and again, " * 8


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four subjects with a caption each; one caption is longer than the encoder reads."""
    root = tmp_path_factory.mktemp("photos")
    rows = []
    for subject in SUBJECTS:
        (root / subject).symlink_to(PHOTOS / subject)
        text = LONG if subject == "vase" else f"a photo of a {subject}"
        rows += [{"file_name": f"{subject}/{p.name}", "text": text} for p in sorted((PHOTOS / subject).glob("*.jpg"))]
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root, rows


@pytest.fixture(scope="module")
def reference(photos, tiny_checkpoint):
    """Image and text embeddings by transformers alone, (N, D) float64 each."""
    root, rows = photos
    model = CLIPModel.from_pretrained(tiny_checkpoint).eval()
    processor = CLIPImageProcessor.from_pretrained(tiny_checkpoint)
    tokenizer = CLIPTokenizerFast.from_pretrained(tiny_checkpoint)
    images, texts = [], []
    with torch.inference_mode():
        for row in rows:
            image = Image.open(root / row["file_name"]).convert("RGB")
            images.append(model.get_image_features(**processor(images=image, return_tensors="pt"))[0].double())
            length = model.config.text_config.max_position_embeddings
            ids = tokenizer(row["text"], truncation=True, max_length=length, return_tensors="pt")
            texts.append(model.get_text_features(**ids)[0].double())
    return torch.stack(images).numpy(), torch.stack(texts).numpy()


@pytest.mark.parametrize("extra", [[], ["--batch-size", "3", "--workers", "1", "--shard-size", "5"]])
def test_every_number_equals_the_independent_one(photos, reference, tiny_export, tmp_path, extra):
    root, rows = photos
    arguments = ["score", str(root), "-o", str(tmp_path), "--model", str(tiny_export), "--backend", "onnx",
                 "--json", "--quiet", *extra]  # fmt: skip
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    line = json.loads(done.stdout)
    assert (line["n_found"], line["n_failed"], line["n_truncated_texts"], line["n_groups"]) == (len(rows), 0, 1, 4)
    images, texts = reference
    expected = []
    for group in pq.read_table(tmp_path / "groups.parquet").to_pylist():
        mine = [i for i, row in enumerate(rows) if row["text"] == group["text"]]
        expected.append(double_loop(images[mine]))
        assert group["scs"] == pytest.approx(expected[-1], abs=1e-3)
        cosines = (unit_rows(images[mine])[0] * unit_rows(texts[mine])[0]).sum(axis=1)
        assert group["clip_score"] == pytest.approx(max(100 * cosines.mean(), 0), abs=1e-3)
    assert np.ptp(expected) > 1, "the groups must differ, or nothing would be tested"
    assert line["scores"]["scs"]["value"] == pytest.approx(np.mean(expected), abs=1e-3)
    cosines = (unit_rows(images)[0] * unit_rows(texts)[0]).sum(axis=1)
    assert line["scores"]["clip-score"]["value"] == pytest.approx(max(100 * cosines.mean(), 0), abs=1e-3)


def test_scoring_with_an_exported_folder_needs_neither_transformers_nor_optimum(photos, tiny_export, tmp_path):
    code = (
        "import sys, semscale; semscale.score(sys.argv[1], out=sys.argv[2], model=sys.argv[3]);"
        "print([name for name in ('transformers', 'optimum', 'onnx', 'semscale_export') if name in sys.modules])"
    )
    arguments = [sys.executable, "-W", "error", "-c", code, str(photos[0]), str(tmp_path), str(tiny_export)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("[]", "", 0)
