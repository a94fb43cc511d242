"""The sections of a report: the answer first, then how it was reached."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from athanor.console.report import charts
from athanor.console.report.data import BestPoint, Outcome, ReportData
from athanor.console.report.markup import Child, Markup, join, tag
from athanor.console.wording import MISSING, count, duration, measured, moment, number, pretty_unit, prose, settings
from athanor.planners.problem import Continuous, Integer


def named(name: str, unit: str | None) -> Markup:
    """Return a name that may break at its underscores, with its unit set quietly behind."""
    parts = name.split("_")
    words = join(*(join(part, Markup("_<wbr>") if index < len(parts) - 1 else "") for index, part in enumerate(parts)))
    return join(words, tag("span", f" [{pretty_unit(unit)}]", class_="unit") if unit else "")


def data_table(
    heads: Sequence[Child], rows: Sequence[Sequence[Child]], numeric: Sequence[bool], **attributes: str
) -> Markup:
    """Return a table; numeric columns are set to the right."""
    head = tag(
        "tr", *(tag("th", h, class_="n" if n else None, scope="col") for h, n in zip(heads, numeric, strict=True))
    )
    body = [
        tag("tr", *(tag("td", c, class_="n" if n else None) for c, n in zip(r, numeric, strict=True))) for r in rows
    ]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body), **attributes), class_="scroll")


def shown(outcome: Outcome | None, unit: str | None = None) -> str:
    """Write an outcome with its uncertainty."""
    return MISSING if outcome is None else measured(outcome.mean, outcome.error, unit)


def verdict_line(data: ReportData) -> Markup:
    """Say in one sentence what was found."""
    effort = f"in {data.used} of {count(data.budget, 'experiment')}"
    if not data.best:
        return tag("p", f"No feasible point was measured {effort}.", class_="verdict-line")
    if len(data.problem.objectives) > 1:
        ranges = []
        for objective in data.problem.objectives:
            values = [best_value(point, objective.name) for point in data.best]
            finite = sorted(value.mean for value in values if value is not None)
            if finite:
                unit = f" {pretty_unit(objective.unit)}" if objective.unit else ""
                ends = (
                    number(finite[0], 3) if len(finite) == 1 else f"{number(finite[0], 3)} to {number(finite[-1], 3)}"
                )
                ranges.append(
                    join(
                        f"{objective.name} from " if len(finite) > 1 else f"{objective.name} ",
                        tag("strong", ends + unit),
                    )
                )
        several = count(len(data.best), "best trade-off")
        words: list[Child] = [f"Found {effort}: {several}, "]
        for index, item in enumerate(ranges):
            words += [" and " if index else "", item]
        return tag("p", *words, ".", class_="verdict-line")
    objective = data.problem.objectives[0]
    point = data.best[0]
    value = best_value(point, objective.name)
    found = "Best found" if point.is_feasible else "Closest to feasible"
    at = settings(point.values, data.problem)
    return tag(
        "p",
        f"{found}: {objective.name} = ",
        tag("strong", shown(value, objective.unit)),
        f", {effort}, at {at}.",
        class_="verdict-line",
    )


def best_value(point: BestPoint, name: str) -> Outcome | None:
    """Return the best-known value at a best point: the measured one with its error, else the model's estimate."""
    measured_there, predicted = point.measured.get(name), point.predicted.get(name)
    if measured_there is not None and (measured_there.error is not None or predicted is None):
        return measured_there
    return predicted


def head(data: ReportData) -> Markup:
    """Title, question, answer and the figures that matter."""
    ended = data.finished_at or data.provenance.made_at
    kicker = tag(
        "div",
        tag("span", "Athanor campaign report"),
        tag("span", data.campaign, class_="mono"),
        tag("span", data.instrument_title or data.instrument),
        tag("span", moment(ended)[:10]),
        class_="kicker",
    )
    banner = None
    if data.simulated:
        banner = tag(
            "div",
            tag("strong", "Simulated. "),
            f"Every measurement here comes from the simulated laboratory {data.laboratory}, not from an instrument.",
            class_="banner",
        )
    settled = [h.state for h in data.hypotheses]
    verdicts = ", ".join(
        f"{settled.count(s)} {s}" for s in ("supported", "refuted", "inconclusive", "void") if s in settled
    )
    figures: list[Child] = [_figure("Experiments", f"{data.used} of {data.budget}", f"{data.failures} failed")]
    if data.advantage is not None:
        a = data.advantage
        if a.experiments_to_match is not None:
            chance = f"of {a.experiments_median}, for what random search finds in {a.experiments_median} (median)"
            figures.append(_figure("Experiments needed", str(a.experiments_to_match), chance))
        figures.append(_figure("Ahead of random", f"{a.beaten} of {a.arms}", "random campaigns of the same length"))
    else:
        figures.append(_figure("Advantage over random", "not measured", "no randomised arm was run"))
    figures.append(_figure("Hypotheses", str(len(settled)), verdicts or "none settled"))
    figures.append(_figure("Took", duration((ended - data.created_at).total_seconds()), data.state))
    return join(
        banner,
        kicker,
        tag("h1", data.name),
        tag("p", data.question, class_="question"),
        verdict_line(data),
        tag("dl", *figures, class_="figures"),
    )


