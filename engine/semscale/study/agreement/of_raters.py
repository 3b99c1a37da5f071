"""One rater at a time: how often with the majority, which side, how fast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semscale.model import Array
from semscale.stats.majorities import Share, share, with_majority, with_others
from semscale.study.agreement.ratings import Rating, Ratings

HASTY = 0.5  # seconds, in which nobody compares two sets of images
FEW_SIDES = 6  # ratings from which always the same side is no accident: 2 / 2**6 = 3 %


@dataclass(frozen=True, slots=True)
class Rater:
    """One rater's figures."""

    name: str
    n: int  # ratings that count
    seconds: float  # median; NaN without ratings
    n_hasty: int  # ratings in less than HASTY seconds
    left: Share  # how often the left side was chosen
    plain: Share  # agreement with the majority of all
    others: Share  # agreement with the majority of the others
    constant: str  # "left" or "right" where one side was chosen throughout, over FEW_SIDES ratings or more; else ""


def raters_of(ratings: Ratings, votes: Array) -> tuple[Rater, ...]:
    """Ratings and the (raters, N) votes made of them -> every rater's figures, by name."""
    plain, others = with_majority(votes, 2), with_others(votes, 2)
    mine: dict[str, list[Rating]] = {name: [] for name in ratings.raters}
    for each in ratings.ratings:
        mine[each.rater].append(each)
    found = []
    for row, (name, given) in enumerate(mine.items()):
        sides = {each.choice for each in given}
        seconds = [each.seconds for each in given]
        found.append(
            Rater(
                name=name,
                n=len(given),
                seconds=float(np.median(seconds)) if seconds else float("nan"),
                n_hasty=sum(each < HASTY for each in seconds),
                left=share(sum(each.choice == "left" for each in given), len(given), "ratings"),
                plain=plain[row],
                others=others[row],
                constant=sides.pop() if len(sides) == 1 and len(given) >= FEW_SIDES else "",
            )
        )
    return tuple(found)
