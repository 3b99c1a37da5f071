"""Drawn scenes: what a caption says is what the picture shows, and nothing else decides the pixels."""

import dataclasses
import random

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from semscale.errors import UsageError
from semscale.producers import captions
from semscale.producers.scenes import (
    ATTRIBUTES,
    VOCABULARY,
    arrangement,
    draw,
    generate,
    hard_negative,
    parse,
    sample_prompt,
)

SEEDS = range(6)


def sampled(count, seed=0):
    rng = random.Random(seed)
    return [sample_prompt(rng) for _ in range(count)]


def pixels(prompt, seed=0, size=128):
    return np.asarray(draw(prompt, seed, size=size)).astype(int)


def red(image):
    return (image[..., 0] > 150) & (image[..., 1] < 90) & (image[..., 2] < 90)


def blue(image):
    return (image[..., 2] > 150) & (image[..., 0] < 90) & (image[..., 1] < 130)


def centre(mask):
    row, column = ndimage.center_of_mass(mask)
    return column, row


def test_pixels_depend_on_prompt_seed_and_size_alone():
    prompt = "two small red striped circles left of a large blue star on a grassy field, watercolor style"
    random.seed(1)
    first = pixels(prompt, seed=3)
    random.seed(2)
    draw("a cat", 9)
    np.testing.assert_array_equal(first, pixels(prompt, seed=3))
    assert (first != pixels(prompt, seed=4)).any()


GOLDEN = {  # 8 x 8 mean greys in 16 steps, made with Pillow 13.0
    "three green spotted cats inside a large yellow ring": (
        "ccbbbbcccaccccacaccccccaaccbbccaaccbbccaaccccccacaccccacccbaaacc"
    ),
    "a red star left of a blue cup in the ocean, at night": (
        "2222224422222244233233322442344322323442111111111111111111111111"
    ),
}


