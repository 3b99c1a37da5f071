"""The bundled demo encoder does what its card says, and its training learns."""

import json
import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import semscale.producers
from semscale.producers.scenes import ATTRIBUTES, parse

pytest.importorskip("transformers", reason="needs the export extra")

import torch

from semscale_export import demo_data, demo_evaluation, demo_training
from semscale_export.demo_evaluation import DemoEncoder, Rate
from semscale_export.demo_tokenizer import EOS, train_tokenizer

CHECKPOINT = Path(semscale.producers.__file__).parents[1] / "demo" / "checkpoint"
SEED = 20_000  # other scenes than those of the card
TINY = demo_training.Recipe(
    scenes=48, steps=25, batch=16, warmup=5, image_width=32, image_layers=1, text_width=32, text_layers=1, dim=32
)


@pytest.fixture(scope="module")
def measured():
    return demo_evaluation.evaluate(CHECKPOINT, count=200, seed=SEED)


@pytest.fixture(scope="module")
def tiny_set(tmp_path_factory):
    prompts, pixels = zip(*(demo_data.rendered(index, seed=0) for index in range(TINY.scenes)), strict=True)
    folder = tmp_path_factory.mktemp("tokenizer")
    return demo_data.SceneSet(list(prompts), np.stack(pixels)), train_tokenizer(prompts, 60, folder), folder


def test_checkpoint_is_small_and_safe():
    files = {path.name: path.stat().st_size for path in CHECKPOINT.iterdir()}
    assert sum(files.values()) < 10e6
    assert set(files) == {
        "README.md",
        "config.json",
        "merges.txt",
        "model.safetensors",
        "preprocessor_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
    }
    assert json.loads((CHECKPOINT / "config.json").read_text())["semscale_note"] == "demo encoder: drawn scenes only"


def test_finds_the_right_caption_among_32(measured):
    assert measured["retrieval"].n == 200
    assert measured["retrieval"].value > 0.95


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_tells_a_caption_from_one_with_one_attribute_changed(measured, kind):
    assert measured[kind].n >= 40
    assert measured[kind].value > 0.8


def test_the_card_states_what_was_measured(measured):
    card = (CHECKPOINT / "README.md").read_text()
    for kind in ATTRIBUTES:
        share = next(line.split("|")[4] for line in card.splitlines() if line.startswith(f"| another {kind} |"))
        # Fresh scenes must agree with the card within three standard errors of the smaller sample.
        assert abs(float(share.strip(" %")) / 100 - measured[kind].value) < 3 * np.sqrt(0.16 / measured[kind].n)


def test_tokenizer_has_no_unknown_token_and_keeps_the_end():
    tokenizer = DemoEncoder(CHECKPOINT).tokenizer
    for text in ("a red star", "Zürich ☂ 42!", ""):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert ids.index(tokenizer.convert_tokens_to_ids(EOS)) == len(ids) - 1
    assert tokenizer("A Red STAR")["input_ids"] == tokenizer("a red star")["input_ids"]


def test_tokenizer_file_pads_and_cuts_nothing_by_itself():
    rules = json.loads((CHECKPOINT / "tokenizer.json").read_text())
    assert rules["padding"] is None
    assert rules["truncation"] is None


def test_a_prefix_does_not_lose_the_caption():
    encoder = DemoEncoder(CHECKPOINT)
    scenes = demo_evaluation.held_out_scenes(64, seed=SEED, size=64)
    prefixed = encoder.texts([f"A photo depicts {prompt}" for prompt in scenes.prompts])
    nearest = (prefixed @ encoder.texts(scenes.prompts).T).argmax(axis=1)
    assert (nearest == np.arange(64)).sum() >= 61  # by chance 1


def test_rate_has_wilsons_interval():
    low, high = Rate(90, 100).interval()
    assert (round(low, 4), round(high, 4)) == (0.8256, 0.9448)  # Wilson 1927, by hand


def test_retrieval_counts_a_tie_as_wrong():
    texts = np.eye(40, dtype=np.float32)
    assert demo_evaluation.retrieval(texts, texts, seed=0).value == 1
    assert demo_evaluation.retrieval(texts, np.ones_like(texts), seed=0).value == 0


def test_no_training_text_is_held_out(tiny_set):
    scenes, _, _ = tiny_set
    batch = next(demo_data.batches(scenes, 48, 4, seed=0))
    stripped = [text.removeprefix(next(filter(text.startswith, demo_data.PREFIXES), "")) for text in batch.negatives]
    assert not any(demo_data.is_held_out(text) for text in [*scenes.prompts, *stripped])
    held = [demo_data.sample_split_prompt(random.Random(seed), held_out=True) for seed in range(5)]
    assert all(demo_data.is_held_out(prompt) for prompt in held)


