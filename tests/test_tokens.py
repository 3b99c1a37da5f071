"""Texts to ids: the same as transformers, end of text always kept."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from checkpoints import CLIP_TOKENIZER, copy_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizerFast

from semscale.encoders import load_spec
from semscale.errors import ModelError
from semscale.model import Tokens
from semscale.tokens import Tokenizer

needs_clip = pytest.mark.skipif(not CLIP_TOKENIZER.is_dir(), reason="no CLIP tokenizer here")
TEXTS = [
    "a photo of a cat",
    "",
    "   ",
    "A PHOTO\tof\n\na Cat!!",
    "word " * 200,
    "x" * 3000,
    "naïve café 東京の夜景 👩‍🚀 ﬁ ß İ",
    "it's we'll 12345",
    "<|endoftext|> inside <|startoftext|> a text",
    "zero\0byte",
]


def write_tower(folder, tiny_export, tokens, tokenizer_json):
    folder.mkdir(exist_ok=True)
    spec = replace(load_spec(tiny_export / "text"), tokens=tokens, input_shape=(tokens.length,))
    (folder / "model.json").write_text(spec.to_json())
    shutil.copyfile(tokenizer_json, folder / "tokenizer.json")
    return folder


@pytest.fixture
def clip(tiny_export, tmp_path):
    """The OpenAI tokenizer as an exported tower has it."""
    return Tokenizer(write_tower(tmp_path, tiny_export, Tokens(77, 49407, 49407), CLIP_TOKENIZER / "tokenizer.json"))


def by_transformers(folder, texts, length):
    tokenizer = CLIPTokenizerFast.from_pretrained(folder)
    return tokenizer(texts, padding="max_length", truncation=True, max_length=length)["input_ids"]


@needs_clip
def test_published_ids(clip):
    ids, truncated = clip.encode(["a photo of a cat"])
    assert ids.dtype == np.int64
    assert ids.tolist() == [[49406, 320, 1125, 539, 320, 2368, 49407] + [49407] * 70]
    assert truncated.tolist() == [False]


@needs_clip
def test_equal_to_transformers(clip, tmp_path):
    copy_tokenizer(CLIP_TOKENIZER, tmp_path)
    np.testing.assert_array_equal(clip.encode(TEXTS)[0], by_transformers(tmp_path, TEXTS, 77))


def test_equal_to_transformers_from_vocabulary_and_merges(tiny_checkpoint, tiny_export):
    ids, _ = Tokenizer(tiny_export / "text").encode(TEXTS)
    np.testing.assert_array_equal(ids, by_transformers(tiny_checkpoint, TEXTS, 24))


@given(st.lists(st.text(max_size=60), max_size=4))
@settings(deadline=None, derandomize=True)
def test_any_text_equals_transformers(tiny_checkpoint, tiny_export, texts):
    ids, truncated = Tokenizer(tiny_export / "text").encode(texts)
    assert ids.shape == (len(texts), 24)
    assert truncated.shape == (len(texts),)
    if texts:
        np.testing.assert_array_equal(ids, by_transformers(tiny_checkpoint, texts, 24))


def test_truncation_keeps_the_end_of_text_last(tiny_export):
    eos = load_spec(tiny_export / "text").tokens.eos
    letters = "bdefg" * 10  # one token a letter
    texts = [letters[:21], letters[:22], letters[:23]]
    ids, truncated = Tokenizer(tiny_export / "text").encode(texts)
    assert truncated.tolist() == [False, False, True]
    assert [row.tolist().index(eos) for row in ids] == [22, 23, 23]
    np.testing.assert_array_equal(ids[1, :22], ids[2, :22])


def test_padding_follows_the_end_of_text(tiny_export, tmp_path):
    tokens = replace(load_spec(tiny_export / "text").tokens, pad=0)
    tokenizer = Tokenizer(write_tower(tmp_path, tiny_export, tokens, tiny_export / "text/tokenizer.json"))
    ids, _ = tokenizer.encode(["cat"])
    assert ids[0, 2] == tokens.eos
    assert (ids[0, 3:] == 0).all()
    assert tokens.eos not in ids[0, :2]


def test_no_texts(tiny_export):
    ids, truncated = Tokenizer(tiny_export / "text").encode([])
    assert (ids.shape, ids.dtype, truncated.shape, truncated.dtype) == ((0, 24), np.int64, (0,), np.bool_)


def test_half_a_surrogate_pair_is_read_as_a_question_mark(tiny_export):
    tokenizer = Tokenizer(tiny_export / "text")
    np.testing.assert_array_equal(tokenizer.encode(["a \ud83d b"])[0], tokenizer.encode(["a ? b"])[0])


def test_forking_after_tokenising_is_silent(tiny_export):
    code = (
        "import os, sys; from pathlib import Path; from semscale.tokens import Tokenizer\n"
        "tokenizer = Tokenizer(Path(sys.argv[1])); texts = ['a cat'] * 64; tokenizer.encode(texts)\n"
        "child = os.fork()\n"
        "tokenizer.encode(texts)\n"
        "os._exit(0) if child == 0 else os.waitpid(child, 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tiny_export / "text"], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_tokenizer_without_end_of_text_is_refused(tiny_export, tmp_path):
    content = json.loads((tiny_export / "text/tokenizer.json").read_text())
    content["post_processor"] = None
    (tmp_path / "bare.json").write_text(json.dumps(content))
    tokens = load_spec(tiny_export / "text").tokens
    with pytest.raises(ModelError, match="does not end a text with id"):
        Tokenizer(write_tower(tmp_path / "tower", tiny_export, tokens, tmp_path / "bare.json"))


def test_missing_or_damaged_files_are_named(tiny_export, tmp_path):
    with pytest.raises(ModelError, match=r"model\.json: cannot be read"):
        Tokenizer(tmp_path)
    with pytest.raises(ModelError, match="not a text tower"):
        Tokenizer(tiny_export / "image")
    shutil.copyfile(tiny_export / "text/model.json", tmp_path / "model.json")
    with pytest.raises(ModelError, match=r"tokenizer\.json: no such file"):
        Tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json: not a tokenizer"):
        Tokenizer(tmp_path)