@pytest.mark.parametrize("prompt", GOLDEN)
def test_golden_drawing(prompt):
    greys = (np.asarray(draw(prompt, 7, size=64).convert("L").reduce(8)) // 16).ravel()
    golden = [int(digit, 16) for digit in GOLDEN[prompt]]
    assert np.abs(greys.astype(int) - golden).max() <= 1  # a tone on the edge of a step may fall to either side


@pytest.mark.parametrize("size", [32, 64, 100, 256])
def test_draws_rgb_at_any_size(size):
    image = draw("a white crown on a brick wall, mosaic style", 0, size=size)
    assert (image.mode, image.size) == ("RGB", (size, size))


def test_too_small_a_size_is_refused():
    with pytest.raises(UsageError, match="size 31"):
        draw("a star", 0, size=31)


def test_the_same_seed_shows_the_same_scene_at_every_size():
    prompt = "four purple hexagons in the desert"
    large = draw(prompt, 5, size=256).resize((64, 64), Image.Resampling.BOX)
    assert np.abs(np.asarray(large).astype(int) - pixels(prompt, 5, 64)).mean() < 6


@pytest.mark.parametrize(("word", "count"), [("a", 1), ("two", 2), ("three", 3), ("four", 4), ("five", 5)])
def test_count_is_the_number_of_separate_objects(word, count):
    noun = "square" if count == 1 else "squares"
    found = [ndimage.label(red(pixels(f"{word} red {noun}", seed)))[1] for seed in SEEDS]
    assert found == [count] * len(SEEDS)


@pytest.mark.parametrize("relation", ["left of", "right of", "above", "below"])
def test_relation_puts_the_first_object_on_its_side(relation):
    for seed in SEEDS:
        image = pixels(f"a red circle {relation} a blue circle", seed)
        (x, y), (other_x, other_y) = centre(red(image)), centre(blue(image))
        apart = {"left of": other_x - x, "right of": x - other_x, "above": other_y - y, "below": y - other_y}
        assert apart[relation] > 128 / 4
        assert max(apart, key=apart.get) == relation


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("suffix", ["", " on a city street", ", at night", ", neon style"])
def test_arrangement_is_where_the_objects_are_drawn(size, suffix):
    prompt = f"a red square above a white cup{suffix}"
    for seed in SEEDS:
        (place,) = next(found for thing, found in arrangement(prompt, seed) if thing.object == "square")
        # Only the square's own surroundings: neon lines and roofs may be red too.
        x, y, reach = (round(value * size) for value in (place.x, place.y, place.radius))
        near = red(pixels(prompt, seed, size))[y - reach : y + reach, x - reach : x + reach]
        np.testing.assert_allclose(centre(near), (reach, reach), atol=2 + size / 64)


def test_inside_is_enclosed_and_around_encloses():
    inside, around = pixels("a red circle inside a blue square"), pixels("five red circles around a blue square")
    rows, columns = np.nonzero(red(inside))
    outer_rows, outer_columns = np.nonzero(blue(inside))
    assert outer_rows.min() < rows.min() and rows.max() < outer_rows.max()
    assert outer_columns.min() < columns.min() and columns.max() < outer_columns.max()
    ring_rows, _ = np.nonzero(red(around))
    core_rows, _ = np.nonzero(blue(around))
    assert ring_rows.min() < core_rows.min() and core_rows.max() < ring_rows.max()


def test_sizes_do_not_overlap():
    areas = {size: [red(pixels(f"a {size} red circle", seed)).sum() for seed in SEEDS] for size in captions.SIZES}
    assert max(areas["small"]) < min(areas["medium"])
    assert max(areas["medium"]) < min(areas["large"])


def test_stated_colours_are_the_nearest_named_ones():
    names = list(captions.COLOURS)
    table = np.array(list(captions.COLOURS.values()))
    for name in names:
        middle = pixels(f"a {name} circle", 1)[62:66, 62:66].mean(axis=(0, 1))
        assert names[np.square(table - middle).sum(axis=1).argmin()] == name


def test_an_unstated_colour_varies_with_the_seed():
    middles = np.array([pixels("a large circle", seed)[64, 64] for seed in range(12)])
    assert middles.std(axis=0).max() > 40


@pytest.mark.parametrize("texture", captions.TEXTURES)
def test_textures_leave_less_of_the_plain_colour(texture):
    plain = np.mean([red(pixels("a large red circle", seed)).sum() for seed in SEEDS])
    textured = np.mean([red(pixels(f"a large red {texture} circle", seed)).sum() for seed in SEEDS])
    assert 0.1 * plain < textured < 0.85 * plain


@pytest.mark.parametrize("phrases", [[f" {b}" for b in captions.BACKGROUNDS], [f", {s}" for s in captions.STYLES]])
def test_backgrounds_and_styles_differ_more_than_seeds_do(phrases):
    seen = np.array([[surroundings(f"a small red star{phrase}", seed) for seed in SEEDS] for phrase in phrases])
    means = seen.mean(axis=1)
    nearest = [np.square(row - means).sum(axis=1).argmin() for rows in seen for row in rows]
    assert np.mean(nearest == np.repeat(np.arange(len(phrases)), len(SEEDS))) > 0.9


def surroundings(prompt, seed):
    """Mean tones of a 4 x 4 grid without its middle, where the object is, and how rough it is there."""
    image, border = draw(prompt, seed, size=64), np.ones((4, 4), bool)
    border[1:3, 1:3] = False
    blocks = np.asarray(image).astype(float).reshape(4, 16, 4, 16, 3)
    return np.concatenate([blocks.mean(axis=(1, 3))[border].ravel(), blocks.std(axis=(1, 3))[border].ravel()])


def test_all_objects_are_drawn_differently():
    shapes = [red(pixels(f"a large red {name}", 2)).ravel() for name in captions.OBJECTS]
    overlap = [(a & b).sum() / (a | b).sum() for row, a in enumerate(shapes) for b in shapes[:row]]
    assert max(overlap) < 0.93


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("a red zebra", "zebra"),
        ("a mauve star", "mauve"),
        ("six stars", "six"),
        ("a star beside a cup", "beside"),
        ("a star, cubist style", "cubist style"),
        ("", "''"),
    ],
)
def test_an_unknown_word_is_named(prompt, word):
    with pytest.raises(UsageError, match=word):
        draw(prompt, 0)