def _figure(name: str, value: str, small: str = "") -> Markup:
    return tag("div", tag("dt", name), tag("dd", value, tag("small", small) if small else None))


def best_section(data: ReportData) -> Markup:
    """The best point, or the Pareto set with its picture."""
    if not data.best:
        return join(tag("h2", "Best found"), tag("p", "Nothing that counts was measured.", class_="note"))
    problem = data.problem
    outcomes = list(problem.outcomes)
    has_model = any(point.predicted for point in data.best)
    has_truth = any(point.truth for point in data.best)
    heads: list[Child] = ["experiment", *(named(p.name, p.unit) for p in problem.parameters)]
    for name in outcomes:
        heads.append(named(name, problem.unit(name)))
        heads += [join(name, tag("span", "model", class_="unit"))] if has_model else []
        heads += [join(name, tag("span", "truth", class_="unit"))] if has_truth else []
    rows: list[list[Child]] = []
    for point in data.best:
        row: list[Child] = [(point.experiment or MISSING).rpartition(".")[2].rpartition("/")[2]]
        row += [number(point.values.get(p.name)) for p in problem.parameters]
        for name in outcomes:
            row.append(shown(point.measured.get(name)))
            row += [shown(point.predicted.get(name))] if has_model else []
            row += [number((point.truth or {}).get(name))] if has_truth else []
        rows.append(row)
    several = len(problem.objectives) > 1
    lead = (
        "Measured points that, as the model of all measurements sees them, no other beats in every objective at once."
        if several
        else "The measured point that the model of all measurements holds for best."
    )
    lead += (
        " Measured values carry ± one standard error where the measurement gives one; the model’s carry ± one "
        "standard deviation of its belief."
    )
    if has_truth:
        lead += " Truth is the simulation without noise, known only because this laboratory is simulated."
    parts: list[Child] = [tag("h2", "Best trade-offs" if several else "Best found"), tag("p", lead, class_="lead")]
    if len(problem.objectives) == 2:
        parts.append(_front(data))
    parts.append(tag("div", data_table(heads, rows, [True] * len(heads)), class_="wide fit"))
    if not several and data.best[0].probability is not None:
        chance = number(data.best[0].probability, 3)
        parts.append(
            tag("p", f"All bounds on outcomes hold there with probability {chance}, says the model.", class_="note")
        )
    return join(*parts)


def _front(data: ReportData) -> Markup:
    first, second = data.problem.objectives
    best = {point.experiment for point in data.best}
    points = [
        (row.outcomes[first.name].mean, row.outcomes[second.name].mean, row.id in best, row.id.rpartition(".")[2])
        for row in data.experiments
        if first.name in row.outcomes and second.name in row.outcomes
    ]
    if not points:
        return Markup("")
    labels = [f"{o.name} [{pretty_unit(o.unit)}]" if o.unit else o.name for o in (first, second)]
    return charts.front_chart(
        points,
        ((labels[0], first.goal == "maximize"), (labels[1], second.goal == "maximize")),
        (first.reference, second.reference),
    )


