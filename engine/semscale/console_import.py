"""What people see of an imported study in a terminal."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from semscale.cli_output import visible
from semscale.console import Console
from semscale.report.format import plural
from semscale.study.importing.importers import Study
from semscale.study.importing.published import KINDS

LINES = 20  # oddities of one kind that are listed


class ImportConsole(Console):
    """Prints the outcome of `import-study`."""

    def imported(self, study: Study, told: dict[str, Any], oddities: Path) -> None:
        """What was odd, kind by kind, and what there is now."""
        for kind, group in groupby(study.oddities, key=attrgetter("kind")):
            found = list(group)
            self.say(f"{kind} ({len(found)}): {KINDS[kind]}")
            for oddity in found[:LINES]:
                self.say(f"  {visible(oddity.where)}: {visible(oddity.message)}")
            if len(found) > LINES:
                self.say(f"  and {len(found) - LINES} more, in {oddities}")
        for model, counts in told["models"].items():
            counted = f"{plural(counts['n_images'], 'image')} of {plural(counts['n_prompts'], 'prompt')}"
            self.say(f"{visible(model)}: {counted}")
        odd = "1 oddity" if len(study.oddities) == 1 else f"{len(study.oddities):,} oddities"
        self.say(f"{plural(len(study.images), 'image')}, {odd}; score with:")
        self.say(f"semscale score {told['out']}")