def test_captions_have_at_least_a_hundred_words():
    words = {word for prompt in sampled(4000) for word in prompt.replace(",", "").split()}
    assert len(words) >= 100


def test_every_value_of_the_vocabulary_can_be_drawn():
    assert set(VOCABULARY) == set(ATTRIBUTES)
    for name in captions.OBJECTS:
        draw(f"a {name}", 0, size=32)
    for background in captions.BACKGROUNDS:
        draw(f"a star {background}", 0, size=32)
    for style in captions.STYLES:
        draw(f"a star on a brick wall, {style}", 0, size=32)


def test_caption_and_parse_are_inverse():
    for prompt in sampled(500):
        assert captions.caption(parse(prompt)) == prompt


def test_case_and_adjective_order_do_not_matter():
    assert parse("Two RED small striped Circles") == parse("two small red striped circles")


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_a_hard_negative_differs_in_exactly_one_attribute(kind):
    rng, seen = random.Random(kind), 0
    for prompt in sampled(200):
        negative = hard_negative(prompt, kind, rng)
        if negative is None:
            continue
        before, after = (dataclasses.asdict(parse(text)) for text in (prompt, negative))
        different = [name for name in flat(before) if flat(before)[name] != flat(after)[name]]
        assert [name.split(".")[-1] for name in different] == [kind]
        seen += 1
    assert seen > 30


def flat(scene):
    parts = {f"{side}.{name}": value for side in ("first", "second") for name, value in (scene[side] or {}).items()}
    return parts | {name: scene[name] for name in ("relation", "background", "style")}


def test_a_hard_negative_of_what_is_not_said_is_none():
    assert hard_negative("a star", "background", random.Random(0)) is None
    with pytest.raises(UsageError, match="shape"):
        hard_negative("a star", "shape", random.Random(0))


def test_generate_writes_model_prompt_seed(tmp_path):
    prompts = ["a red star", "two blue cups, at night"]
    written = generate(prompts, [0, 7], tmp_path, model="exact", size=64)
    names = [path.relative_to(tmp_path).as_posix() for path in written]
    assert names == [f"exact/{prompt}/{seed}.png" for prompt in prompts for seed in (0, 7)]
    with Image.open(written[1]) as image:
        np.testing.assert_array_equal(np.asarray(image).astype(int), pixels("a red star", 7, 64))


def test_fidelity_is_the_share_of_attributes_drawn_right(tmp_path):
    def wrong(fidelity):
        paths = generate(["a red circle"], range(60), tmp_path, model=f"model-{fidelity}", fidelity=fidelity, size=64)
        return sum(not red(np.asarray(Image.open(path)).astype(int)).any() for path in paths) / len(paths)

    assert wrong(1.0) == 0
    assert wrong(0.0) == 1
    assert 0.15 < wrong(0.7) < 0.45  # 0.3 expected; +-2.5 standard errors of 60 images


def test_generate_repeats_itself_and_models_differ(tmp_path):
    def run(folder, model):
        paths = generate(["a red circle at sunset"], range(8), tmp_path / folder, model=model, fidelity=0.5, size=64)
        return [path.read_bytes() for path in paths]

    assert run("one", "m") == run("two", "m")
    assert run("one", "m") != run("three", "other")


def test_generate_refuses_what_is_no_probability(tmp_path):
    with pytest.raises(UsageError, match=r"fidelity 1\.5"):
        generate(["a star"], [0], tmp_path, model="m", fidelity=1.5)
