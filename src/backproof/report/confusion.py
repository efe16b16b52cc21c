"""Which classes are taken for which, and the examples of it: images where the data are images, else a table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backproof.arrays import Array
from backproof.report.images import as_bytes, image
from backproof.report.markup import Html, element, joined, table
from backproof.report.page import Section
from backproof.report.training_data import Training, confused_pairs

MOST_CLASSES = 30  # of a confusion matrix; of more the most frequent confusions are listed
MOST_FEATURES = 20  # of a table of mistakes
_NUMBERS = "Example 1 is the first in the data."


def class_section(training: Training) -> Iterator[Section]:
    """The confusion matrix, and each class's figures."""
    e, names = training.evaluation, training.classes
    rows = (
        (name, f"{e.precision[i]:.3f}", f"{e.recall[i]:.3f}", f"{e.f1[i]:.3f}", f"{e.support[i]:,}") for i, name in enumerate(names)
    )
    figures = table(("class", "precision", "recall", "F1", "examples"), rows, "By class", numeric=(1, 2, 3, 4))
    if len(names) <= MOST_CLASSES:
        yield Section("Which classes are taken for which?", _matrix(e.confusion, names) + figures)
        return
    pairs = ((names[i], names[j], f"{count:,}") for i, j, count in confused_pairs(e.confusion))
    yield Section(
        "Which classes are taken for which?",
        table(("class", "taken for", "examples"), pairs, "The most frequent confusions", numeric=(2,)) + figures,
    )


def _matrix(confusion: Array, names: list[str]) -> Html:
    """A cell is as strongly coloured as its share of the true class: blue right, orange wrong (by the root, rare ones show)."""
    total = np.maximum(confusion.sum(axis=1), 1)
    body = []
    for i, name in enumerate(names):
        cells = [element("th", name, scope="row")]
        for j, taken in enumerate(names):
            share = float(confusion[i, j] / total[i])
            strength = share if i == j else share**0.5
            told = f"{confusion[i, j]:,} of class {name} taken for {taken}"
            kind = "right" if i == j else None if confusion[i, j] else "none"
            cells.append(element("td", f"{confusion[i, j]:,}", style=f"--share:{strength:.3f}", title=told, class_=kind))
        body.append(element("tr", *cells))
    head = element(
        "tr", element("th", "true class", scope="col"), *(element("th", name, scope="col", class_="number") for name in names)
    )
    caption = "Confusion matrix of the held-out examples. Rows: true class; columns: what it is taken for."
    whole = element("table", element("caption", caption), element("thead", head), element("tbody", *body), class_="confusion")
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label="Confusion matrix")


def mistakes_section(training: Training) -> Section:
    """The most confident mistakes."""
    found, total = training.evaluation.mistakes, int(training.evaluation.support.sum())
    heading = "The most confident mistakes"
    if not len(found):
        return Section(heading, element("p", "There are none." if training.diverged is None else "The logits are not finite."))
    shown = f"are the {len(found):,} most confident" if len(found) < found.count else "they are, the most confident first"
    said = element("p", f"{found.count:,} of {total:,} held-out examples are taken for another class. Here {shown}. {_NUMBERS}")
    return Section(heading, said + (_table(training) if training.job.coding.image is None else _gallery(training)))


def _gallery(training: Training) -> Html:
    found, size, names = training.evaluation.mistakes, training.job.coding.image, training.classes
    assert size is not None
    shape = (size.height, size.width) if (size.channels or 1) == 1 else (size.height, size.width, size.channels)
    pixels = as_bytes(found.x).reshape(-1, *shape)
    items = []
    for k, place in enumerate(training.job.test_set.places(found.order)):
        true, taken = names[found.true[k]], names[found.taken[k]]
        told = element("span", f"{true} taken for {taken} ({found.confidence[k]:.1%})", element("br"), _numbered(place))
        items.append(element("li", image(pixels[k], f"an example of {true}, taken for {taken}"), told))
    return element("ul", joined(items), class_="gallery")


def _numbered(place: int) -> Html:
    return element("span", f"example {place + 1:,}", class_="muted")


def _table(training: Training) -> Html:
    found, coding, names = training.evaluation.mistakes, training.job.coding, training.classes
    features = coding.features[:MOST_FEATURES]
    head = ("example", "true class", "taken for", "probability", "of the true class", *features)
    rows = (
        (
            f"{place + 1:,}", names[found.true[k]], names[found.taken[k]], f"{found.confidence[k]:.4f}",
            f"{found.true_probability[k]:.4f}", *coding.decode(found.x[k])[:MOST_FEATURES],
        ) for k, place in enumerate(training.job.test_set.places(found.order))
    )  # fmt: skip
    more = len(coding.features) - len(features)
    caption = "Mistakes" + (f" (the first {len(features)} of {len(coding.features):,} features)" if more else " and their features")
    texts = {*coding.categories, *coding.dates}
    return table(
        head, rows, caption, numeric=[k for k, name in enumerate(head) if (k >= 5 and name not in texts) or k in (0, 3, 4)]
    )
