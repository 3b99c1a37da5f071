"""What to mind about images that are asked for, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from semscale.errors import UsageError
from semscale.producers.request import Producer
from semscale.producers.work import Planned

SHOWN = 100  # characters of a prompt in a note


def mixed_groups(plans: Sequence[Planned]) -> Iterator[str]:
    """A note where different edits would be one group."""
    texts = [plan.prompt.edited_text for plan in plans if plan.prompt.edited_text is not None]
    if len(set(texts)) < len(texts):
        yield (
            "some edits share a caption and differ in their instruction, negative prompt or source: "
            "score them with --group-by parent, or their images are one group"
        )


def refuse_negatives(label: str, plans: Sequence[Planned], there: Mapping[str, str | None]) -> None:
    """Raise UsageError for a text with two negative prompts under one label: the scorer groups by label and text.

    `there` has the texts of images that exist, with their negative prompts.
    """
    known = dict(there)
    for prompt in (plan.prompt for plan in plans if plan.prompt.source is None):
        negative = prompt.negative or None
        first = known.setdefault(prompt.text, negative)
        if first != negative:
            raise UsageError(
                f"{prompt.where or 'a prompt'}: {prompt.text!r:.60} with {_negative(negative)}, and under the label "
                f"{label!r} also with {_negative(first)}: `score` would take their images for one group. Give one of "
                "them in another file, with another --label"
            )


def overwritten(n_images: int) -> Iterator[str]:
    """A note where images are there that no line of metadata describes."""
    if n_images:
        yield f"images that metadata.jsonl does not describe, which are made again and overwritten: {n_images}"


def cut_off(plans: Sequence[Planned], producer: Producer) -> Iterator[str]:
    """Notes where prompts, or negative prompts, are longer than the model reads: their ends change no image."""
    cut = [(plan.prompt.text, plan.unread) for plan in plans if plan.unread]
    negatives = dict.fromkeys(plan.prompt.negative for plan in plans if plan.prompt.negative is not None)
    cut_negatives = [(text, unread) for text in negatives if (unread := producer.unread(text))]
    for what, found in (("prompts", cut), ("negative prompts", cut_negatives)):
        if found:
            text, unread = found[0]
            shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
            yield (
                f"{what} longer than {producer.name} reads, whose ends are cut off: {len(found)}; the first loses "
                f"{unread} of its tokens: {shown!r}"
            )


def differing(then: Mapping[str, object], now: Mapping[str, object]) -> dict[str, str]:
    """What is not the same, by its name, in words."""
    return {
        name: f"{name} was {_shown(then.get(name))} and is {_shown(now.get(name))}"
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    }


def _negative(text: str | None) -> str:
    return "no negative prompt" if text is None else f"the negative prompt {text!r:.60}"


def _shown(value: object) -> str:
    return "not there" if value is None else str(value)
