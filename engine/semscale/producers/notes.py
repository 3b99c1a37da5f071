"""What to mind about images that are asked for, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from semscale.producers.request import Producer
from semscale.producers.work import Planned

SHOWN = 100  # characters of a prompt in a note


def mixed_groups(plans: Sequence[Planned]) -> Iterator[str]:
    """A note where images of different requests would be one group."""
    shown = [plan.prompt.edited_text if plan.prompt.source else plan.prompt.text for plan in plans]
    texts = [text for text in shown if text is not None]
    if len(set(texts)) < len(texts):
        yield (
            "some prompts share a text and differ in their negative prompt or source: "
            "score them with --group-by parent, or their images are one group"
        )


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


def _shown(value: object) -> str:
    return "not there" if value is None else str(value)
