"""What people see of indexes and searches in a terminal."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

from semscale.cli_output import visible
from semscale.console import Console
from semscale.find import Found
from semscale.indexing import Indexed, told
from semscale.report.format import duration


class SearchConsole(Console):
    """Prints the outcome of `index` and `search`."""

    def indexed(self, done: Indexed) -> None:
        """What became of an index."""
        if done.record is None:
            return
        said = {"built": "built", "extended": "extended", "kept": "up to date already, kept"}[done.action]
        took = "" if done.action == "kept" else f" in {duration(done.record.seconds)}"
        self.say(f"{told(done.record)}; {done.record.size / 1e6:.1f} MB, {said}{took}")

    def hits(self, found: Found) -> None:
        """A table of what was found, and how."""
        if found.note:
            self.say(found.note)
        self.say(found.how)
        rows = [("rank", "similarity", "key", "group")]
        rows += [(str(hit.rank), f"{hit.similarity:.4f}", *map(visible, (hit.key, hit.group))) for hit in found.hits]
        widest = max(cell_len(key) for _, _, key, _ in rows)
        for rank, similarity, key, group in rows:  # names are to be copied, so they stay on one line
            self.say(f"{rank:>4}  {similarity:>10}  {set_cell_size(key, widest)}  {group}".rstrip())
