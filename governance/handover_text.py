"""A handover as a document to keep or to print: Markdown, or one HTML file without anything from elsewhere."""

from __future__ import annotations

import html
import re
from datetime import datetime

from athanor.governance.handover import Handover, Section

NOTHING = "Nothing."
_MARKS = re.compile(r"([\\`*_\[\]<>#|~&])")
_STYLE = (
    "body{font:11pt/1.45 Georgia,serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#111;background:#fff}"
    "h1{font-size:1.5rem}h2{font-size:1.1rem;border-bottom:1px solid #999;margin-top:1.6rem}"
    "blockquote{border-left:3px solid #999;margin:.6rem 0;padding:.1rem 1rem;white-space:pre-wrap}"
    "li{margin:.2rem 0}code{font-size:.8rem;overflow-wrap:anywhere}section{break-inside:avoid}"
)


def markdown(handover: Handover) -> str:
    """Return it as Markdown. What people wrote is quoted, and none of it is taken for markup."""
    lines = [f"# Handover {handover.id}", ""]
    lines += [f"- {_plain(name)}: {_plain(value)}" for name, value in _head(handover)]
    for section in handover.sections:
        lines += ["", f"## {section.title}", ""]
        lines += [f"- {_plain(fact.text)}" for fact in section.facts] or _empty(section)
        if section.note:
            lines += ["", *(f"> {_plain(line)}" for line in section.note.splitlines()), ">", f"> ({section.noted_by})"]
    if handover.remark:
        lines += ["", f"## Remark of {_plain(handover.incoming or '')}", "", f"> {_plain(handover.remark)}"]
    return "\n".join([*lines, "", "---", "", f"SHA-256 of what is signed: `{handover.sha256}`", ""])


def document(handover: Handover) -> str:
    """Return it as one HTML file, to be printed or kept."""

    def text(value: str) -> str:
        return html.escape(value)

    parts = [f"<h1>Handover {text(handover.id)}</h1>", "<ul>"]
    parts += [f"<li>{text(name)}: {text(value)}</li>" for name, value in _head(handover)]
    parts.append("</ul>")
    for section in handover.sections:
        parts.append(f"<section><h2>{text(section.title)}</h2>")
        if section.facts:
            parts.append(f"<ul>{''.join(f'<li>{text(fact.text)}</li>' for fact in section.facts)}</ul>")
        elif section.id != "remarks":
            parts.append(f"<p>{NOTHING}</p>")
        if section.note:
            parts.append(f"<blockquote>{text(section.note)}\n({text(section.noted_by or '')})</blockquote>")
        parts.append("</section>")
    if handover.remark:
        parts.append(
            f"<h2>Remark of {text(handover.incoming or '')}</h2><blockquote>{text(handover.remark)}</blockquote>"
        )
    parts.append(f"<hr><p>SHA-256 of what is signed: <code>{handover.sha256}</code></p>")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Handover {text(handover.id)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _head(handover: Handover) -> list[tuple[str, str]]:
    rows = [
        ("Shift", f"{_moment(handover.since)} to {_moment(handover.until)}"),
        ("Handed over by", f"{handover.outgoing}, {_signed(handover.signed_at)}"),
        ("Taken over by", f"{handover.incoming or 'nobody yet'}, {_signed(handover.accepted_at)}"),
    ]
    if not handover.is_as_signed:
        rows.append(("WARNING", "this is not what was signed"))
    if handover.state == "discarded":
        rows.append(("Discarded", handover.discarded or ""))
    return rows


def _empty(section: Section) -> list[str]:
    return [] if section.id == "remarks" else [NOTHING]


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _signed(at: datetime | None) -> str:
    return "not signed" if at is None else f"signed {_moment(at)}"


def _plain(text: str) -> str:
    """A text in which nothing is markup."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))
