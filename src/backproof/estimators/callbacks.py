"""scikit-learn's callbacks (from version 1.9 on; before, estimators have none): a task for the fit, and in it one an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from backproof.progress import Record

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
    from sklearn.callback import with_callbacks as with_callbacks
except ImportError:  # scikit-learn below 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing to support."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        return method


def tell(estimator: Any, records: Iterator[Record], epochs: int, X: Any, y: Any) -> Iterator[Record]:
    """Pass the records on, and tell the estimator's callbacks of each epoch's begin and end; one of them may end the training."""
    if not getattr(estimator, "_skl_callbacks", None):
        yield from records
        return
    fit = estimator._init_callback_context(max_subtasks=epochs)
    data = {"estimator": estimator, "X": X, "y": y, "reconstruction_attributes": lambda: _fitted(estimator)}
    fit.call_on_fit_task_begin(**data)
    stop = False
    while not stop:
        epoch = fit.subcontext(task_name="epoch")
        epoch.call_on_fit_task_begin(**data)
        record = next(records, None)
        if record is not None:
            yield record
        stop = epoch.call_on_fit_task_end(**data) or record is None or record.epoch == epochs
    fit.call_on_fit_task_end(**data)


def _fitted(estimator: Any) -> dict[str, Any]:
    """What a copy of the estimator needs to predict as if training had stopped here."""
    fitted = {name: value for name, value in vars(estimator).items() if name.endswith("_") and not name.startswith("_")}
    return {**fitted, "network_": estimator.network_.copy(), "_coding": estimator._coding}
