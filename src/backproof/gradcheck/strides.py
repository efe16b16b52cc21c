"""The same values in other memory layouts: does the code respect strides?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.evaluate import Evaluator, silent
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.structure import differ


def strides(ev: Evaluator, g: Array) -> list[Finding]:
    """The same upstream values in other memory layouts (Fortran order, a strided view, stride 0), and the same inputs."""
    plain = ev.split(g)
    names = ev.subject.names
    expected = ev.vjp(g)
    loudest = max((float(np.abs(np.nan_to_num(e)).max(initial=0.0)) for e in expected if e is not None), default=0.0)
    layouts = {
        "Fortran-ordered": [np.asfortranarray(u) for u in plain],
        "strided": [_strided(u) for u in plain],
    }
    for what, upstream in layouts.items():
        if all(u.ndim == 0 or (what == "Fortran-ordered" and u.ndim < 2) for u in plain):
            continue
        got = _raw(ev, upstream, [np.array(x) for x in ev.point])
        for k in ev.subject.wrt:
            if (
                got is not None
                and expected[k] is not None
                and differ(expected[k], got[k], max(1e-10, ev.backward_epsilon), loudest)
            ):
                return [_stride(k, names[k], what, "upstream gradient", plain)]
    inputs = [
        np.array(x) if k >= ev.subject.arguments else np.asfortranarray(x) if x.ndim > 1 else _strided(x)
        for k, x in enumerate(ev.point)
    ]
    got = _raw(ev, plain, inputs)
    for k in ev.subject.wrt:
        if got is not None and expected[k] is not None and differ(expected[k], got[k], max(1e-10, ev.backward_epsilon), loudest):
            return [_stride(k, names[k], "Fortran-ordered", "input", plain)]
    m = plain[0].size if plain else 0
    if m > 1:
        ones = [np.broadcast_to(np.asarray(0.7, u.dtype), u.shape) for u in plain]
        wanted = _raw(ev, [np.array(u) for u in ones], [np.array(x) for x in ev.point])
        got = _raw(ev, ones, [np.array(x) for x in ev.point])
        for k in ev.subject.wrt:
            if (
                got is not None
                and wanted is not None
                and wanted[k] is not None
                and differ(wanted[k], got[k], max(1e-10, ev.backward_epsilon), loudest)
            ):
                return [_stride(k, names[k], "broadcast (stride 0)", "upstream gradient", plain)]
    return []


def _strided(u: Array) -> Array:
    if u.ndim == 0:
        return u
    wide = np.zeros((*u.shape[:-1], 2 * u.shape[-1]), u.dtype)
    wide[..., ::2] = u
    return wide[..., ::2]


def _raw(ev: Evaluator, upstream: Sequence[Array], inputs: Sequence[Array]) -> tuple[Array | None, ...] | None:
    """Backward without the copies of `Evaluator.backward`, which would lose the layout; None if the code refuses (read-only)."""
    ev.calls["backward"] += 1
    try:
        with silent():
            return tuple(None if g is None else np.array(g) for g in ev.subject.backward(upstream, inputs))
    except Exception:
        return None


def _stride(k: int, name: str, layout: str, what: str, plain: list[Array]) -> Finding:
    return Finding(
        "transposed" if layout == "Fortran-ordered" else "unknown",
        0.9,
        k,
        f"{name}, {layout} {what}",
        f"the gradient of {name} is right for a contiguous {what} and another for the same values in a {layout} array: its "
        "memory is "
        "read in the wrong order",
        "respect the strides, or make a contiguous copy first (np.ascontiguousarray)",
        {"layout": layout},
        name,
    )
