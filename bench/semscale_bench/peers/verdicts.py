"""What the rounds say, in words: how many times as fast semscale was as each peer, and whether that was the aim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from semscale_bench.peers.rounds import Result
from semscale_bench.peers.table import EVERY, PEERS, STUDY_IMAGES, STUDY_SETS, Peer
from semscale_bench.ratios import ratio_of

BY_NAME = {peer.name: peer for peer in PEERS}


def sentences(kind: str, results: Sequence[Result]) -> Iterator[str]:
    """A sentence for each peer, with the median, least and most of the rounds' ratios."""
    ours = [result for result in results if result.contestant.name not in BY_NAME]
    for theirs in results[len(ours) :]:
        peer = BY_NAME[theirs.contestant.name]
        told = [f"{us.contestant.name} is {_against(us, theirs, _aim(peer, kind, i, len(ours)))}"
                for i, us in enumerate(ours)]  # fmt: skip
        yield f"{kind}, {peer.name}: {'; '.join(told)}"


def study_seconds(found: Mapping[str, Sequence[Result]]) -> dict[str, object]:
    """By kind of images and contestant: seconds for the published study's 200 sets of 20, at the median rate."""
    images = STUDY_SETS * STUDY_IMAGES
    return {
        "study_images": images,
        "extrapolated_study_seconds": {
            kind: {result.contestant.name: images / result.timing.rate for result in results}
            for kind, results in found.items()
        },
        "timed_images": {
            kind: {result.contestant.name: result.timing.units for result in results} for kind, results in found.items()
        },
        "versions": {
            result.contestant.name: result.contestant.version for results in found.values() for result in results
        },
    }


def _aim(peer: Peer, kind: str, place: int, places: int) -> list[float]:
    """What one of ours aims at: the first in equal precision, the last as the fastest; one may be both."""
    plain = peer.plain.get(kind, peer.plain.get(EVERY)) if place == 0 else None
    fastest = peer.fastest if place == places - 1 else None
    return [aim for aim in (plain, fastest) if aim is not None]


def _against(ours: Result, theirs: Result, aims: Sequence[float]) -> str:
    ratio = ratio_of(ours.timing, theirs.timing)
    met = "".join(f", goal {aim:g} {'met' if ratio.median >= aim else 'missed'}" for aim in aims)
    return f"{ratio.median:.2f} times as fast ({ratio.low:.2f} - {ratio.high:.2f}{met})"