def test_training_negatives_are_wrong_captions():
    prompt = "two small red striped circles left of a large blue star in the desert, at night"
    negatives = demo_data.training_negatives(prompt, 6, random.Random(0))
    assert len(negatives) == 6
    assert prompt not in negatives
    assert len({str(parse(text)) for text in negatives}) > 3


def test_labels_answer_the_questions():
    prompt = "two small red circles left of a striped star in the desert"
    found = dict(zip(demo_data.QUESTIONS, demo_data.labels(prompt), strict=True))
    open_questions = {question for question, label in found.items() if label == demo_data.IGNORED}
    assert open_questions == {("second", "colour"), ("second", "size")}
    answers = {q: demo_data.answers(q)[label] for q, label in found.items() if q not in open_questions}
    assert answers["first", "count"] == 2
    assert answers["second", "texture"] == "striped"
    assert answers["scene", "relation"] == "left of"
    assert answers["scene", "style"] is None


def test_two_captions_of_one_picture_have_the_same_labels():
    same = [
        ("a red cat left of two blue cups", "two blue cups right of a red cat"),
        ("a cat above a cup", "a cup below a cat"),
    ]
    for one, other in same:
        assert demo_data.labels(one) == demo_data.labels(other)
    assert demo_data.labels("a cat left of a cup") != demo_data.labels("a cup left of a cat")
    assert demo_data.labels("a cat inside a cup") != demo_data.labels("a cup inside a cat")


def test_patch_labels_show_what_is_where():
    found = demo_data.patch_labels("a large striped star left of a large cup", 3).reshape(8, 8, 2)
    objects = demo_data.answers(("second", "object"))
    left, right = ({objects[label] for label in found[:, half, 0].ravel()} for half in (slice(0, 3), slice(5, 8)))
    assert (left, right) == ({None, "star"}, {None, "cup"})
    empty = found[..., 0] == 0
    np.testing.assert_array_equal(found[..., 1] == demo_data.IGNORED, empty)
    assert 8 < empty.sum() < 50


def test_preprocessing_is_what_the_checkpoint_says():
    # A wide image too, so that the crop counts; the processor rounds to uint8 between its steps as we do.
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8))
    processor = DemoEncoder(CHECKPOINT).processor
    expected = processor(images=image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(demo_data.preprocess(image), expected.transpose(1, 2, 0))


def test_augmentation_keeps_shape_and_range():
    pixels = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    out = demo_training.augment(pixels, torch.Generator().manual_seed(0))
    assert out.shape == (4, 3, 64, 64)
    assert -1 <= out.min() < -0.5 < 0.5 < out.max() <= 1


def test_loss_falls_when_right_captions_are_nearest():
    right = torch.nn.functional.normalize(torch.randn(8, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    wrong = -right.repeat_interleave(2, dim=0)
    scale = torch.tensor(20.0)
    good = demo_training.contrastive_loss(right, torch.cat([right, wrong]), scale)
    bad = demo_training.contrastive_loss(right, torch.cat([-right, -wrong]), scale)
    assert good < 0.1 < bad


def test_training_reduces_the_loss_repeats_and_loads_back(tiny_set):
    scenes, tokenizer, folder = tiny_set

    def run(steps):
        trainer = demo_training.Trainer(demo_training.build_model(TINY, tokenizer), tokenizer, TINY)
        data = demo_data.batches(scenes, TINY.batch, TINY.negatives, seed=0)
        return trainer, [trainer.step(batch) for batch in islice(data, steps)]

    trainer, losses = run(TINY.steps)
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])
    np.testing.assert_allclose(run(3)[1], losses[:3], rtol=1e-4)
    demo_training.save(trainer, folder)
    encoder = DemoEncoder(folder)
    assert encoder.texts(["a red star"]).shape == (1, TINY.dim)
    assert encoder.model.config.text_config.eos_token_id == tokenizer.eos_token_id


def test_card_has_every_measured_rate():
    results = {"retrieval": Rate(31, 32)} | {kind: Rate(k, 40) for k, kind in enumerate(ATTRIBUTES, start=20)}
    card = demo_evaluation.model_card(results, replace(TINY, steps=123), parameters=1_500_000)
    assert "1.5 million" in card
    assert "123 steps" in card
    assert "| 31 captions of other scenes | 31 | 32 | 96.9%" in card
    assert "| another style | 27 | 40 | 67.5%" in card
