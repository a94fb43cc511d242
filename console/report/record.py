"""The sections of a report that show the record: hypotheses, effects, experiments, model calls, provenance."""

from __future__ import annotations

from athanor.console.report import charts, model, slices
from athanor.console.report.data import ExperimentRow, HypothesisCard, ReportData
from athanor.console.report.markup import Child, Markup, join, tag
from athanor.console.report.sections import data_table, named, shown
from athanor.console.wording import MISSING, count, duration, e_value, moment, number, prose, settings


def hypotheses_section(data: ReportData) -> Markup:
    """Every hypothesis with prior, evidence and verdict, kept apart."""
    parts: list[Child] = [tag("h2", "Hypotheses and their tests")]
    if not data.hypotheses:
        return join(*parts, tag("p", "None was stated.", class_="note"))
    parts.append(
        tag(
            "p",
            "Each was registered, with its test and its rule for stopping, before the first run that counts for it; "
            "runs it was formed from never count. Prior is the proposer’s own probability. Evidence is an e-value: if "
            "the claim were wrong it would ever reach 20 in at most 1 of 20 tests, however often one looks. The "
            "verdict falls at a threshold that holds for the whole family of tests.",
            class_="lead",
        )
    )
    parts += [_card(card, data) for card in data.hypotheses]
    return join(*parts)


def _bar(value: float | None, limit: float | None, class_: str) -> Markup:
    share = 0.0 if value is None or not limit else min(max(value / limit, 0.0), 1.0)
    return tag("span", tag("i", style=f"width:{share * 100:.0f}%"), class_=f"bar {class_}")


def _card(card: HypothesisCard, data: ReportData) -> Markup:
    last = card.evidence[-1] if card.evidence else None
    rows: list[Child] = [
        tag("dt", "Prior"),
        tag(
            "dd",
            _bar(card.prior, 1.0, "prior"),
            number(card.prior, 2),
            tag("span", f", {card.proposer}", class_="unit"),
        ),
    ]
    for words, log_e, limit, class_, null in (
        (
            "Evidence for",
            last.log_e_support if last else None,
            card.log_threshold_support,
            "support",
            card.null_support,
        ),
        (
            "Evidence against",
            last.log_e_refute if last else None,
            card.log_threshold_refute,
            "refute",
            card.null_refute,
        ),
    ):
        needs = f", {e_value(limit)} needed" if limit is not None else ""
        hint = f"e-value against: {null}" if null else None
        value = f"e = {e_value(log_e)}{needs}" if log_e is not None else f"no block yet{needs}"
        rows += [tag("dt", words, title=hint), tag("dd", _bar(log_e, limit, class_), value)]
    rows += [tag("dt", "Verdict"), tag("dd", card.state, f": {prose(card.reason)}" if card.reason else "")]
    numbers = [run.rpartition(".")[2] for run in card.runs]
    runs = f"Tested by {count(len(numbers), 'experiment')}: {', '.join(numbers)}." if numbers else "No run tested it."
    blocks = f" {count(len(card.evidence), 'complete block')} of at most {card.cap_blocks}." if card.cap_blocks else ""
    compared = _compared(card, data)
    registered = f" Registered {moment(card.registered_at)}." if card.registered_at else " Never registered."
    left = tag(
        "div",
        tag("p", prose(card.rationale), class_="rationale"),
        tag("dl", *rows, class_="three"),
        tag("p", tag("span", "Compared ", class_="unit"), compared, class_="runs") if compared else None,
        tag("p", runs, blocks, registered, class_="runs"),
    )
    chart = None
    if card.evidence:
        chart = charts.evidence_chart(card.evidence, card.log_threshold_support, card.log_threshold_refute)
    tainted = tag("span", "from outside", class_="badge void", title="formed from text that came from outside")
    return tag(
        "section",
        tag(
            "header",
            tag("span", card.id.rpartition(".")[2], class_="mono unit"),
            tag("h3", prose(card.statement)),
            tainted if card.is_tainted else None,
            tag("span", card.state, class_=f"badge {card.state}"),
        ),
        tag("div", left, tag("div", chart), class_="columns") if chart else left,
        class_="card",
    )


