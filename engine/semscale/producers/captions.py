"""The captions of drawn scenes: a small English grammar, read, written, sampled and changed by one attribute.

    [count] [size] [texture] [colour] object [relation [count] [size] [texture] [colour] object] [background][, style]

"two small red striped circles left of a large blue star on a grassy field" is one. Every part but the object may be
missing; what a caption does not say, the drawing chooses by its seed.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from semscale.errors import UsageError

COUNTS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
COUNT_WORDS = ("a", "two", "three", "four", "five")
SIZES = ("small", "medium", "large")
TEXTURES = ("striped", "spotted", "checkered", "hollow", "glowing", "shiny")
COLOURS = {
    "red": (212, 36, 40),
    "orange": (246, 130, 28),
    "yellow": (250, 218, 45),
    "green": (44, 158, 66),
    "blue": (38, 86, 218),
    "purple": (128, 54, 176),
    "pink": (248, 142, 192),
    "brown": (122, 76, 42),
    "black": (28, 28, 30),
    "white": (246, 246, 246),
    "gray": (136, 138, 142),
    "turquoise": (48, 200, 198),
}
# fmt: off
OBJECTS = (
    "circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond", "hexagon", "crescent",
    "arrow", "house", "tree", "fish", "flower", "cloud", "mushroom", "car", "boat", "cup",
    "bolt", "cat", "drop", "umbrella", "leaf", "rocket", "butterfly", "key", "crown", "hourglass",
)
# fmt: on
_IRREGULAR = {
    "cross": "crosses",
    "fish": "fish",
    "leaf": "leaves",
    "butterfly": "butterflies",
    "hourglass": "hourglasses",
}
PLURALS = {name: _IRREGULAR.get(name, f"{name}s") for name in OBJECTS}
_NOUNS = {plural: name for name, plural in PLURALS.items()} | {name: name for name in OBJECTS}
RELATIONS = ("left of", "right of", "above", "below", "inside", "around")
BACKGROUNDS = (
    "on a grassy field",
    "on a sandy beach",
    "in the desert",
    "in a snowy valley",
    "under a starry sky",
    "in the ocean",
    "on a brick wall",
    "on a wooden table",
    "on a chess board",
    "in a dark forest",
    "at sunset",
    "in heavy rain",
    "on graph paper",
    "on a city street",
)
STYLES = (
    "watercolor style",
    "pencil sketch",
    "pixel art",
    "neon style",
    "blueprint style",
    "comic style",
    "vintage photo",
    "mosaic style",
    "at night",
    "chalk drawing",
)
COVERING_STYLES = ("pencil sketch", "neon style", "blueprint style", "chalk drawing")  # bring their own background
ATTRIBUTES = ("object", "colour", "count", "size", "texture", "relation", "background", "style")
_VALUES = {
    "object": OBJECTS,
    "colour": tuple(COLOURS),
    "count": (1, 2, 3, 4, 5),
    "size": SIZES,
    "texture": TEXTURES,
    "relation": RELATIONS,
    "background": BACKGROUNDS,
    "style": STYLES,
}
VOCABULARY = {**_VALUES, "count": tuple(COUNTS), "object": tuple(word for pair in PLURALS.items() for word in pair)}


@dataclass(frozen=True, slots=True)
class Thing:
    """One noun phrase: how many of what, and what they look like. None is "not said"."""

    object: str
    count: int = 1
    colour: str | None = None
    size: str | None = None
    texture: str | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """What a caption says. `relation` and `second` are both given or both None."""

    first: Thing
    relation: str | None = None
    second: Thing | None = None
    background: str | None = None
    style: str | None = None


_Item = TypeVar("_Item", Thing, Scene)


def caption(scene: Scene) -> str:
    """Return the one English caption of `scene`; `parse` is its inverse."""
    text = _noun_phrase(scene.first)
    if scene.second is not None:
        text += f" {scene.relation} {_noun_phrase(scene.second)}"
    if scene.background is not None:
        text += f" {scene.background}"
    return text if scene.style is None else f"{text}, {scene.style}"


def _noun_phrase(thing: Thing) -> str:
    noun = thing.object if thing.count == 1 else PLURALS[thing.object]
    words = [word for word in (thing.size, thing.colour, thing.texture) if word is not None] + [noun]
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article if thing.count == 1 else COUNT_WORDS[thing.count - 1], *words])


@functools.lru_cache(maxsize=4096)
def parse(prompt: str) -> Scene:
    """Read a caption; case and the order of a noun's adjectives do not matter.

    Raises UsageError naming the first word that no scene can show.
    """
    rest, comma, last = prompt.lower().strip().rpartition(", ")
    style = last if comma else None
    if style is not None and style not in STYLES:
        _refuse(style, prompt, "a style", STYLES)
    text = rest if comma else last
    background = next((phrase for phrase in BACKGROUNDS if text.endswith(f" {phrase}")), None)
    if background is not None:
        text = text.removesuffix(f" {background}")
    for relation in RELATIONS:
        first, found, second = text.partition(f" {relation} ")
        if found:
            return Scene(_parse_thing(first, prompt), relation, _parse_thing(second, prompt), background, style)
    return Scene(_parse_thing(text, prompt), background=background, style=style)


def _parse_thing(text: str, prompt: str) -> Thing:
    *adjectives, noun = text.split() or [""]
    if noun not in _NOUNS:
        _refuse(noun, prompt, "an object", OBJECTS)
    fields: dict[str, str | int] = {"object": _NOUNS[noun]}
    for word in adjectives:
        kind = next((kind for kind in ("count", "size", "texture", "colour") if word in VOCABULARY[kind]), None)
        if kind is None:
            _refuse(word, prompt, "a count, size, texture or colour", (*COUNT_WORDS, *SIZES, *TEXTURES, *COLOURS))
        fields[kind] = COUNTS[word] if kind == "count" else word
    return Thing(**fields)  # type: ignore[arg-type]


def _refuse(word: str, prompt: str, what: str, known: tuple[str, ...]) -> NoReturn:
    raise UsageError(f"prompt {prompt!r}: {word!r} is not {what} that scenes can draw; choose from {', '.join(known)}")


def sample_prompt(rng: random.Random) -> str:
    """Return a random caption. `rng` is a `random.Random`, whose stream is the same on every platform."""
    return caption(sample_scene(rng))


def sample_scene(rng: random.Random) -> Scene:
    """Return a random scene that can be told apart at 64 pixels (see `fits`)."""
    while True:
        related = rng.random() < 0.4
        scene = Scene(
            _sample_thing(rng, rng.choice((1, 1, 2, 3, 4, 5))),
            rng.choice(RELATIONS) if related else None,
            _sample_thing(rng, 1) if related else None,
            _maybe(BACKGROUNDS, 0.5, rng),
            _maybe(STYLES, 0.4, rng),
        )
        if fits(scene):
            return scene


def _sample_thing(rng: random.Random, count: int) -> Thing:
    colour, size, texture = _maybe(tuple(COLOURS), 0.9, rng), _maybe(SIZES, 0.45, rng), _maybe(TEXTURES, 0.45, rng)
    return Thing(rng.choice(OBJECTS), count, colour, size, texture)


def _maybe(values: tuple[str, ...], chance: float, rng: random.Random) -> str | None:
    return rng.choice(values) if rng.random() < chance else None


def fits(scene: Scene) -> bool:
    """Whether every attribute of `scene` can be seen in a drawing of 64 pixels; `draw` draws the others too."""
    if scene.background is not None and scene.style in COVERING_STYLES:
        return False
    if scene.style == "pixel art" and (scene.first.count > 2 or scene.second is not None):
        return False
    if scene.second is None:
        return True
    if scene.relation == "inside":
        return scene.first.count == 1 and scene.second.size is None and scene.first.object != scene.second.object
    counts = (3, 4, 5) if scene.relation == "around" else (1, 2, 3)
    return scene.first.count in counts and scene.first.object != scene.second.object


def hard_negative(prompt: str, kind: str, rng: random.Random) -> str | None:
    """Return `prompt` with exactly one attribute of `kind` changed to another value.

    `kind` is one of ATTRIBUTES. None where the caption says nothing of that kind, or no other value fits the rest.
    Raises UsageError for an unknown kind or word.
    """
    if kind not in ATTRIBUTES:
        raise UsageError(f"unknown attribute kind {kind!r}; choose from {', '.join(ATTRIBUTES)}")
    changed = change(parse(prompt), kind, rng)
    return None if changed is None else caption(changed)


def change(scene: Scene, kind: str, rng: random.Random) -> Scene | None:
    """Return `scene` with one attribute of `kind` changed, or None (see `hard_negative`)."""
    if kind in ("relation", "background", "style"):
        variants = _variants(scene, kind)
    else:
        first = [dataclasses.replace(scene, first=thing) for thing in _variants(scene.first, kind)]
        # The second noun is always a single one, so only the first can be counted wrongly.
        second = _variants(scene.second, kind) if scene.second is not None and kind != "count" else []
        other = [dataclasses.replace(scene, second=thing) for thing in second]
        variants = rng.choice([first, other]) if first and other else first or other
    fitting = [variant for variant in variants if fits(variant)]
    return rng.choice(fitting) if fitting else None


def _variants(item: _Item, kind: str) -> list[_Item]:
    now = getattr(item, kind)
    return [] if now is None else [dataclasses.replace(item, **{kind: v}) for v in _VALUES[kind] if v != now]
