"""The page of a gradient check: verdict, cause with its formula, the Jacobians as pictures, and what it all rests on."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from backproof.gradcheck.findings import CAUSES
from backproof.gradcheck.rendering import basis, leading, verdict
from backproof.report import parts
from backproof.report.entries import drawn, entry_table, stored
from backproof.report.formulas import formula
from backproof.report.markup import NOTHING, Html, element, joined
from backproof.report.mathml import mathml
from backproof.report.page import Section, copyable, page, picture

if TYPE_CHECKING:
    from backproof.gradcheck.findings import Comparison, Finding, Report

_CODE = re.compile(r"[\w.]+ = ")  # a cure that can be typed as it stands

_LEADS = {
    "wrong": "",
    "right": "everything that was compared is right, to within the error bars of the numerical derivative",
    "unsure": "the numerical derivative is not accurate enough here to decide",
}


def check_page(report: Report) -> str:
    """The whole file."""
    first, shown = leading(report), drawn(report)
    sections = []
    if first is not None:
        sections.append(_cause(first))
    if shown:
        sections += [_jacobian(shown), _scatter(shown)]
    if report.comparisons:
        sections.append(Section("Inputs", parts.inputs(report) + _left_out(report, shown)))
    others = [finding for finding in report.findings if finding is not first]
    if others:
        sections.append(Section("Also found", joined(parts.in_brief(finding) for finding in others)))
    if report.notes:
        sections.append(Section("Notes", parts.notes(report)))
    if report.replay:
        words = element("p", "These lines repeat the failure, at a smaller case if one fails in the same way:")
        sections.append(Section("Repeat it", words + copyable(report.replay)))
    factor = None if first is None else first.evidence.get("factor")
    factor = float(factor) if isinstance(factor, float | int) and math.isfinite(factor) else None
    data = {"jacobians": [stored(c, factor if first is not None and c.input == first.input else None) for c in shown]}
    return page(verdict(report), sections, data, lead=_lead(report, first), footer=_footer(report))


def _lead(report: Report, first: Finding | None) -> Html:
    words = CAUSES.get(first.cause, "") if first is not None and not first.is_note else _LEADS[parts.standing(report)]
    return (
        element("p", "Gradient check of ", element("code", report.target), class_="eyebrow")
        + element("h1", parts.headline(report))
        + (element("p", words[0].upper() + words[1:] + ".", class_="lead") if words else NOTHING)
    )


def _cause(finding: Finding) -> Section:
    body = element("p", parts.sentence(finding.message, finding.name), " ", parts.sure(finding))
    known = formula(finding.cause, finding.evidence)
    if known is not None:
        pair = [("What it should be", "right", known.should), ("What you have", "wrong", known.have)]
        if finding.is_note:
            pair = [("What is right", "right", known.should), ("What is there", "unsure", known.have)]
        body += element(
            "div",
            *(element("div", element("h3", head), mathml(tex), class_=f"card {kind}") for head, kind, tex in pair),
            class_="pair",
        )
        letters = " ".join([*_letters(known.should + known.have), known.letters]).strip()
        body += element("p", letters, class_="muted small") if letters else NOTHING
    if finding.fix:
        body += element("h3", "How to mend it")
        body += copyable(finding.fix) if _CODE.match(finding.fix) else element("p", parts.sentence(finding.fix, finding.name))
    numbers = parts.evidence(finding)
    if numbers:
        body += element("h3", "Evidence") + numbers
    body += _explained(finding.cause)
    of = f" ({finding.name})" if finding.name else ""
    head = "Not a bug: " if finding.is_note else "The cause: "
    return Section(f"{head}{finding.cause}{of}", body)


def _letters(tex: str) -> list[str]:
    """What g and dx are, where they occur."""
    upstream = ["g is the upstream gradient."] if re.search(r"(?<![A-Za-z])g(?![A-Za-z])", tex) else []
    returned = re.search(r"(?<![A-Za-z])d[abxz](?![A-Za-z])", tex)
    return [*upstream, f"{returned[0]} is what the backward returns."] if returned else upstream


def _explained(cause: str) -> Html:
    """The cause's page of `backproof explain`, folded away."""
    if cause not in CAUSES:
        return NOTHING
    from markdown_it import MarkdownIt

    from backproof.gradcheck.explain import markdown

    text = MarkdownIt("commonmark", {"html": False}).render(markdown(cause).partition("\n")[2])
    text = text.replace("h2>", "h3>").replace("<pre>", '<pre tabindex="0">')
    return element("details", element("summary", f"More about {cause}: the mathematics, code, a real case"), Html(text))


def _jacobian(shown: list[Comparison]) -> Section:
    caption = (
        "The derivative of each output (rows) with respect to each input (columns): as measured numerically, as your backward "
        "has it, and the difference."
    )
    if any(c.wrong for c in shown):
        caption += " Wrong entries are outlined."
    behind = joined(entry_table(c) for c in shown)
    return Section("The Jacobian", picture("jacobian", "jacobians", caption, behind, summary="The entries as a table"))


def _left_out(report: Report, shown: list[Comparison]) -> Html:
    """Which Jacobians are not to be seen, and why."""
    names = ", ".join(c.name for c in report.comparisons if all(c is not one for one in shown))
    words = f"Not drawn, because not formed (large ones are compared along directions) or too large for a page: {names}."
    return element("p", words, class_="muted small") if names else NOTHING


def _scatter(shown: list[Comparison]) -> Section:
    caption = (
        "Each entry is a point. On the line yours is the numerical value; a constant factor is a line of another slope, "
        "a missing entry lies on the axis. The numbers are in the table above."
    )
    return Section("Yours against numerical", picture("scatter", "jacobians", caption))


def _footer(report: Report) -> Html:
    from backproof import __version__

    return element("p", f"{basis(report)}; seed {report.seed}. Made by backproof {__version__}.")
