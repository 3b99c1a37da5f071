"""A folder that grows while it is embedded."""

import threading
import time

import pytest
from images import png, write_tree

from semscale import embed
from semscale.errors import SourceError, UsageError
from semscale.follow import Watch, followed
from semscale.locks import Part
from semscale.run import score
from semscale.settings import Settings


class Growing:
    """A source that has so many items at each look."""

    def __init__(self, counts):
        self.counts, self.looks = counts, 0

    def open(self):
        count = self.counts[min(self.looks, len(self.counts) - 1)]
        self.looks += 1
        if count is None:
            raise SourceError("nothing there yet")
        return range(count)

    def watch(self, quiet_seconds=0.05):
        ended = lambda: self.looks >= len(self.counts)  # noqa: E731
        return Watch(self.open, ended, quiet_seconds, pause_seconds=0.0)


def test_a_source_is_yielded_each_time_it_has_grown_and_once_more_at_the_end():
    growing = Growing([None, 0, 2, 2, 5])
    assert [len(source) for source in followed(growing.watch(quiet_seconds=9))] == [2, 5, 5]


def test_what_never_appears_is_an_error_at_the_end():
    with pytest.raises(SourceError, match="nothing there yet"):
        list(followed(Growing([None]).watch()))


def test_silence_ends_it():
    growing = Growing([3] * 10_000_000)
    assert [len(source) for source in followed(growing.watch())] == [3, 3]


def test_images_are_embedded_as_they_appear_until_the_end_marker(tmp_path, model):
    source, store = tmp_path / "images", tmp_path / "store"
    (source / "g").mkdir(parents=True)
    (source / "g" / "0.png").write_bytes(png(0)[:50])  # half written
    steps = []

    def produce():
        for step in range(1, 4):
            while len(list((store / "errors").glob("*"))) < step:
                time.sleep(0.01)
            steps.append(step)
            (source / "g" / "0.png").write_bytes(png(0))
            (source / "g" / f"{step}.png").write_bytes(png(step))
        (source / "_SUCCESS").touch()

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    filled = embed(source, store, model=model, backend="fake", follow=60.0, settings=Settings(shard_size=4))
    producer.join()
    assert steps == [1, 2, 3]  # each image came after the one before it had been embedded
    assert filled.metadata(["key"]).column("key").to_pylist() == [f"g/{n}.png" for n in range(4)]
    assert len(filled.errors()) == 0


def test_a_second_run_embeds_only_what_is_new(tmp_path, model):
    source, store = write_tree(tmp_path / "images", ["g/1.png", "g/3.png"]), tmp_path / "store"
    embed(source, store, model=model, backend="fake")
    first = (store / "img_emb" / "img_emb_00000.npy").stat()
    write_tree(source, ["g/2.png"])
    filled = embed(source, store, model=model, backend="fake")
    assert filled.metadata(["key"]).column("key").to_pylist() == ["g/1.png", "g/3.png", "g/2.png"]
    after = (store / "img_emb" / "img_emb_00000.npy").stat()
    assert (after.st_ino, after.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)


def test_what_cannot_be_followed_is_refused(tmp_path, model):
    write_tree(tmp_path, ["1.png"])
    with pytest.raises(UsageError, match="standard input cannot be read again"):
        score("-", model=model, backend="fake", follow=1.0)
    with pytest.raises(UsageError, match="leave one out"):
        score(tmp_path, model=model, backend="fake", follow=1.0, settings=Settings(part=Part(1, 2)))
