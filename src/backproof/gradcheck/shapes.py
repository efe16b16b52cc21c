"""Gradients of the wrong shape, and results that ignore the upstream gradient: which cause it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from backproof.arrays import Array, Shape
from backproof.gradcheck.evaluate import Evaluator
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.values import LIMIT, measure


def shape_finding(ev: Evaluator, k: int, grad: Array, grads: Sequence[Array | None], g: Array, bad: list[int]) -> Finding:
    shape, name = ev.given[k].shape, ev.subject.names[k]
    text = f"the gradient of {name} has shape {grad.shape}, its input {shape}"
    evidence = {"received": list(grad.shape), "expected": list(shape)}
    for other in bad:
        theirs = grads[other]
        if other != k and theirs is not None and theirs.shape == shape and grad.shape == ev.given[other].shape:
            return Finding(
                "swapped-gradients",
                0.98,
                k,
                name,
                f"{text}: it is that of {ev.subject.names[other]}, and the reverse",
                "return the gradients in the order of the inputs",
                evidence | {"other": other},
                name,
            )
    axes = _broadcast_axes(shape, grad.shape)
    if axes and grad.size > ev.given[k].size:
        return Finding(
            "missing-broadcast-sum",
            0.97,
            k,
            name,
            f"{text}: the forward broadcasts {name}, so its gradient is the sum over the axes {axes}",
            f"sum over the broadcast axes: grad.sum(axis={axes}).reshape({shape})",
            evidence | {"axes": list(axes)},
            name,
        )
    if (extra := _summed_axes(ev, k, grad, g)) is not None:
        return Finding(
            "missing-broadcast-sum",
            0.96,
            k,
            name,
            f"{text}: summed over its axes {extra} it is the right gradient",
            f"sum over the axes along which {name} was broadcast: grad.sum(axis={extra})",
            evidence | {"axes": list(extra)},
            name,
        )
    hint = ""
    if grad.size == ev.given[k].size:
        hint = "; it holds as many numbers: " + ("transposed" if grad.shape == shape[::-1] else "reshaped")
    return Finding(
        "wrong-shape",
        0.97,
        k,
        name,
        text + hint,
        f"return an array of shape {shape} (keepdims, reshape, a sum over the right axes)",
        evidence,
        name,
    )


def _summed_axes(ev: Evaluator, k: int, grad: Array, g: Array) -> tuple[int, ...] | None:
    """Axes that the gradient has too many of, by value: summed over them it is J^T g."""
    x = ev.point[k]
    if grad.ndim <= x.ndim or x.size > LIMIT // 4 or ev.center.size > LIMIT:
        return None
    p = measure(ev, k, None)
    true = (g @ p.numerical).reshape(x.shape)
    for kept in combinations(range(grad.ndim), x.ndim):
        axes = tuple(i for i in range(grad.ndim) if i not in kept)
        total = np.asarray(grad, dtype=np.float64).sum(axis=axes)
        if max(grad.shape[i] for i in axes) == 1:
            continue  # an axis of one entry is no sum
        if total.shape == x.shape and np.allclose(total, true, rtol=1e-4, atol=1e-4 * np.abs(true).max(initial=1e-300)):
            return axes
    return None


def _broadcast_axes(small: Shape, large: Shape) -> tuple[int, ...]:
    """Axes of `large` along which an array of shape `small` is repeated, () if it does not broadcast."""
    try:
        if np.broadcast_shapes(small, large) != large:
            return ()
    except ValueError:
        return ()
    padded = (1,) * (len(large) - len(small)) + small
    return tuple(i for i, (a, b) in enumerate(zip(padded, large, strict=True)) if a != b)


def summed_upstream(ev: Evaluator, finding: Finding) -> Finding:
    """An ignored upstream is `rows-summed` if the result is the sum of J's rows or columns, J being more than a diagonal; and
    what is
    not linear because it is h - upstream is the fused gradient in a layer of its own."""
    k = finding.input
    if k is None or ev.center.size < 2 or ev.center.size > LIMIT // 3 or ev.point[k].size > LIMIT // 3:
        return finding
    p = measure(ev, k, None)
    j, scale = p.numerical, float(np.abs(p.numerical).max(initial=0.0))
    if finding.cause == "upstream-ignored":
        r = np.asarray(finding.evidence["gradient"], dtype=np.float64).ravel()
        there = np.abs(j) > 1e-7 * scale  # a sum needs outputs that share inputs, and inputs that share outputs
        coupled = bool((there.sum(axis=0) > 1).any() and (there.sum(axis=1) > 1).any())
        for sums in (j.sum(axis=0), j.sum(axis=1)):
            if coupled and sums.shape == r.shape and np.abs(sums - r).max() <= 1e-5 * scale:
                return dataclasses.replace(
                    finding,
                    cause="rows-summed",
                    confidence=0.975,
                    message=f"the gradient of {p.name} is the sum of the Jacobian's rows (or columns), whatever the upstream "
                    "gradient",
                    fix="carry the error back by the product dx_j = sum_i J_ij g_i: every row of J with its own g_i, then the sum",
                )
    elif j.shape[0] == j.shape[1]:
        rng = np.random.default_rng(1)
        g = rng.normal(size=ev.center.size)
        got = ev.vjp(g)[k]
        y = ev.center
        if got is not None and got.size == y.size and (y >= 0).all():
            for sign in (1.0, -1.0):
                if np.allclose(sign * np.asarray(got, dtype=np.float64).ravel(), y - g, rtol=1e-6, atol=1e-8):
                    return dataclasses.replace(
                        finding,
                        cause="fused-twice",
                        confidence=0.97,
                        message=f"the gradient of {p.name} is h - upstream: "
                        "that is softmax "
                        "with cross-entropy fused, taking the upstream gradient for the target",
                        fix="in the softmax layer return h * (upstream - <h, upstream>); h - t belongs to the fused loss",
                    )
    return finding