def _compared(card: HypothesisCard, data: ReportData) -> str:
    """Say which settings a test measures: what differs between its arms, and what they share."""
    if not card.arms:
        return ""
    first = card.arms[0].values
    shared = {name: value for name, value in first.items() if all(arm.values.get(name) == value for arm in card.arms)}
    differing = "; ".join(
        f"{arm.arm}: " + settings({n: v for n, v in arm.values.items() if n not in shared}, data.problem)
        for arm in card.arms
    )
    return f"{differing}{', at ' + settings(shared, data.problem) if shared else ''}."


def effects_section(data: ReportData) -> Markup:
    """What each parameter does, as far as the model knows."""
    effects = data.effects
    parts: list[Child] = [tag("h2", "What each parameter does")]
    if not effects.slices:
        return join(*parts, tag("p", effects.missing or "The model has seen too little to say.", class_="note"))
    base = settings(effects.base, data.problem)
    lead = (
        f"Predicted by the model of all measurements when one parameter moves and the others stay at {base} (dotted). "
        "The band is two standard deviations of the model’s belief, not proof: what was put to a test stands above. "
        "“Explains” is the parameter’s own share of the variation over the whole range."
    )
    grid = slices.slice_grid(effects.slices, data.problem)
    return join(*parts, tag("p", lead, class_="lead"), grid, model.importance_part(data.model))


def experiments_section(data: ReportData) -> Markup:
    """Every experiment, failures included."""
    problem = data.problem
    best = {point.experiment for point in data.best}
    heads: list[Child] = ["#", *(named(p.name, p.unit) for p in problem.parameters)]
    heads += [named(name, problem.unit(name)) for name in problem.outcomes]
    heads += ["state", "decision", "run", "why"]
    width = len(problem.parameters) + len(problem.outcomes)
    rows = []
    for row in data.experiments:
        cells: list[Child] = [tag("td", row.ordinal, class_="n", title=row.id)]
        cells += [tag("td", number(row.values.get(p.name)), class_="n") for p in problem.parameters]
        cells += [tag("td", shown(row.outcomes.get(name)), class_="n") for name in problem.outcomes]
        cells.append(_state(row))
        decided = f"{row.decision or MISSING}" + (f", {row.decided_by}" if row.decided_by else "")
        cells.append(tag("td", decided, class_="who"))
        cells.append(tag("td", (row.run or MISSING)[:8], class_="mono", title=row.run))
        cells.append(tag("td", _why(row), class_="why"))
        rows.append(tag("tr", *cells, class_="is-best" if row.id in best else None))
    numeric = [True] * (1 + width) + [False] * 4
    head = tag(
        "tr", *(tag("th", h, class_="n" if n else None, scope="col") for h, n in zip(heads, numeric, strict=True))
    )
    return join(
        tag("h2", "Every experiment"),
        tag(
            "p",
            "In the order in which they were put up; the best are marked at the left edge. Rejected, failed, aborted "
            "and stopped ones stand among them with their reason.",
            class_="lead",
        ),
        tag("div", tag("table", tag("thead", head), tag("tbody", *rows), class_="experiments"), class_="scroll wide"),
    )


def by_hand_section(data: ReportData) -> Markup:
    """What people measured beside the loop; nothing where nobody did."""
    if not data.by_hand:
        return Markup("")
    problem = data.problem
    heads: list[Child] = ["#", *(named(p.name, p.unit) for p in problem.parameters)]
    heads += [named(name, problem.unit(name)) for name in problem.outcomes]
    heads += ["measured by", "recorded", "how"]
    width = len(problem.parameters) + len(problem.outcomes)
    rows: list[list[Child]] = []
    for row in data.by_hand:
        cells: list[Child] = [row.id.rpartition("/")[2]]
        cells += [number(row.values.get(p.name)) for p in problem.parameters]
        cells += [shown(row.outcomes.get(name)) for name in problem.outcomes]
        rows.append([*cells, row.by or MISSING, moment(row.at), prose(row.note)])
    return join(
        tag("h2", "Measured by hand"),
        tag(
            "p",
            "Operators’ own measurements. The planner learned from them; they used nothing of the budget, and no "
            "registered test counts them.",
            class_="lead",
        ),
        tag("div", data_table(heads, rows, [True] * (1 + width) + [False] * 3), class_="wide"),
    )


