"""The page itself: one file, no request to anywhere, light and dark, and fit to print."""

from __future__ import annotations

from importlib import resources

from athanor.console.report import control, model, record, sections
from athanor.console.report.data import ReportData
from athanor.console.report.markup import Markup, join, tag


def render(data: ReportData) -> str:
    """Return the whole report as one HTML document."""
    files = resources.files("athanor.console.report")
    style = "".join((files / name).read_text(encoding="utf-8") for name in ("charts.css", "style.css"))
    title = f"{data.name} · {data.campaign}"
    version = data.provenance.versions.get("athanor-lab", "")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    body = tag(
        "main",
        sections.head(data),
        sections.best_section(data),
        sections.progress_section(data),
        record.hypotheses_section(data),
        model.trust_section(data),
        record.effects_section(data),
        model.maps_section(data),
        control.section(data),
        sections.problem_section(data),
        record.experiments_section(data),
        record.by_hand_section(data),
        record.calls_section(data),
        record.provenance_section(data),
        tag("footer", f"Written by Athanor {version} from the ledger of campaign {data.campaign}.".replace("  ", " ")),
    )
    document = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
            tag("title", title),
            tag("style", Markup(style)),
        ),
        tag("body", body),
        lang="en",
    )
    return str(join(Markup("<!doctype html>\n"), document)) + "\n"
