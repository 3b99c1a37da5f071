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
    fastest = max(ours, key=lambda result: result.timing.rate)
    for theirs in results[len(ours) :]:
        peer = BY_NAME[theirs.contestant.name]
        told = [f"{us.contestant.name} is {_against(us, theirs, _aims(peer, kind, us is ours[0], us is fastest))}"
                for us in ours]  # fmt: skip
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


def _aims(peer: Peer, kind: str, is_plain: bool, is_fastest: bool) -> list[float]:
    """What one of ours aims at: in equal precision, and as the fastest in this run; one may be both."""
    plain = peer.plain.get(kind, peer.plain.get(EVERY)) if is_plain else None
    fastest = peer.fastest if is_fastest else None
    return [aim for aim in (plain, fastest) if aim is not None]


def _against(ours: Result, theirs: Result, aims: Sequence[float]) -> str:
    ratio = ratio_of(ours.timing, theirs.timing)
    met = "".join(f", goal {aim:g} {'met' if ratio.median >= aim else 'missed'}" for aim in aims)
    return f"{ratio.median:.2f} times as fast ({ratio.low:.2f} - {ratio.high:.2f}{met})"
