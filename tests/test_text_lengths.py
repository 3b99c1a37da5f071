"""A causal text tower is given no more than up to the end of a text; one that attends to its padding is given all."""

from __future__ import annotations

import numpy as np
import pytest

from semscale.encoders import load_spec, ort
from semscale.encoders.ort import OrtEncoder

EVERY = 24  # ids that the tiny tower reads


@pytest.fixture
def encoder(tiny_export, monkeypatch):
    monkeypatch.setattr(ort, "LENGTHS", 8)
    with_threads = OrtEncoder(tiny_export / "text", threads=1)
    yield with_threads
    with_threads.close()


@pytest.fixture
def given(encoder, monkeypatch):
    """The shapes that the session was given."""
    shapes, run = [], encoder._run
    monkeypatch.setattr(encoder, "_run", lambda session, inputs: shapes.append(inputs.shape) or run(session, inputs))
    return shapes


def texts(encoder, *lengths):
    """One text a length, the end-of-text token included, padded with what no tower should look at."""
    rng, eos = np.random.default_rng(0), encoder.spec.tokens.eos
    ids = rng.integers(0, eos, (len(lengths), EVERY))
    for row, length in zip(ids, lengths, strict=True):
        row[length - 1] = eos
    return ids


def test_texts_are_cut_after_their_end_and_run_with_others_of_about_their_length(encoder, given):
    encoder.encode(texts(encoder, 3, 17, 8, 9, 24, 1))
    assert sorted({shape[1] for shape in given}) == [8, 16, 24]
    assert sum(rows for rows, length in given if length == 8) == 4  # those of 3, 8 and 1 ids, filled up


def test_the_embeddings_are_those_of_whole_texts_in_the_order_they_came(encoder):
    ids = texts(encoder, 24, 3, 17, 8, 9, 1, 2, 16)
    alone = np.concatenate([encoder.encode(ids[at : at + 1]) for at in range(len(ids))])
    found = encoder.encode(ids)
    np.testing.assert_allclose(found, alone, rtol=0, atol=1e-6)
    whole = OrtEncoder._run(encoder, encoder._session, ids)
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 1e-2  # texts differ, so that another order would show


def test_a_second_end_changes_nothing_and_a_text_without_one_is_given_whole(encoder, given):
    ids = texts(encoder, 4, 4)
    ids[1] = ids[0]
    ids[1, 12] = encoder.spec.tokens.eos
    np.testing.assert_array_equal(*encoder.encode(ids))
    given.clear()
    encoder.encode(np.zeros((1, EVERY), np.int64))
    assert given == [(1, EVERY)]


def test_the_same_bytes_whatever_comes_along(encoder):
    ids = texts(encoder, 5, 20, 6, 13, 24, 7, 2, 18)
    found = encoder.encode(ids)
    turned = np.random.default_rng(1).permutation(8)
    np.testing.assert_array_equal(encoder.encode(ids[turned]), found[turned])


def test_other_towers_are_given_all(tiny_export, encoder, given, monkeypatch):
    monkeypatch.setattr(encoder, "_input", type("Fixed", (), {"shape": ["batch", EVERY], "name": "input_ids"}))
    encoder.encode(texts(encoder, 3, 5))
    assert {shape[1] for shape in given} == {EVERY}
    assert load_spec(tiny_export / "image").tokens is None
