"""Pieces of a check's report that the page and the notebook share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backproof.gradcheck.findings import CAUSES
from backproof.gradcheck.rendering import brief, claim
from backproof.report.markup import NOTHING, Html, definitions, element, table

if TYPE_CHECKING:
    from backproof.gradcheck.findings import Finding, Report

_CLASS = {"right": "right", "wrong": "wrong", "cannot tell": "unsure"}
_SIGN = {"right": "\N{CHECK MARK}", "wrong": "\N{MULTIPLICATION X}", "unsure": "?"}


def standing(report: Report) -> str:
    """ "right", "wrong" or "unsure": the class that gives the verdict its colour."""
    if not report.ok:
        return "wrong"
    return "unsure" if report.comparisons and all(c.status == "cannot tell" for c in report.comparisons) else "right"


def headline(report: Report) -> Html:
    """The verdict as a sentence, with its sign."""
    kind = standing(report)
    words = claim(report)
    if words == "WRONG":  # of no input, but of the calls
        words = f"Wrong: {next((finding.cause for finding in report.findings if not finding.is_note), 'unknown')}"
    words = "Wrong" + words[5:] if words.startswith("WRONG") else words[0].upper() + words[1:]
    return element("span", _SIGN[kind], class_=f"sign {kind}", aria_hidden="true") + " " + words


def sure(finding: Finding) -> Html:
    """How sure the check is of a cause."""
    return element("span", f"{finding.confidence * 100:.0f} % sure", class_="badge")


def sentence(text: str, name: str) -> str:
    """The text with a capital, unless it begins with the input's name or another."""
    first = text.partition(" ")[0].rstrip(":,")
    named = first == name or not first.isalpha() or len(first) == 1
    return text if named else text[0].upper() + text[1:]


def evidence(finding: Finding) -> Html:
    """The numbers that the diagnosis rests on."""
    pairs = [(key, brief(value)) for key, value in finding.evidence.items()]
    if finding.where and finding.where != finding.name:
        pairs.insert(0, ("where", finding.where))
    return definitions(pairs) if pairs else NOTHING


def in_brief(finding: Finding) -> Html:
    """A finding in a few lines: the cause, what it says, the cure."""
    kind = "not a bug" if finding.is_note else CAUSES.get(finding.cause, "")
    of = f" of {finding.name}" if finding.name else ""
    cure = element("p", element("b", "Fix: "), finding.fix) if finding.fix and not finding.is_note else NOTHING
    head = element("p", element("strong", finding.cause), f"{of}: {kind} ", sure(finding))
    return element("div", head, element("p", sentence(finding.message, finding.name)), cure, class_="finding")


def inputs(report: Report) -> Html:
    """What was compared, an input a row."""
    head = ["input", "shape", "dtype", "verdict", "wrong", "undecided", "compared", "largest difference", "its error bar"]
    rows = [
        [
            c.name,
            " \N{MULTIPLICATION SIGN} ".join(map(str, c.shape)) or "scalar",
            c.dtype,
            element("span", c.status, class_=f"badge {_CLASS.get(c.status, '')}"),
            *(f"{count:,}" for count in (c.wrong, c.undecided, c.entries)),
            f"{c.worst:.2g}",
            f"{c.bar:.1g}",
        ]
        for c in report.comparisons
    ]
    return table(head, rows, "The gradient of each input against its numerical derivative", numeric=range(4, 9))


def notes(report: Report) -> Html:
    """The report's notes as a list; nothing if there are none."""
    return element("ul", *(element("li", note) for note in report.notes)) if report.notes else NOTHING
