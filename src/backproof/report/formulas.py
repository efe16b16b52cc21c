r"""For each cause the formula of what the gradient should be, of what the code has, and what the letters mean; in TeX.

In all of them g is the upstream gradient and dx what the backward returns; the page says so where they occur.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Formula(NamedTuple):
    """What it should be and what you have, in TeX, and the letters in words."""

    should: str
    have: str
    letters: str = ""


_CHAIN = r"dx_j = \sum_i g_i \frac{\partial y_i}{\partial x_j}"
_JACOBIAN = "J is the Jacobian: its entry in row i and column j is the derivative of output i with respect to input j."
_MATRIX = r"dx = J^\top g"
_TOTAL = r"\frac{d y_i}{d x_j} = \frac{\partial y_i}{\partial x_j}"
_ROWS = "n and m count the samples of the batch."

FORMULAS: dict[str, Formula] = {
    "missing-cross-terms": Formula(_CHAIN, r"dx_j = g_j \frac{\partial y_j}{\partial x_j}"),
    "missing-normalizer-term": Formula(
        rf"{_TOTAL} + \frac{{\partial y_i}}{{\partial s}} \frac{{\partial s}}{{\partial x_j}}",
        rf"{_TOTAL} + \text{{(missing, or another)}}",
        "s is a statistic that the entries share: a mean, a variance, a norm, a sum.",
    ),
    "transposed": Formula(_MATRIX, r"dx = J g", _JACOBIAN + " In a product y = x W it is W that is transposed."),
    "rows-summed": Formula(
        _CHAIN, r"dx_j = c \sum_i \frac{\partial y_i}{\partial x_j}", "c is one number in place of each row's own g."
    ),
    "upstream-ignored": Formula(_CHAIN, r"dx_j = \sum_i 1 \cdot \frac{\partial y_i}{\partial x_j}"),
    "not-linear-in-upstream": Formula(
        r"B(a g + b g') = a B(g) + b B(g')", r"B(a g + b g') \ne a B(g) + b B(g')", "B is your backward, a and b are any numbers."
    ),
    "sign-flipped": Formula(_MATRIX, r"dx = - J^\top g", _JACOBIAN),
    "wrong-scale": Formula(_MATRIX, r"dx = c \cdot J^\top g", _JACOBIAN),
    "missing-factor": Formula(
        r"\frac{\partial y_i}{\partial x_j} = a_{ij} \cdot b_{ij}",
        r"\frac{\partial y_i}{\partial x_j} = a_{ij}",
        "b is the factor (of an activation, a scale, a mask) that one of the two lacks.",
    ),
    "derivative-at-wrong-point": Formula(
        r"dx_j = g_j \cdot f'(x_j)", r"dx_j = g_j \cdot f'(v_j)", "v is another point: the output, say, or an earlier input."
    ),
    "wrong-axis": Formula(
        r"\frac{\partial y_i}{\partial x_j} \ne 0 \quad \text{along axis } a",
        r"\frac{\partial y_i}{\partial x_j} \ne 0 \quad \text{along axis } b",
        "a is the axis that the forward couples, b the one that the backward does.",
    ),
    "missing-broadcast-sum": Formula(
        r"db_c = \sum_n g_{n c}", r"db_c = g_{n c}", "The forward repeats b along n: its gradient is the sum along n."
    ),
    "missing-batch-coupling": Formula(
        r"dx_n = \sum_m g_m \frac{\partial y_m}{\partial x_n}", r"dx_n = g_n \frac{\partial y_n}{\partial x_n}", _ROWS
    ),
    "spurious-batch-coupling": Formula(
        r"dx_n = g_n \frac{\partial y_n}{\partial x_n}",
        r"dx_n = g_n \frac{\partial y_n}{\partial x_n} + \sum_{m \ne n} \text{(something)} \cdot g_m",
        _ROWS,
    ),
    "missing-accumulation": Formula(
        r"dx_j = \sum_{\text{all paths } p} g_p \frac{\partial y_p}{\partial x_j}",
        r"dx_j = g_p \frac{\partial y_p}{\partial x_j} \quad \text{for one path } p",
        "A path is one of the uses of x: one index of a look-up, one branch, one summand.",
    ),
    "stale-state": Formula(r"dx = J(x)^\top g", r"dx = J(x')^\top g", "x' is the input of another call of the forward."),
    "input-mutated": Formula(
        r"x_{\text{after}} = x_{\text{before}}",
        r"x_{\text{after}} \ne x_{\text{before}}",
        "x stands for any array that the call was given.",
    ),
    "nondeterministic": Formula(r"f(x) = f(x)", r"f_r(x) \ne f_{r'}(x)", "r and r' are what two calls drew."),
    "wrong-at-some-entries": Formula(
        r"dx_j = \sum_i g_i J_{ij} \quad \text{for all } j",
        r"dx_j = \sum_i g_i J_{ij} \quad \text{for most } j \text{ only}",
        _JACOBIAN,
    ),
    "wrong-shape": Formula(r"\text{shape of } dx = \text{shape of } x", r"\text{shape of } dx \ne \text{shape of } x"),
    "wrong-dtype": Formula(r"\text{dtype of } dx = \text{dtype of } x", r"\text{dtype of } dx \ne \text{dtype of } x"),
    "non-finite": Formula(_CHAIN, r"dx_j \in \text{nan, } \infty , - \infty"),
    "zero-gradient": Formula(_CHAIN, r"dx_j = 0"),
    "fused-twice": Formula(
        r"dz = h - t",
        r"dz = S (h - t) \quad \text{or} \quad dz = - \frac{t}{h}",
        "h = softmax(z), t is the target, S the Jacobian of the softmax.",
    ),
    "swapped-gradients": Formula(
        r"\text{returned: } (da, db)", r"\text{returned: } (db, da)", "a and b are the two inputs, in the order of the arguments."
    ),
    "kink": Formula(
        r"f'_{\text{left}}(x) \le dx \le f'_{\text{right}}(x)",
        r"f'_{\text{left}}(x) \ne f'_{\text{right}}(x)",
        "Every value between the two one-sided slopes is a right answer (where the left one is the larger, the reverse).",
    ),
    "precision": Formula(
        r"dx = J^\top g",
        r"dx = J^\top g \cdot (1 + \epsilon)",
        "\N{GREEK SMALL LETTER EPSILON} is what rounding in this dtype does.",
    ),
    "unknown": Formula(_CHAIN, r"dx_j \ne \sum_i g_i \frac{\partial y_i}{\partial x_j}"),
}


def formula(cause: str, evidence: dict[str, Any]) -> Formula | None:
    """The formula of a cause; a constant factor is written with its value."""
    found = FORMULAS.get(cause)
    factor = evidence.get("factor")
    if found is not None and cause == "wrong-scale" and isinstance(factor, float | int):
        return found._replace(have=rf"dx = {float(factor):.4g} \cdot J^\top g")
    return found