def progress_section(data: ReportData) -> Markup:
    """The progress picture and the advantage."""
    progress = data.progress
    parts: list[Child] = [tag("h2", "Progress, beside chance")]
    if progress.arms:
        lead = (
            f"Best so far after every experiment that used the instrument, against {progress.arms} campaigns of the "
            "same length that chose at random on the same laboratory: their median and middle half."
        )
    else:
        lead = "Best so far after every experiment that used the instrument."
    if progress.is_truth:
        lead += (
            " All are scored on the noise-free truth of the settings they tried, so that luck with the noise counts "
            "for nobody."
        )
    parts.append(tag("p", lead, class_="lead"))
    parts.append(charts.progress_chart(progress))
    keys: list[Child] = []
    if "test" in progress.marks:
        keys.append("◇ test of a hypothesis")
    if "operator" in progress.marks:
        keys.append("◆ put up by a person")
    if "failed" in progress.marks:
        keys.append("× failed")
    if keys:
        parts.append(tag("p", " · ".join(str(k) for k in keys), class_="note"))
    parts.append(_advantage(data))
    if progress.reference_how:
        parts.append(tag("p", f"Best possible: {prose(progress.reference_how)}", class_="note"))
    return join(*parts)


def _advantage(data: ReportData) -> Markup:
    a = data.advantage
    if a is None:
        why = data.progress.missing or "the campaign bought no interleaved randomised arm"
        return tag("p", tag("strong", "Advantage over random search: not measured. "), f"{why[:1].upper()}{why[1:]}.")
    unit = f" {pretty_unit(data.progress.unit)}" if data.progress.unit else ""
    match = (
        f" What a random campaign finds in {a.experiments_median} experiments (median) was found here after "
        f"{a.experiments_to_match}."
        if a.experiments_to_match is not None
        else " The median random campaign was not overtaken."
    )
    return tag(
        "p",
        tag("strong", f"Advantage: {signed(a.difference)}{unit} over the median random campaign"),
        f" ({number(a.campaign_final, 3)} against {number(a.median_final, 3)}{unit}). Set against each random campaign "
        f"by itself, the middle 95 % of {a.arms} differences runs from {signed(a.low)} to {signed(a.high)}{unit}.",
        match,
        " This is one campaign beside many random ones; how it would vary with its own seed is left out.",
    )


def signed(value: float) -> str:
    """Write a number with its sign."""
    return f"+{number(value, 3)}" if value > 0 and not math.isclose(value, 0) else number(value, 3)


def problem_section(data: ReportData) -> Markup:
    """What was varied, wanted and respected."""
    problem = data.problem
    rows: list[list[Child]] = []
    for p in problem.parameters:
        if isinstance(p, Continuous | Integer):
            scale = (
                ", logarithmic"
                if isinstance(p, Continuous) and p.log
                else ", whole numbers"
                if isinstance(p, Integer)
                else ""
            )
            span = f"{number(p.low)} … {number(p.high)}{scale}"
        else:
            span = ", ".join(number(value) for value in p.values)
        rows.append([p.name, span, pretty_unit(p.unit) or MISSING, "knob"])
    for o in problem.objectives:
        goal = f"bring to {number(o.target)}" if o.target is not None else str(o.goal)
        note = f"; counts nothing beyond {number(o.reference)}" if o.reference is not None else ""
        rows.append([o.name, goal + note, pretty_unit(o.unit) or MISSING, "objective"])
    for c in problem.outcome_constraints:
        low = f"{number(c.lower)} ≤ " if c.lower is not None else ""
        high = f" ≤ {number(c.upper)}" if c.upper is not None else ""
        rows.append(
            [
                c.name,
                f"{low}{c.name}{high} with probability {number(c.probability)}",
                pretty_unit(c.unit) or MISSING,
                "bound",
            ]
        )
    rows += [[MISSING, str(c), MISSING, "bound"] for c in (*problem.linear_constraints, *problem.input_constraints)]
    table = data_table(["name", "range or goal", "unit", "role"], rows, [False] * 4)
    approval = {
        "approve_each": "a person approved each experiment",
        "auto_within_limits": "experiments within the granted limits started by themselves",
    }.get(data.autonomy, data.autonomy)
    settings: Mapping[str, str] = {
        "Laboratory": f"{data.laboratory}{' (simulated)' if data.simulated else ''}, instrument {data.instrument}",
        "Options": ", ".join(f"{k} {v}" for k, v in data.options.items()) or "none",
        "Measurements per experiment": str(data.replicates),
        "Planner and reasoner": f"{data.planner}, {data.reasoner}",
        "Approval": approval,
        "Earlier measurements taken in": str(data.historical),
    }
    if data.earlier:
        settings = {**settings, "Earlier data, believed as far as own results bear them out": " | ".join(data.earlier)}
    words = [child for name, value in settings.items() for child in (tag("dt", name), tag("dd", value))]
    return join(tag("h2", "The problem"), table, tag("dl", *words, class_="hashes"))
