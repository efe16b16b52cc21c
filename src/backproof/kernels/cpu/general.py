"""Cross-entropy with its options: class weights, label smoothing, probabilities, z-loss, softcap, temperature. One row at a time.

The row is written down in double precision as u = softcap(z) / temperature, whose exponentials are those of long_rows.py. With
q_i = class_weight_i ((1 - smoothing) t_i + smoothing / C) what class i is to have, T = sum(q), k the largest u, d_i = u_i - u_k,
s the sum of the other exponentials and l = u_k + log1p(s):

    loss = T log1p(s) + sum_i q_i (-d_i) + z_loss l^2
    dloss/du_i = (T + 2 z_loss l) h_i - q_i    at k, if s < 1: (sum over j != k of q_j) - T s / (1 + s) + 2 z_loss l / (1 + s)
    du_i/dz_i = (1 - tanh(z_i / c)^2) / temperature

Where two terms would cancel, the larger two are not formed: see reference.py. Sums carry what rounding takes from them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backproof.arrays import Array
from backproof.kernels.compiled import compiled, get, pointer, put
from backproof.kernels.cpu import calls
from backproof.kernels.cpu.lanes import at, lanes_of
from backproof.kernels.cpu.long_rows import top_of
from backproof.kernels.cpu.overlapped import three_rows
from backproof.kernels.cpu.quotient import share_of_row
from backproof.kernels.rows import panel_width

INFINITY, NAN = np.inf, np.nan


@compiled()
def add(total: float, rest: float, term: float) -> tuple[float, float]:
    """total + rest + term, with what rounding takes from the sum kept in rest (Knuth's TwoSum)."""
    new = total + term
    back = new - total
    return new, rest + ((total - (new - back)) + (term - back))


@compiled()
def prepared(x: Any, step: int, n: int, softcap: float, temperature: float, u: Any) -> tuple[bool, int]:
    """The row with softcap and temperature, and padding of -inf to a vector; whether there is a nan, how many +inf.

    Where there are +inf they are 0 and all else is -inf: the limit.
    """
    many, lost = 0, False
    for i in range(n):
        z = 1.0 * get(x, i * step)
        if z != z:
            lost = True
        if softcap > 0.0 and z != -INFINITY:
            z = softcap * math.tanh(z / softcap)
        z = z / temperature
        if z == INFINITY:
            many += 1
        put(u, i, z)
    if many > 0:
        for i in range(n):
            put(u, i, 0.0 if get(u, i) == INFINITY else -INFINITY)
    return lost, many


@compiled()
def slope(z: float, softcap: float, temperature: float) -> float:
    """du/dz = 1 / (cosh(z / c)^2 temperature), 1 - tanh^2 without its cancellation."""
    if softcap > 0.0:
        e = math.exp(-abs(z / softcap))
        half = 2.0 * e / (1.0 + e * e)  # 1 / cosh
        return half * half / temperature
    return 1.0 / temperature


@compiled()
def share_of(
    targets: Any, tc: int, soft: bool, label: int, class_weight: Any, weighted: bool, smoothing: float, n: int, i: int
) -> float:
    """q_i."""
    t = np.float64(get(targets, i * tc)) if soft else 1.0 if i == label else 0.0
    q = (1.0 - smoothing) * t + smoothing / n if smoothing != 0.0 else t
    return q * get(class_weight, i) if weighted else q


def rows(
    like: Any, x_address: int, xi: int, xc: int, out_address: int, oi: int, oc: int, labels_address: int, targets_address: int,
    ti: int, tc: int, weights_address: int, class_weight_address: int, ignored: int, smoothing: float, z_loss: float,
    softcap: float, temperature: float, losses_address: int, n: int, first: int, last: int, work: int,
) -> None:  # fmt: skip
    """An address of 0: what it would point to is not given. Targets are double precision; softcap 0: none."""
    x, out = pointer(x_address, like), pointer(out_address, like)
    labels, targets, losses = pointer(labels_address, 1), pointer(targets_address, 1.0), pointer(losses_address, 1.0)
    weights, class_weight = pointer(weights_address, 1.0), pointer(class_weight_address, 1.0)
    one = 1.0
    width = lanes_of(one)
    u = pointer(work, 1.0)
    padded = max(n, width)
    e = at(u, padded)
    soft, weighted = labels_address == 0, class_weight_address != 0
    for r in range(first, last):
        row, to = at(x, r * xi), at(out, r * oi)
        target = at(targets, r * ti)
        label = 0 if soft else get(labels, r)
        weight = get(weights, r) if weights_address != 0 else 1.0
        if not soft and label == ignored:
            put(losses, r, 0.0)
            if out_address != 0:
                for i in range(n):
                    put(to, i * oc, 0.0)
            continue
        lost, many = prepared(row, xc, n, softcap, temperature, u)
        for i in range(n, padded):
            put(u, i, -INFINITY)
        top, second, place, _ = top_of(one, u, padded)
        empty = top == -INFINITY
        s = 0.0
        if not (empty or lost):
            s, _, _, _, _, _ = three_rows(one, padded, u, top, second, place, e, True, u, u, 0.0, 0.0, u, False, False)
        k, mass, mass_rest, cost, cost_rest, beside, beside_rest = -1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        infinite = False
        for i in range(n):
            z = get(u, i)
            q = share_of(target, tc, soft, label, class_weight, weighted, smoothing, n, i)
            mass, mass_rest = add(mass, mass_rest, q)
            if k < 0 and z == top:
                k = i
            else:
                beside, beside_rest = add(beside, beside_rest, q)
            if q != 0.0:
                if z == -INFINITY:
                    infinite = True
                else:
                    cost, cost_rest = add(cost, cost_rest, q * (top - z))
        mass, cost, beside = mass + mass_rest, cost + cost_rest, beside + beside_rest
        log_sum = math.log1p(s)
        log_all = INFINITY if many > 0 else top + log_sum
        value = mass * log_sum + cost
        if infinite:
            value = INFINITY
        elif empty:
            value = 0.0
        if z_loss != 0.0 and not empty:
            value += z_loss * log_all * log_all
        put(losses, r, NAN if lost else value)
        if out_address == 0:
            continue
        whole = 1.0 + s
        share, share_rest = share_of_row(one, mass, s)
        pull = 2.0 * z_loss * log_all if z_loss != 0.0 and not empty else 0.0
        for i in range(n):
            g = 0.0
            if lost:
                g = NAN
            elif not empty:
                q = share_of(target, tc, soft, label, class_weight, weighted, smoothing, n, i)
                h = get(e, i)
                if i == k and s < 1.0:  # else h_k <= 1/2, and there is nothing to mend
                    g = (beside - s * share) - s * share_rest + (pull / whole if pull != 0.0 else 0.0)
                else:
                    g = h * share - q + h * share_rest
                    if pull != 0.0 and h != 0.0:
                        g += pull * h / whole
                z = np.float64(get(row, i * xc))
                if softcap > 0.0 and np.isinf(z):
                    g = 0.0
                else:
                    g *= weight * slope(z, softcap, temperature)
            put(to, i * oc, 0.0 if weight == 0.0 else g)


def cross_entropy(
    x: Array, target: Array, weights: Array | None, class_weight: Array | None, ignored: int, smoothing: float, z_loss: float,
    softcap: float | None, temperature: float, losses: Array, to: Array | None,
) -> None:  # fmt: skip
    n, item = x.shape[1], x.itemsize
    soft = target.ndim == 2
    given = np.ascontiguousarray(target, dtype=np.float64 if soft else np.int64)
    factors = None if class_weight is None else np.ascontiguousarray(class_weight, dtype=np.float64)
    weights = None if weights is None else np.ascontiguousarray(weights)
    out, oi, oc = (0, 0, 0) if to is None else (to.ctypes.data, to.strides[0] // item, to.strides[1] // item)
    lanes = panel_width(8)
    arguments = (
        x.ctypes.data, x.strides[0] // item, x.strides[1] // item, out, oi, oc,
        0 if soft else given.ctypes.data, given.ctypes.data if soft else 0, n if soft else 0, 1,
        0 if weights is None else weights.ctypes.data, 0 if factors is None else factors.ctypes.data, ignored,
        float(smoothing), float(z_loss), float(softcap or 0.0), float(temperature), losses.ctypes.data, n,
    )  # fmt: skip
    calls.sweep(rows, "i" * 13 + "d" * 4 + "iiflw", x.dtype).over(len(x), n, 2 * max(n, lanes) + 4 * lanes, arguments)
