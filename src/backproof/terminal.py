"""What the command line shows: a live progress bar, or plain lines where there is no terminal, and tables."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from backproof.job import Evaluation
from backproof.progress import Record

_LINES = 10


def describe(record: Record) -> str:
    """One epoch in a line."""
    parts = [f"loss {record.train_loss:.4f}"]
    if record.validation_loss is not None:
        parts.append(f"held-out loss {record.validation_loss:.4f}")
    if "validation_accuracy" in record.metrics:
        parts.append(f"accuracy {record.metrics['validation_accuracy']:.4f}")
    return "  ".join([*parts, f"|gradient| {record.gradient_norm:.2e}"])


def _say(console: Console, record: Record) -> None:
    for remark in record.remarks:
        console.print(f"epoch {record.epoch}: {remark}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def follow(console: Console, records: Iterator[Record], epochs: int) -> Iterator[Record]:
    """Pass the records on and show them pass: a bar on a terminal, about ten plain lines elsewhere."""
    if not console.is_terminal:
        last = None
        for record in records:
            last = record
            _say(console, record)
            if record.epoch == 1 or record.epoch % max(1, epochs // _LINES) == 0:
                console.print(f"epoch {record.epoch:>4}/{epochs}  {describe(record)}", highlight=False, soft_wrap=True)
            yield record
        if last is not None and last.epoch % max(1, epochs // _LINES) and last.epoch != 1:
            console.print(f"epoch {last.epoch:>4}/{epochs}  {describe(last)}", highlight=False, soft_wrap=True)
        return
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=epochs, state="")
        for record in records:
            _say(progress.console, record)
            progress.update(task, completed=record.epoch, state=describe(record))
            yield record


@contextlib.contextmanager
def long_work(console: Console, after: float = 1.0) -> Iterator[Callable[[int, int, str], None]]:
    """A function (done, total, what) that shows a bar on a terminal, once the work has lasted `after` seconds."""
    began = time.monotonic()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=console, transient=True)
    task = None

    def show(done: int, total: int, what: str) -> None:
        nonlocal task
        if not console.is_terminal or time.monotonic() - began < after:
            return
        if task is None:
            progress.start()
            task = progress.add_task(what)
        progress.update(task, completed=done, total=total, description=what)

    try:
        yield show
    finally:
        if task is not None:
            progress.stop()


def class_table(evaluation: Evaluation, classes: list[str]) -> Table:
    """Precision, recall and F1 of each class."""
    table = Table(box=box.SIMPLE_HEAD, title="held-out examples, by class", title_justify="left")
    for name in ("class", "precision", "recall", "F1", "examples"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for i, name in enumerate(classes):
        figures = (evaluation.precision[i], evaluation.recall[i], evaluation.f1[i])
        table.add_row(Text(name), *(f"{value:.3f}" for value in figures), str(int(evaluation.support[i])))
    return table


def confusion_table(evaluation: Evaluation, classes: list[str]) -> Table:
    """Rows: true classes; columns: predicted ones. Zeros are shown as dots."""
    table = Table(box=box.SIMPLE_HEAD, title="confusion matrix (rows: true class, columns: predicted)", title_justify="left")
    table.add_column("")
    for name in classes:
        table.add_column(Text(name), justify="right")
    for name, row in zip(classes, evaluation.confusion, strict=True):
        table.add_row(Text(name), *(str(int(count)) if count else "." for count in row))
    return table
