"""The best and the worst groups, with pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from semscale.report.format import clean, number, plural, shorten, span, tail
from semscale.report.groups import Group
from semscale.report.images import Member, members_of
from semscale.report.thumbs import Thumb, thumbnail

MAX_IMAGES = 8  # of one group


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of a group, with its caption."""

    thumb: Thumb
    key: str
    short_key: str
    badges: tuple[str, ...]  # "medoid", "outlier"
    similarity: str
    alt: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One group: its numbers and its pictures."""

    group: Group
    title: str
    value: str
    interval: str
    n: str
    pairs: str
    clip_score: str
    pictures: tuple[Picture, ...]


def panels(images: Path, groups: list[Group]) -> list[Panel]:
    """Return a panel for each group, with up to MAX_IMAGES pictures. Errors as in `images.members_of`."""
    members = members_of(images, groups, limit=MAX_IMAGES) if groups else []
    return [_panel(group, shown) for group, shown in zip(groups, members, strict=True)]


def _panel(group: Group, members: list[Member]) -> Panel:
    return Panel(
        group=group,
        title=shorten(group.group, 200),
        value=number(group.scs),
        interval=span(group.scs_low, group.scs_high),
        n=plural(group.n, "image"),
        pairs=span(group.min_similarity, group.max_similarity),
        clip_score=number(group.clip_score),
        pictures=tuple(_picture(group, member, folder=_common_folder(members)) for member in members),
    )


def _common_folder(members: list[Member]) -> str:
    folders = {"".join(member.key.rpartition("/")[:2]) for member in members}
    return folders.pop() if len(folders) == 1 else ""


def _picture(group: Group, member: Member, *, folder: str) -> Picture:
    roles = (("medoid", group.medoid_key), ("outlier", group.outlier_key))
    badges = tuple(role for role, key in roles if key == member.key)
    return Picture(
        thumb=thumbnail(member),
        key=clean(member.key),
        short_key=tail(member.key[len(folder) :]),
        badges=badges,
        similarity=number(member.group_similarity, 1),
        alt=f"{', '.join(badges) or 'image'} of group {shorten(group.group, 80)}: {tail(member.key)}",
    )