def _state(row: ExperimentRow) -> Markup:
    words = row.state.replace("_", " ")
    took = f"took {duration(row.seconds)}" if row.seconds is not None else None
    return tag("td", tag("span", words, class_=f"state state-{row.state}", title=took))


def _why(row: ExperimentRow) -> Markup:
    parts: list[Child] = []
    if row.reason:
        parts.append(
            tag("span", prose(row.reason), class_="bad" if row.state not in ("completed", "superseded") else None)
        )
    if row.hypothesis:
        short = row.hypothesis.rpartition(".")[2]
        parts.append(f"{' · ' if parts else ''}tests {short}, block {row.block}, {row.arm}")
    elif row.why:
        parts.append(f"{' · ' if parts else ''}{prose(row.why)}")
    if row.fallback:
        parts.append(f" (fallback: {row.fallback})")
    return join(*parts)


def calls_section(data: ReportData) -> Markup:
    """What language models were asked, and what it cost."""
    if not data.calls:
        words = "No language model was asked: the statistical reasoner stated the hypotheses."
        return join(tag("h2", "Language models"), tag("p", words, class_="note"))
    rows: list[list[Child]] = []
    for call in data.calls:
        trouble = ", ".join(f"{n} {kind}" for kind, n in call.failures.items()) or MISSING
        cost = MISSING if call.cost is None else number(call.cost, 3)
        tokens = f"{call.tokens_in:,} / {call.tokens_out:,}".replace(",", "\u202f")
        rows.append([call.model, call.endpoint, call.calls, trouble, tokens, cost, duration(call.seconds)])
    heads = ["model", "endpoint", "calls", "without a usable answer", "tokens in / out", "cost", "time"]
    return join(
        tag("h2", "Language models"),
        tag("p", "They state hypotheses. Verdicts, limits and approvals are never theirs.", class_="lead"),
        data_table(heads, rows, [False, False, True, False, True, True, True]),
    )


def provenance_section(data: ReportData) -> Markup:
    """Where it all comes from, and whether the record is whole."""
    p = data.provenance
    mark = tag("span", ("✓ " if p.verified_ok else "✗ ") + p.verified, class_="good" if p.verified_ok else "bad")
    head = f"row {p.head_seq}, {p.head_hash}" if p.head_hash else MISSING
    lines: dict[str, Child] = {
        "Record": mark,
        "Journal head": tag("span", head, class_="mono"),
        "Ledger": tag("span", p.ledger_id or MISSING, class_="mono"),
        "Campaign seed": str(p.seed),
        "Problem": tag("span", p.problem_hash, class_="mono"),
        "Campaign file": tag("span", p.spec_hash, class_="mono"),
        "Reduction": join(p.reduction or MISSING, " ", tag("span", p.reduction_hash or "", class_="mono")),
        "Analysis code": tag("span", p.analysis_hash or MISSING, class_="mono"),
        "Versions": ", ".join(f"{name} {version}" for name, version in p.versions.items()),
        "Computed on": p.platform,
        "Report made": moment(p.made_at),
    }
    words = [child for name, value in lines.items() for child in (tag("dt", name), tag("dd", value))]
    return join(
        tag("h2", "Provenance"),
        tag("p", "The same seed, versions and laboratory give the same campaign. Hashes are SHA-256.", class_="lead"),
        tag("dl", *words, class_="hashes"),
    )
