"""What people see of a plan of samples in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from semscale.console import Console
from semscale.report.format import plural, shorten
from semscale.study.samples.sample_plan import FAR, HIGHEST, MIN_PILOT, RARE, Advice, Plan
from semscale.study.samples.subsets import drawn_up_to


class PlanConsole(Console):
    """Prints the outcome of `plan-samples`."""

    def plan(self, plan: Plan) -> None:
        """The errors at each size, and how many images are recommended."""
        for line in _about(plan):
            self.say(line)
        self._out.print(_table(plan))
        for line in (*_by_model(plan), *_recommendation(plan)):
            self.say(line)


def _about(plan: Plan) -> Iterator[str]:
    pilots = [prompt.pilot.n for prompt in plan.prompts]
    some = f"{min(pilots)}" if min(pilots) == max(pilots) else f"{min(pilots)} to {max(pilots)}"
    yield f"{plural(len(plan.prompts), 'prompt')} with a pilot of {some} images each"
    unit = "% of a prompt's score" if plan.question.precision.relative else "points"
    yield f"errors in {unit}; within: share of the scores within {plan.question.precision} of the truth"
    if plan.n_too_small:
        yield f"left out, fewer than {MIN_PILOT} valid images: {plural(plan.n_too_small, 'group')}"
    if plan.n_alike:
        yield f"! {plural(plan.n_alike, 'prompt')} of one and the same image: nothing can be planned from copies"
    if plan.n_not_sampled:
        yield f"not in the random sample of prompts (--groups takes more): {plural(plan.n_not_sampled, 'group')}"


def _table(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("N", "median error", f"{_share(plan)} error", "worst prompt", "within"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("basis", no_wrap=True)
    for n, *errors, within in zip(plan.sizes, plan.median, plan.high, plan.worst, plan.within, strict=True):
        table.add_row(f"{n:,}", *(f"{error:.2f}" for error in errors), f"{100 * within:.1f} %", plan.basis(n))
    return table


def _by_model(plan: Plan) -> Iterator[str]:
    if len(plan.advice) > 1:
        yield from (f"{shorten(each.model or 'no model named', 60)}: {_needs(each)}" for each in plan.advice)


def _needs(advice: Advice) -> str:
    return (
        f"{_n(advice.for_prompts)} images a prompt, {_n(advice.for_mean)} for the mean over "
        f"{plural(advice.n_groups, 'prompt')}, {_n(advice.for_worst)} for the worst: {shorten(advice.worst, 60)!r}"
    )


def _recommendation(plan: Plan) -> Iterator[str]:
    n, worst = plan.for_prompts, next(each.worst for each in plan.advice if each.for_worst == plan.for_worst)
    promise = f"{_share(plan)} of the scores of these prompts"
    if n is None:
        yield f"No number is recommended: by {HIGHEST:,} images a prompt, {promise} are not within {_wanted(plan)}."
    else:
        guess = f", which is a guess at more than {FAR} times the pilot" if plan.is_guess(n) else ""
        yield f"Recommended: {n:,} images a prompt. {promise} should then be within {_wanted(plan)}{guess}."
    yield (
        f"The mean over a model's prompts needs {_n(plan.for_mean)}, the worst prompt {_n(plan.for_worst)}: "
        f"{shorten(worst, 60)!r}."
    )
    if plan.basis(n) == "extrapolated":
        yield (
            f"EXTRAPOLATED from pilots of {plan.smallest_pilot} images or more: subsets speak only for up to "
            f"{drawn_up_to(plan.smallest_pilot)} images. Plan again with what you generate."
        )
    yield (
        f"Rare modes need more, and what no image shows is not planned for: a mode of {100 * RARE:.0f} % of the images "
        f"is in none of a pilot of {plan.smallest_pilot} with a chance of {100 * plan.missed:.0f} %."
    )


def _wanted(plan: Plan) -> str:
    return f"{plan.question.precision} of the truth"


def _share(plan: Plan) -> str:
    return f"{100 * plan.question.confidence:g} %"


def _n(n: int | None) -> str:
    return f"more than {HIGHEST:,}" if n is None else f"{n:,}"
