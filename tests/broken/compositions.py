"""Right gradients that provoke false alarms, and mistakes inside networks and cells that are hard to name; written from the contract
alone, without a look at the check."""

import numpy as np
import pytest

from tests.broken.tables import Case

pytest.importorskip("jax")
pytest.importorskip("torch")
import jax
import jax.numpy as jnp
import torch
import torch.nn as nn
import torch.nn.functional as F

CASES = []


def add(name, cause, target, inputs, backward=None, **kw):
    CASES.append(Case(name, cause, target, tuple(inputs), backward, **kw))


def rn(seed, *shape, s=1.0, dt=np.float64):
    return np.asarray(np.random.default_rng(seed).normal(size=shape) * s, dt)


def tn(seed, *shape, s=1.0, dt=torch.float64):
    return torch.tensor(rn(seed, *shape, s=s)).to(dt)


def jn(seed, *shape, s=1.0, dt=jnp.float32):
    return jnp.asarray(rn(seed, *shape, s=s), dt)


def sig(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax_b(g, x, axis=-1):
    p = softmax(x, axis)
    return p * (g - (g * p).sum(axis=axis, keepdims=True))


def lnorm(x, gamma, beta, eps=1e-5):
    m = x.mean(-1, keepdims=True)
    c = x - m
    return gamma * c / np.sqrt((c * c).mean(-1, keepdims=True) + eps) + beta


def lnorm_b(g, x, gamma, beta, eps=1e-5, bug=None):
    c = x - x.mean(-1, keepdims=True)
    inv = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + eps)
    xh = c * inv
    lead = tuple(range(x.ndim - 1))
    d = g if bug == "no gamma" else g * gamma
    if bug == "no var term":
        dx = inv * (d - d.mean(-1, keepdims=True))
    elif bug == "no mean term":
        dx = inv * (d - xh * (d * xh).mean(-1, keepdims=True))
    elif bug == "whole array":
        dx = inv * (d - d.mean() - xh * (d * xh).mean())
    elif bug == "axis 0":
        dx = inv * (d - d.mean(0, keepdims=True) - xh * (d * xh).mean(0, keepdims=True))
    else:
        dx = inv * (d - d.mean(-1, keepdims=True) - xh * (d * xh).mean(-1, keepdims=True))
    dgamma, dbeta = (g * xh).sum(lead), g.sum(lead)
    if bug == "swap":
        dgamma, dbeta = dbeta, dgamma
    return dx, dgamma, dbeta


# =====================================================================================================
# Part 1: right gradients that provoke false alarms
# =====================================================================================================

# --- low precision -----------------------------------------------------------------------------------
add("softmax rows: float32", "", softmax, (rn(1, 4, 6, dt=np.float32),), softmax_b)
add("softmax rows: float16", "precision", softmax, (rn(2, 3, 5, dt=np.float16),), softmax_b)


def f(x):
    return np.tanh(x) * x


def b(g, x):
    t = np.tanh(x)
    return g * (t + x * (1 - t * t))


add("x tanh(x): float16 with entries from 1e-4 to 8", "precision", f, (np.array([1e-4, -2e-3, 0.1, -1, 3, 8], np.float16),), b)

add(
    "layer norm: float32 on an offset of 3000",
    "precision",
    lnorm,
    ((rn(3, 4, 8) + 3000).astype(np.float32), rn(4, 8, dt=np.float32), rn(5, 8, dt=np.float32)),
    lnorm_b,
)


def f(x, t):
    return np.asarray(((x - t) ** 2).sum(), x.dtype)


def b(g, x, t):
    d = 2 * (x - t) * g
    return d, -d


add("squared error: float32, summed over 3000 samples", "", f, (rn(6, 3000, dt=np.float32), rn(7, 3000, dt=np.float32)), b)


def f(x, w):
    z = x @ w
    return np.asarray(np.logaddexp(0, -z).mean(), x.dtype)


def b(g, x, w):
    d = -sig(-(x @ w)) / len(x) * g
    return np.outer(d, w), x.T @ d


add("logistic loss: float32 mean over 600 samples", "", f, (rn(8, 600, 4, dt=np.float32), rn(9, 4, dt=np.float32)), b)


def f(x):
    return np.asarray(x.astype(np.float64).var(ddof=1))


def b(g, x):
    y = x.astype(np.float64)
    return (2 * g * (y - y.mean()) / (y.size - 1)).astype(x.dtype)


add("sample variance: float32 in, float64 out, offset 1000", "", f, ((rn(10, 20) + 1000).astype(np.float32),), b)


def f(x):
    y = x.astype(np.float32)
    return np.sin(y) * np.exp(-y * y)


def b(g, x):
    y = x.astype(np.float32)
    return (g * np.exp(-y * y) * (np.cos(y) - 2 * y * np.sin(y))).astype(x.dtype)


add("damped sine: float64 in, computed and returned in float32", "precision", f, (rn(11, 7),), b)


def f(x, w):
    return (x.astype(np.float32) @ w.astype(np.float32)).astype(np.float64)


def b(g, x, w):
    h = g.astype(np.float32)
    return (h @ w.astype(np.float32).T).astype(np.float64), (x.astype(np.float32).T @ h).astype(np.float64)


add("matmul: float64 in and out, float32 hidden inside", "precision", f, (rn(12, 4, 5), rn(13, 5, 3)), b)


def f(x):
    y = x.astype(np.float16)
    return (y * y).astype(np.float32)


def b(g, x):
    return (2 * x.astype(np.float16) * g.astype(np.float16)).astype(x.dtype)


add("square: float32 in and out, float16 hidden inside", "precision", f, (rn(14, 6, dt=np.float32),), b)

# --- scales ------------------------------------------------------------------------------------------
add("cube: inputs near 1e6", "", lambda x: x**3, (rn(15, 5, s=1e6),), lambda g, x: 3 * x * x * g)
add("tanh: inputs near 1e-8", "", np.tanh, (rn(16, 5, s=1e-8),), lambda g, x: g * (1 - np.tanh(x) ** 2))
add(
    "product of two vectors: 1e-8 beside 1e8 in both",
    "",
    lambda a, c: a * c,
    (np.array([1e-8, 3.0, -2e8, 5e-8]), np.array([2e8, -1e-8, 4e-8, 1.5e8])),
    lambda g, a, c: (g * c, g * a),
)


def f(x):
    return np.asarray((x * x).sum())


add("sum of squares: 1e-8 beside 1e8", "", f, (np.array([1e-8, -2e8, 3e-5, 40.0, 7e-8]),), lambda g, x: 2 * x * g)
add(
    "x exp(-x / 1e6): inputs from 1 to 1e7, float32",
    "",
    lambda x: x * np.exp(-x / 1e6),
    (np.array([1, 50, 3e4, 1e6, 1e7], np.float32),),
    lambda g, x: g * np.exp(-x / 1e6) * (1 - x / 1e6),
)
add(
    "logsumexp: scores near 10000 with a gap of 2",
    "",
    lambda x: np.asarray(x.max() + np.log(np.exp(x - x.max()).sum())),
    (np.array([10000.0, 9998.0, 9999.5, 0.0, -10000.0]),),
    lambda g, x: g * softmax(x),
)
add(
    "softplus: at 0, 700, -700 and 1000",
    "",
    lambda x: np.logaddexp(0, x),
    (np.array([0.0, 700, -700, 1000, -1000, 1e-9]),),
    lambda g, x: g * sig(x),
)
add(
    "log-sigmoid: float32 at 0, 90, -90",
    "",
    lambda x: -np.logaddexp(np.float32(0), -x),
    (np.array([0, 90, -90, 0.3, -2], np.float32),),
    lambda g, x: g * sig(-x),
)
add("1 + 1e-10 sin(x): nearly constant", "", lambda x: 1 + 1e-10 * np.sin(x), (rn(17, 5),), lambda g, x: g * 1e-10 * np.cos(x))
add("1e8 + sum sin(x): large offset", "", lambda x: np.asarray(1e8 + np.sin(x).sum()), (rn(18, 6),), lambda g, x: g * np.cos(x))
add(
    "100 + sin(x): float32 offset eats the digits",
    "precision",
    lambda x: np.float32(100) + np.sin(x),
    (rn(19, 6, dt=np.float32),),
    lambda g, x: g * np.cos(x),
)

# --- curvature ---------------------------------------------------------------------------------------
add("sin(100 x): oscillating", "", lambda x: np.sin(100 * x), (rn(20, 6),), lambda g, x: 100 * g * np.cos(100 * x))
add(
    "sin(100 x): oscillating, float32",
    "precision",
    lambda x: np.sin(100 * x),
    (rn(21, 6, dt=np.float32),),
    lambda g, x: 100 * g * np.cos(100 * x),
)
add(
    "exp(50 x): sharply curved, values over 40 decades",
    "",
    lambda x: np.exp(50 * x),
    (np.array([-1.0, -0.3, 0.0, 0.4, 0.9]),),
    lambda g, x: 50 * g * np.exp(50 * x),
)
add(
    "sigmoid(1e4 x): steep near 0",
    "",
    lambda x: sig(1e4 * x),
    (np.array([0.0, 1e-4, -3e-4, 5e-5, 1.0, -1.0]),),
    lambda g, x: 1e4 * g * sig(1e4 * x) * sig(-1e4 * x),
)
add(
    "sin(1 / x): inputs near 0.01",
    "",
    lambda x: np.sin(1 / x),
    (np.array([0.01, -0.013, 0.02, 0.5]),),
    lambda g, x: -g * np.cos(1 / x) / (x * x),
)

# --- kinks -------------------------------------------------------------------------------------------
relu = lambda x: np.maximum(x, 0)
add("relu: two entries exactly 0", "kink", relu, (np.array([0.0, -1.0, 2.0, 0.0, 0.5]),), lambda g, x: g * (x > 0))
add("abs: an entry exactly 0, slope 0 chosen", "kink", np.abs, (np.array([0.0, -1.5, 2.0, 3.0]),), lambda g, x: g * np.sign(x))


def f(x):
    return x.max(axis=1)


def b_shared(g, x):
    m = x == x.max(axis=1, keepdims=True)
    return g[:, None] * m / m.sum(axis=1, keepdims=True)


def b_first(g, x):
    m = np.zeros_like(x)
    m[np.arange(len(x)), x.argmax(1)] = g
    return m


ties = np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0], [0.5, -1.0, 0.2, 0.1]])
add("row max: ties share the gradient", "kink", f, (ties,), b_shared)
add("row max: ties, the first takes the gradient", "kink", f, (ties,), b_first)


def f(s, y):
    return np.maximum(0, 1 - y * s).mean(keepdims=False) + np.zeros(())


def b(g, s, y):
    return -y * (y * s < 1) * g / s.size, None


add(
    "hinge loss: two samples exactly at the margin",
    "kink",
    f,
    (np.array([1.0, -1.0, 0.3, 2.0, -0.2]), np.array([1, -1, -1, 1, 1])),
    b,
)
add(
    "clip: entries exactly at both bounds",
    "kink",
    lambda x: np.clip(x, -1, 1),
    (np.array([-1.0, 1.0, 0.2, 3.0, -2.0]),),
    lambda g, x: g * ((x >= -1) & (x <= 1)),
)


def b(g, x):
    out = np.zeros_like(x)
    out[np.argsort(x, kind="stable")] = g
    return out


add("sort: two tied pairs", "kink", lambda x: np.sort(x, kind="stable"), (np.array([2.0, 1.0, 2.0, 0.0, 1.0]),), b)


def f(x):
    return np.sqrt((x * x).sum(-1))


def b(g, x):
    n = np.sqrt((x * x).sum(-1, keepdims=True))
    return g[..., None] * x / np.where(n == 0, 1, n)


add("norm of rows: one row zero, subgradient 0", "kink", f, (np.array([[0.0, 0, 0], [1, 2, -2], [0, 0, 3]]),), b)


def f(x):
    a = np.abs(x)
    return np.where(a <= 1, 0.5 * x * x, a - 0.5)


add(
    "Huber: entries exactly at the threshold (smooth there)",
    "",
    f,
    (np.array([1.0, -1.0, 0.0, 2.5, -3.0, 0.4]),),
    lambda g, x: g * np.clip(x, -1, 1),
)
add("x |x|: smooth at 0", "", lambda x: x * np.abs(x), (np.array([0.0, 1.0, -2.0, 0.0, 1e-7]),), lambda g, x: 2 * g * np.abs(x))
add(
    "relu squared: smooth at 0",
    "",
    lambda x: relu(x) ** 2,
    (np.array([0.0, 1.0, -2.0, 0.0, 3e-6, -1e-6]),),
    lambda g, x: 2 * g * relu(x),
)
add(
    "x - floor(x): slope 1, jumps at the integers (one entry 1e-5 from one)",
    "",
    lambda x: x - np.floor(x),
    (np.array([0.5, 1.3, -0.7, 2 + 1e-5]),),
    lambda g, x: g * np.ones_like(x),
)
add(
    "round to a grid of 1/4: the gradient really is zero",
    "",
    lambda x: np.round(4 * x) / 4,
    (np.array([0.3, 1.3, -0.72, 2.1]),),
    lambda g, x: np.zeros_like(x),
)

# --- layouts -----------------------------------------------------------------------------------------
mm, mm_b = (lambda x, w: x @ w), (lambda g, x, w: (g @ w.T, x.T @ g))
add("matmul: every second row and column (strided)", "", mm, (rn(22, 8, 10)[::2, ::2], rn(23, 5, 6)[:, ::2]), mm_b)
add(
    "layer norm: Fortran-ordered, negative-stride gamma",
    "",
    lnorm,
    (np.asfortranarray(rn(24, 4, 5)), rn(25, 5)[::-1], rn(26, 10)[9::-2]),
    lnorm_b,
)
add(
    "cumulative sum: negative-stride input, view returned",
    "",
    lambda x: np.cumsum(x, axis=-1),
    (rn(27, 3, 5)[::-1, ::-1],),
    lambda g, x: np.cumsum(g[..., ::-1], axis=-1)[..., ::-1],
)
add("softmax: one row broadcast to four (stride 0, read-only)", "", softmax, (np.broadcast_to(rn(28, 5), (4, 5)),), softmax_b)


def frozen(x):
    x.flags.writeable = False
    return x


add(
    "scaled tanh: read-only inputs",
    "",
    lambda x, w: np.tanh(x * w),
    (frozen(rn(29, 3, 4)), frozen(rn(30, 4))),
    lambda g, x, w: (g * w * (1 - np.tanh(x * w) ** 2), (g * x * (1 - np.tanh(x * w) ** 2)).sum(0)),
)


# --- shapes ------------------------------------------------------------------------------------------
add(
    "x sin(x): 0-d input, a Python float returned",
    "",
    lambda x: np.asarray(x * np.sin(x)),
    (np.array(0.7),),
    lambda g, x: float(g * (np.sin(x) + x * np.cos(x))),
)
add(
    "a b + c: three scalars, a list of Python floats returned",
    "",
    lambda a, c, d: np.asarray(a * c + d),
    (np.array(2.0), np.array(-3.0), np.array(0.5)),
    lambda g, a, c, d: [float(g * c), float(g * a), float(g)],
)
add(
    "mean of x^2 along axis 1: gradient as nested lists",
    "",
    lambda x: (x * x).mean(1),
    (rn(31, 2, 3),),
    lambda g, x: (2 * x * g[:, None] / x.shape[1]).tolist(),
)
add("column sums of squares: an empty batch", "", lambda x: (x * x).sum(0), (np.zeros((0, 3)),), lambda g, x: 2 * x * g)
add("layer norm: normalised axis of size 1 (gradient of x is zero)", "", lnorm, (rn(32, 4, 1), rn(33, 1), rn(34, 1)), lnorm_b)
add("softmax: axis of size 1 (gradient zero)", "", softmax, (rn(35, 5, 1),), softmax_b)
add(
    "affine: bias of shape (), scale of shape (3, 1)",
    "",
    lambda x, s, c: x * s + c,
    (rn(36, 2, 3, 4), rn(37, 3, 1), np.array(0.3)),
    lambda g, x, s, c: (g * s, (g * x).sum((0, 2))[:, None], g.sum()),
)
add("x w: gradient returned as a transposed view", "", mm, (rn(38, 3, 4), rn(39, 4, 5)), lambda g, x, w: ((w @ g.T).T, (g.T @ x).T))
add(
    "rotate by a fixed permutation: Jacobian asymmetric",
    "",
    lambda x: x[[3, 0, 4, 1, 2]],
    (rn(40, 5),),
    lambda g, x: g[np.argsort([3, 0, 4, 1, 2])],
)


# --- losses with labels and masks ----------------------------------------------------------------------
def ce(z, y):
    ok = y >= 0
    m = z.max(1, keepdims=True)
    lp = z - m - np.log(np.exp(z - m).sum(1, keepdims=True))
    n = max(int(ok.sum()), 1)
    return np.asarray(-(lp[np.arange(len(z)), np.where(ok, y, 0)] * ok).sum() / n, z.dtype)


def ce_b(g, z, y):
    ok = y >= 0
    p = softmax(z, 1)
    p[np.arange(len(z)), np.where(ok, y, 0)] -= 1
    return (p * ok[:, None] * (g / max(int(ok.sum()), 1))).astype(z.dtype), None


z30 = rn(41, 4, 5)
z30[[0, 1, 2], [1, 2, 0]] += 30
add("cross-entropy: confident and right, gap 30", "", ce, (z30, np.array([1, 2, 0, 3])), ce_b)
z60 = rn(42, 3, 4)
z60[[0, 1, 2], [1, 2, 0]] += 60
add("cross-entropy: gap 60, one sample confidently wrong", "", ce, (z60, np.array([1, 2, 3])), ce_b)
add("cross-entropy: gap 30, float32", "", ce, (z30.astype(np.float32), np.array([1, 2, 0, 3])), ce_b)
add("cross-entropy: labels -1 ignored", "", ce, (rn(43, 5, 4), np.array([1, -1, 3, -1, 0])), ce_b)
add("cross-entropy: every label ignored (loss 0, gradient 0)", "", ce, (rn(44, 3, 4), np.array([-1, -1, -1])), ce_b)


def masked_softmax(x, keep):
    z = np.where(keep, x, -np.inf)
    m = z.max(-1, keepdims=True)
    e = np.where(keep, np.exp(z - np.where(np.isfinite(m), m, 0)), 0)
    s = e.sum(-1, keepdims=True)
    return e / np.where(s == 0, 1, s)


def masked_softmax_b(g, x, keep):
    p = masked_softmax(x, keep)
    return p * (g - (g * p).sum(-1, keepdims=True)), None


add(
    "softmax under a -inf mask, boolean mask input",
    "",
    masked_softmax,
    (rn(45, 4, 5), np.random.default_rng(45).random((4, 5)) < 0.7),
    masked_softmax_b,
)
keep = np.tril(np.ones((4, 4), bool))
keep[2] = False
add("softmax under a causal mask: one row wholly masked gives zeros", "", masked_softmax, (rn(46, 4, 4), keep), masked_softmax_b)
add("softmax: -inf among the scores themselves", "", softmax, (np.array([[1.0, -np.inf, 0.5], [0.2, 0.1, -np.inf]]),), softmax_b)
add(
    "dropout: the mask given as an input",
    "",
    lambda x, m: x * m / 0.75,
    (rn(47, 4, 5), np.random.default_rng(47).random((4, 5)) < 0.75),
    lambda g, x, m: (g * m / 0.75, None),
)

# --- edges of the domain -------------------------------------------------------------------------------
add("log: inputs 1e-9, 1e-6, 0.5", "", np.log, (np.array([1e-9, 1e-6, 0.5, 1e5]),), lambda g, x: g / x)
add("sqrt: inputs 1e-12 to 4", "", np.sqrt, (np.array([1e-12, 1e-8, 1e-3, 4.0]),), lambda g, x: g * 0.5 / np.sqrt(x))
add("1 / x: inputs 1e-5, -2e-4, 1e4", "", lambda x: 1 / x, (np.array([1e-5, -2e-4, 0.5, 1e4]),), lambda g, x: -g / (x * x))
add(
    "arcsin: 1e-7 from the edge",
    "",
    np.arcsin,
    (np.array([1 - 1e-7, -1 + 1e-6, 0.3]),),
    lambda g, x: g / np.sqrt((1 - x) * (1 + x)),
)
add(
    "binary entropy: p = 1e-7 and 1 - 1e-7",
    "",
    lambda p: -p * np.log(p) - (1 - p) * np.log1p(-p),
    (np.array([1e-7, 1 - 1e-7, 0.5, 0.2]),),
    lambda g, p: g * (np.log1p(-p) - np.log(p)),
)


# --- indices, products -----------------------------------------------------------------------------------
def b(g, table, idx):
    out = np.zeros_like(table)
    np.add.at(out, idx, g)
    return out, None


add(
    "embedding: repeated indices, rows never used",
    "",
    lambda table, idx: table[idx],
    (rn(48, 6, 3), np.array([[1, 1, 4], [1, 0, 4]])),
    b,
)


def f(x, ids):
    s, n = np.zeros((4, x.shape[1])), np.zeros(4)
    np.add.at(s, ids, x)
    np.add.at(n, ids, 1)
    return s / np.maximum(n, 1)[:, None]


add(
    "segment mean: unsorted ids, one empty segment",
    "",
    f,
    (rn(49, 6, 2), np.array([2, 0, 2, 2, 0, 3])),
    lambda g, x, ids: ((g / np.maximum(np.bincount(ids, minlength=4), 1)[:, None])[ids], None),
)


def b(g, x):
    n, out, r = len(x), np.empty_like(x), 0.0
    left = np.concatenate([[1.0], np.cumprod(x)[:-1]])
    for i in reversed(range(n)):
        r = g[i] + (x[i + 1] * r if i + 1 < n else 0.0)
        out[i] = left[i] * r
    return out


add("cumulative product: two zeros inside", "", np.cumprod, (np.array([2.0, 0.0, 3.0, -1.5, 0.0, 4.0]),), b)
add(
    "product of rows: rows with one and with two zeros",
    "",
    lambda x: x.prod(1),
    (np.array([[2.0, 0, 3], [0, 0, 4], [1, 2, -3]]),),
    lambda g, x: np.stack([g * np.delete(x, i, 1).prod(1) for i in range(x.shape[1])], 1),
)


def f(x):
    m = x.mean(0)
    return m, np.sqrt(((x - m) ** 2).mean(0) + 1e-3), x[:, :1] * x[:, 1:]


def b(gs, x):
    gm, gv, gp = gs
    c = x - x.mean(0)
    d = gm / len(x) + gv * c / len(x) / np.sqrt((c * c).mean(0) + 1e-3)
    d[:, :1] += (gp * x[:, 1:]).sum(1, keepdims=True)
    d[:, 1:] += gp * x[:, :1]
    return d


add("mean, deviation and products: three outputs of different shapes", "", f, (rn(50, 4, 3),), b)


# --- objects -----------------------------------------------------------------------------------------------
class Dense:
    def __init__(self, seed, i, o):
        self.params = {"W": rn(seed, i, o), "b": rn(seed + 1, o)}
        self.grads = {}

    def forward(self, x):
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, g):
        self.grads = {"W": self.x.T @ g, "b": g.sum(0)}
        return g @ self.params["W"].T


add("dense layer object: cache, params and grads", "", Dense(51, 4, 3), (rn(53, 5, 4),))


class BatchNorm:
    def __init__(self, seed, d, bug=None):
        self.params = {"gamma": rn(seed, d), "beta": rn(seed + 1, d)}
        self.grads, self.bug = {}, bug
        self.running = np.zeros(d)
        self.seen = []

    def forward(self, x):
        m = x.mean(0)
        self.running = 0.9 * self.running + 0.1 * m  # changes, but the output does not use it
        c = x - m
        self.inv = 1 / np.sqrt((c * c).mean(0) + 1e-5)
        self.xh = c * self.inv
        if self.bug == "stale":
            self.seen.append((self.xh, self.inv))
        return self.params["gamma"] * self.xh + self.params["beta"]

    def backward(self, g):
        xh, inv = self.seen[0] if self.bug == "stale" else (self.xh, self.inv)
        self.grads = {"gamma": (g * xh).sum(0), "beta": g.sum(0)}
        d = g * self.params["gamma"]
        if self.bug == "coupling":
            return d * inv
        if self.bug == "zero beta":
            self.grads["beta"] = np.zeros_like(self.grads["beta"])
        return inv * (d - d.mean(0) - xh * (d * xh).mean(0))


add("batch norm object: training mode, running mean updated at each call", "", BatchNorm(54, 3), (rn(56, 6, 3) * 2 + 5,))
add("batch norm object: a batch of one (gradient of x zero)", "", BatchNorm(57, 3), (rn(59, 1, 3),))


class Recompute:
    """Gradient checkpointing: only x is kept, the inner activations are computed again."""

    def __init__(self):
        self.params = {"A": rn(60, 4, 4, s=0.5), "B": rn(61, 4, 3)}
        self.grads = {}

    def forward(self, x):
        self.x = np.array(x)
        return np.tanh(np.tanh(x @ self.params["A"]) @ self.params["A"]) @ self.params["B"]

    def backward(self, g):
        A, B = self.params["A"], self.params["B"]
        h1 = np.tanh(self.x @ A)
        h2 = np.tanh(h1 @ A)
        d2 = (g @ B.T) * (1 - h2 * h2)
        d1 = (d2 @ A.T) * (1 - h1 * h1)
        self.grads = {"A": h1.T @ d2 + self.x.T @ d1, "B": h2.T @ g}
        return d1 @ A.T


add("checkpointed net object: weight used twice, backward recomputes", "", Recompute(), (rn(62, 3, 4),))


class LIFO:
    """A layer applied several times: its caches are a stack, last in, first out; right for any sequence of forward, backward pairs."""

    def __init__(self):
        self.stack = []

    def forward(self, x):
        self.stack.append(np.exp(-x * x))
        return self.stack[-1] * x

    def backward(self, g):
        e = self.stack[-1]
        self.stack = self.stack[-1:]
        return g * (e + e * 2 * np.log(np.maximum(e, 1e-300)))


add("x exp(-x^2) object: a stack of caches, the last one used", "", LIFO(), (rn(63, 3, 3),))


# --- recurrent, deep --------------------------------------------------------------------------------------------
def rnn(x, Wx, Wh, b, h0):
    hs, h = [], h0
    for t in range(len(x)):
        h = np.tanh(x[t] @ Wx + h @ Wh + b)
        hs.append(h)
    return np.stack(hs)


def rnn_b(g, x, Wx, Wh, b, h0, bug=None):
    hs = rnn(x, Wx, Wh, b, h0)
    dx, dWx, dWh, db, dh = np.zeros_like(x), 0 * Wx, 0 * Wh, 0 * b, 0 * h0
    for t in reversed(range(len(x))):
        prev = hs[t - 1] if t else h0
        at = prev if bug == "previous state" else hs[t]
        dz = (g[t] + dh) * (1 - at * at)
        dx[t] = dz @ Wx.T
        dWx += x[t].T @ dz
        dWh = prev.T @ dz if bug == "overwrite" else dWh + prev.T @ dz
        db += dz.sum(0)
        dh = dz @ (Wh if bug == "transposed" else Wh.T)
    return dx, dWx, dWh, db, dh


rnn_in = lambda s: (rn(s, 5, 2, 3), rn(s + 1, 3, 4, s=0.6), rn(s + 2, 4, 4, s=0.6), rn(s + 3, 4), rn(s + 4, 2, 4))
add("tanh RNN: five steps, five inputs", "", rnn, rnn_in(64), rnn_b)


def lstm(x, h, c, W, b):
    H = h.shape[1]
    z = np.concatenate([x, h], 1) @ W + b
    i, f_, o, a = sig(z[:, :H]), sig(z[:, H : 2 * H]), sig(z[:, 2 * H : 3 * H]), np.tanh(z[:, 3 * H :])
    c2 = f_ * c + i * a
    return o * np.tanh(c2), c2


def lstm_b(gs, x, h, c, W, b, bug=None):
    gh, gc = gs
    H, D = h.shape[1], x.shape[1]
    xh = np.concatenate([x, h], 1)
    z = xh @ W + b
    i, f_, o, a = sig(z[:, :H]), sig(z[:, H : 2 * H]), sig(z[:, 2 * H : 3 * H]), np.tanh(z[:, 3 * H :])
    t = np.tanh(f_ * c + i * a)
    dc = gc + gh * o * (1 if bug == "no tanh'" else 1 - t * t)
    di = dc * a * i * (1 - i)
    df = dc * c * (f_ if bug == "forget gate" else f_ * (1 - f_))
    do = gh * t * o * (1 - o)
    da = dc * i * (1 - a * a)
    dz = np.concatenate([di, df, do, da], 1)
    dxh = (dz[:, : 3 * H] @ W[:, : 3 * H].T) if bug == "candidate path" else dz @ W.T
    dcp = np.zeros_like(c) if bug == "no carry" else dc * f_
    return dxh[:, :D], dxh[:, D:], dcp, xh.T @ dz, dz.sum(0)


lstm_in = lambda s: (rn(s, 2, 3), rn(s + 1, 2, 3), rn(s + 2, 2, 3), rn(s + 3, 6, 12, s=0.7), rn(s + 4, 12))
add("LSTM cell: two outputs, saturated gates (biases up to 15)", "", lstm, lstm_in(70)[:4] + (rn(75, 12, s=8.0),), lstm_b)


def chain(x):
    for _ in range(120):
        x = x + 0.05 * np.sin(3 * x)
    return x


def chain_b(g, x):
    s = np.ones_like(x)
    for _ in range(120):
        s, x = s * (1 + 0.15 * np.cos(3 * x)), x + 0.05 * np.sin(3 * x)
    return g * s


add("residual chain of 120 sine layers: slopes from 1e-8 to 1e7", "", chain, (np.array([0.0, 0.3, 1.0, 1e-4, 2.2]),), chain_b)


def logistic(x):
    for _ in range(12):
        x = 3.9 * x * (1 - x)
    return x


def logistic_b(g, x):
    for _ in range(12):
        g, x = g * 3.9 * (1 - 2 * x), 3.9 * x * (1 - x)
    return g


add("logistic map iterated 12 times: chaotic", "", logistic, (np.array([0.2, 0.5, 0.77, 0.31]),), logistic_b)


# --- matrices ---------------------------------------------------------------------------------------------------
def spd(seed, n):
    a = rn(seed, n, n)
    return a @ a.T + n * np.eye(n)


sym = lambda a: 0.5 * (a + a.T)


def chol_b(g, A, L=None):
    L = np.linalg.cholesky(sym(A))
    P = np.tril(L.T @ np.tril(g))
    P[np.diag_indices(len(P))] *= 0.5
    Li = np.linalg.inv(L)
    return sym(Li.T @ P @ Li)


def inv_b(g, A):
    i = np.linalg.inv(A)
    return -i.T @ g @ i.T


add("inverse of a symmetric matrix", "", np.linalg.inv, (spd(80, 4),), inv_b)
add(
    "log-determinant of a symmetric matrix",
    "",
    lambda A: np.asarray(np.linalg.slogdet(A)[1]),
    (spd(81, 4),),
    lambda g, A: g * np.linalg.inv(A).T,
)
add("Cholesky of the symmetric part", "", lambda A: np.linalg.cholesky(sym(A)), (spd(82, 4),), chol_b)
add("Cholesky (reads the lower triangle): symmetrised gradient", "", np.linalg.cholesky, (spd(83, 3),), chol_b)


def b(g, A):
    w, V = np.linalg.eigh(sym(A))
    return (V * g) @ V.T


q = np.linalg.qr(rn(84, 4, 4))[0]
add(
    "eigenvalues of the symmetric part: two of them 1e-3 apart",
    "",
    lambda A: np.linalg.eigvalsh(sym(A)),
    (sym((q * np.array([1, 1.001, 3, 5])) @ q.T),),
    b,
)


def f(L, y):
    return np.linalg.solve(np.tril(L), y)


def b(g, L, y):
    s = np.linalg.solve(np.tril(L).T, g)
    return -np.tril(np.outer(s, f_tri(L, y))), s


f_tri = f
add("triangular solve: gradient zero above the diagonal", "", f, (rn(85, 4, 4) + 4 * np.eye(4), rn(86, 4)), b)


def conv(x, w, b, pad=1, stride=1):
    v = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (pad, pad))), w.shape[2], axis=2)[:, :, ::stride]
    return np.einsum("nclk,ock->nol", v, w) + b[:, None]


def conv_b(g, x, w, b, pad=1, stride=1):
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad)))
    v = np.lib.stride_tricks.sliding_window_view(xp, w.shape[2], axis=2)[:, :, ::stride]
    d = np.zeros_like(xp)
    for k in range(w.shape[2]):
        d[:, :, k : k + stride * (g.shape[2] - 1) + 1 : stride] += np.einsum("nol,oc->ncl", g, w[:, :, k])
    return d[:, :, pad : d.shape[2] - pad], np.einsum("nol,nclk->ock", g, v), g.sum((0, 2))


add(
    "conv1d: stride 3 and padding 1, last entry of x never read",
    "",
    lambda x, w, b: conv(x, w, b, 1, 3),
    (rn(87, 2, 2, 9), rn(88, 2, 2, 3), rn(89, 2)),
    lambda g, x, w, b: conv_b(g, x, w, b, 1, 3),
)


def f(u, v):
    return np.asarray((u * v).sum() / np.sqrt((u * u).sum() * (v * v).sum() + 1e-24))


def b(g, u, v):
    d, uu, vv = (u * v).sum(), (u * u).sum(), (v * v).sum()
    r = 1 / np.sqrt(uu * vv + 1e-24)
    return g * (v * r - d * r**3 * vv * u), g * (u * r - d * r**3 * uu * v)


add(
    "cosine similarity: nearly parallel vectors",
    "",
    f,
    (np.array([1.0, 2.0, -1.0]), np.array([1.0, 2.0, -1.0]) * 3 + 1e-6 * rn(90, 3)),
    b,
)

# --- torch --------------------------------------------------------------------------------------------------------
add(
    "torch layer_norm: float32",
    "",
    lambda x, w, c: F.layer_norm(x, (6,), w, c),
    (tn(91, 3, 6, dt=torch.float32), tn(92, 6, dt=torch.float32), tn(93, 6, dt=torch.float32)),
)
add("torch softmax: bfloat16", "precision", lambda x: torch.softmax(x, -1), (tn(94, 3, 5, dt=torch.bfloat16),))
add(
    "torch gelu(x w): float16",
    "precision",
    lambda x, w: F.gelu(x @ w),
    (tn(95, 3, 4, dt=torch.float16), tn(96, 4, 3, dt=torch.float16)),
)
add(
    "torch cross_entropy: ignore_index and gap 30",
    "",
    lambda z, y: F.cross_entropy(z, y, ignore_index=-100),
    (torch.tensor(z30), torch.tensor([1, -100, 0, 3])),
)
add("torch linalg.cholesky: symmetrised gradient", "", torch.linalg.cholesky, (torch.tensor(spd(97, 3)),))
add(
    "torch mul of an expanded input (stride 0) and a transposed one",
    "",
    lambda x, y: torch.tanh(x * y),
    (tn(98, 1, 4).expand(3, 4), tn(99, 4, 3).t()),
)


def seeded(seed, make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


add("torch BatchNorm1d module: train mode, float64", "", seeded(1, lambda: nn.BatchNorm1d(3).double().train()), (tn(100, 5, 3),))
add(
    "torch Sequential module: eval mode with dropout and batch norm, float32",
    "",
    seeded(2, lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.GELU(), nn.Dropout(0.5), nn.Linear(6, 2)).eval()),
    (tn(101, 3, 4, dt=torch.float32),),
)


class LastOut(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x):
        return self.net(x)[0]


add("torch LSTM module: float32, four steps", "", seeded(3, LastOut), (tn(102, 2, 4, 3, dt=torch.float32),))


class EmbedSum(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.Embedding(5, 3, padding_idx=None)

    def forward(self, idx, w):
        return (self.e(idx) * w[..., None]).sum(1)


add(
    "torch Embedding module: repeated integer indices and float weights",
    "",
    seeded(4, lambda: EmbedSum().double()),
    (torch.tensor([[1, 1, 0], [4, 1, 4]]), tn(103, 2, 3)),
)


class FrugalLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, c, relu_after):
        z = x @ w + c
        y = z.clamp(min=0) if relu_after else z
        ctx.flag = relu_after
        ctx.save_for_backward(x, w, y)
        return y

    @staticmethod
    def backward(ctx, g):
        x, w, y = ctx.saved_tensors
        if ctx.flag:
            g = g * (y > 0)
        return (
            g @ w.t() if ctx.needs_input_grad[0] else None,
            x.t() @ g if ctx.needs_input_grad[1] else None,
            g.sum(0) if ctx.needs_input_grad[2] else None,
            None,
        )


add(
    "torch Function linear + relu: needs_input_grad respected",
    "",
    lambda x, w, c: FrugalLinear.apply(x, w, c, True),
    (tn(104, 4, 3), tn(105, 3, 5), tn(106, 5)),
)


class XLogY(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return torch.special.xlogy(x, y)

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g * torch.log(y), g * x / y


add(
    "torch Function xlogy: x exactly 0 at two entries, y down to 1e-6",
    "",
    XLogY.apply,
    (torch.tensor([0.0, 0.0, 2.0, -1.0], dtype=torch.float64), torch.tensor([1e-6, 2.0, 0.3, 5.0], dtype=torch.float64)),
)
add(
    "torch max_pool1d: overlapping windows, ties from a relu (zeros tie)",
    "kink",
    lambda x: F.max_pool1d(torch.relu(x), 3, stride=1),
    (torch.tensor([[[0.0, 1.0, 1.0, -2.0, -1.0, -3.0, 2.0]]], dtype=torch.float64),),
)


# --- JAX -------------------------------------------------------------------------------------------------------------
@jax.custom_vjp
def j_softplus(x):
    return jnp.logaddexp(x, 0.0)


j_softplus.defvjp(lambda x: (j_softplus(x), x), lambda x, g: (g * jax.nn.sigmoid(x),))
add("jax custom_vjp softplus: at 0 and at 80", "", lambda x: j_softplus(x), (jnp.array([0.0, 80.0, -80.0, 1.5], jnp.float32),))


@jax.custom_jvp
def j_norm(x):
    return jnp.sqrt((x * x).sum(-1))


@j_norm.defjvp
def _(primals, tangents):
    (x,), (t,) = primals, tangents
    n = j_norm(x)
    safe = jnp.where(n == 0, 1.0, n)
    return n, jnp.where(n == 0, 0.0, (x * t).sum(-1) / safe)


add(
    "jax custom_jvp norm: one zero row, subgradient 0",
    "kink",
    lambda x: j_norm(x),
    (jnp.array([[0.0, 0.0], [3.0, -4.0], [1e-3, 0.0]], jnp.float32),),
)


@jax.custom_vjp
def j_mlp(p, x):
    return jnp.tanh(x @ p["w"] + p["b"]) * p["scale"]


def j_mlp_b(res, g):
    p, x, t = res
    d = g * p["scale"] * (1 - t * t)
    return {"w": x.T @ d, "b": d.sum(0), "scale": (g * t).sum()}, d @ p["w"].T


j_mlp.defvjp(lambda p, x: (j_mlp(p, x), (p, x, jnp.tanh(x @ p["w"] + p["b"]))), j_mlp_b)
add(
    "jax custom_vjp dense + tanh: the parameters are a dict (pytree input)",
    "",
    lambda p, x: j_mlp(p, x),
    ({"w": jn(110, 3, 2), "b": jn(111, 2), "scale": jnp.float32(1.7)}, jn(112, 4, 3)),
)
add(
    "jax custom_vjp dense + tanh: pytree built inside from arrays",
    "",
    lambda w, c, s, x: j_mlp({"w": w, "b": c, "scale": s}, x),
    (jn(113, 3, 2), jn(114, 2), jnp.float32(-0.6), jn(115, 4, 3)),
)


@jax.custom_vjp
def j_gather(t, i):
    return t[i]


j_gather.defvjp(lambda t, i: (t[i], (t, i)), lambda r, g: (jnp.zeros_like(r[0]).at[r[1]].add(g), None))
add(
    "jax custom_vjp gather: integer input, repeated indices",
    "",
    lambda t, i: j_gather(t, i),
    (jn(116, 5, 2), jnp.array([1, 1, 3, 1])),
)


def f(x, w):
    def step(h, v):
        h = jnp.tanh(v @ w[0] + h @ w[1])
        return h, h

    return jax.lax.scan(step, jnp.zeros(3, x.dtype), x)[1]


add("jax scan RNN: jitted, float32", "", jax.jit(f), (jn(117, 5, 3), jn(118, 2, 3, 3, s=0.6)))
add("jax log_softmax times x: bfloat16", "precision", lambda x: jax.nn.log_softmax(x) * x, (jn(119, 2, 4, dt=jnp.bfloat16),))


# =====================================================================================================
# Part 2: broken, hard to name
# =====================================================================================================
def att_f(Q, K, V):
    return softmax(Q @ K.T / np.sqrt(Q.shape[1])) @ V


def att_b(bug):
    def backward(g, Q, K, V):
        d = np.sqrt(Q.shape[1])
        S = Q @ K.T / d
        P = softmax(S)
        dV = (P if bug == "dV" else P.T) @ g
        dP = g @ V.T
        if bug == "diagonal":
            dS = dP * P * (1 - P)
        elif bug == "axis":
            dS = P * (dP - (dP * P).sum(0, keepdims=True))
        elif bug == "scores":
            dS = S * (dP - (dP * S).sum(-1, keepdims=True))
        elif bug == "whole":
            dS = P * (dP - (dP * P).sum())
        else:
            dS = P * (dP - (dP * P).sum(-1, keepdims=True))
        dQ, dK = dS @ K / d, dS.T @ Q / (1 if bug == "dK scale" else d)
        if bug == "swap":
            dQ, dK = dK, dQ
        if bug == "zero":
            dK = np.zeros_like(K)
        return dQ, dK, dV

    return backward


att_in = lambda s, n=4, d=3: (rn(s, n, d), rn(s + 1, n, d), rn(s + 2, n, d))
add("attention: softmax backward keeps the diagonal only", "missing-cross-terms", att_f, att_in(200), att_b("diagonal"))
add(
    "attention: softmax backward sums over the queries",
    "wrong-axis",
    att_f,
    att_in(203),
    att_b("axis"),
    also=("spurious-batch-coupling",),
)
add("attention: softmax formula evaluated at the scores", "derivative-at-wrong-point", att_f, att_in(206), att_b("scores"))
add("attention: dV uses P, not its transpose", "transposed", att_f, att_in(209), att_b("dV"), input=2)
add(
    "attention: dK without 1/sqrt(d)", "wrong-scale", att_f, att_in(212, 4, 5), att_b("dK scale"), input=1, factor=float(np.sqrt(5))
)
add("attention: dQ and dK exchanged", "swapped-gradients", att_f, att_in(215), att_b("swap"))
add("attention: dK is zero (keys detached)", "zero-gradient", att_f, att_in(218), att_b("zero"), input=1)
add(
    "attention: row dot product summed over all queries",
    "spurious-batch-coupling",
    att_f,
    att_in(221),
    att_b("whole"),
    also=("wrong-axis",),
)


def batched(x, W):  # self-attention without values: x + softmax(x W x^T) x, per sample
    return x + softmax(np.einsum("nid,de,nje->nij", x, W, x)) @ x


def batched_b(bug):
    def backward(g, x, W):
        P = softmax(np.einsum("nid,de,nje->nij", x, W, x))
        dP = np.einsum("nid,njd->nij", g, x)
        dS = P * (dP - (dP * P).sum(-1, keepdims=True))
        dx = g + np.einsum("nij,nid->njd", P, g)
        dx = dx + np.einsum("nij,nje,de->nid", dS, x, W)
        if bug != "keys":
            dx = dx + np.einsum("nij,nid,de->nje", dS, x, W)
        return dx, np.einsum("nij,nid,nje->de", dS, x, x)

    return backward


add(
    "self-attention + residual: the path of x through the keys forgotten",
    "missing-accumulation",
    batched,
    (rn(224, 2, 3, 3, s=0.7), rn(225, 3, 3)),
    batched_b("keys"),
    input=0,
)


# --- two-layer nets ------------------------------------------------------------------------------------
def net(act):
    return lambda x, W1, b1, W2, b2: act(x @ W1 + b1) @ W2 + b2


def net_b(act, dact):
    def backward(g, x, W1, b1, W2, b2):
        z = x @ W1 + b1
        a = act(z)
        dz = (g @ W2.T) * dact(z, a)
        return dz @ W1.T, x.T @ dz, dz.sum(0), a.T @ g, g.sum(0)

    return backward


net_in = lambda s, n=4, d=3, h=5, o=2: (rn(s, n, d), rn(s + 1, d, h, s=0.8), rn(s + 2, h), rn(s + 3, h, o), rn(s + 4, o))
swish = lambda z: z * sig(z)
dswish = lambda z: sig(z) * (1 + z * (1 - sig(z)))
add("tanh net: hidden derivative forgotten", "missing-factor", net(np.tanh), net_in(230), net_b(np.tanh, lambda z, a: 1.0))
add(
    "sigmoid net: sigma' taken at the activation",
    "derivative-at-wrong-point",
    net(sig),
    net_in(235),
    net_b(sig, lambda z, a: sig(a) * (1 - sig(a))),
)
add(
    "swish net: derivative taken at the output",
    "derivative-at-wrong-point",
    net(swish),
    net_in(240),
    net_b(swish, lambda z, a: dswish(a)),
)


def clf(x, W1, W2, y):
    return ce(np.tanh(x @ W1) @ W2, y)


def clf_b(bug):
    def backward(g, x, W1, W2, y):
        h = np.tanh(x @ W1)
        z = h @ W2
        p = softmax(z)
        t = np.eye(z.shape[1])[y]
        n = len(x)
        if bug == "fused":
            d = p - t
            d = p * (d - (d * p).sum(1, keepdims=True))
        elif bug == "diagonal":
            d = -(t / p) * p * (1 - p)
        elif bug == "rows":  # the log-softmax Jacobian summed over its rows, times -t
            d = -t * (1 - z.shape[1] * p)
        else:
            d = p - t
        d = d * g / n
        dh = (d @ W2.T) * (1 - h * h)
        dW2 = h.T @ d / (n if bug == "mean twice" else 1)
        return dh @ W1.T, x.T @ dh, dW2, None

    return backward


clf_in = lambda s: (rn(s, 5, 3), rn(s + 1, 3, 4), rn(s + 2, 4, 3), np.array([0, 2, 1, 1, 0]))
add("classifier loss: softmax Jacobian on top of p - t", "fused-twice", clf, clf_in(250), clf_b("fused"))
add("classifier loss: softmax Jacobian's diagonal only", "missing-cross-terms", clf, clf_in(253), clf_b("diagonal"))
add("classifier loss: log-softmax Jacobian summed over rows", "rows-summed", clf, clf_in(256), clf_b("rows"))
add(
    "classifier loss: dW2 divided by the batch size twice",
    "wrong-scale",
    clf,
    clf_in(259),
    clf_b("mean twice"),
    input=2,
    factor=0.2,
)

add(
    "square dense + tanh + residual: W where W^T is needed",
    "transposed",
    lambda x, W: x + np.tanh(x @ W),
    (rn(262, 3, 4), rn(263, 4, 4)),
    lambda g, x, W: (g + (g * (1 - np.tanh(x @ W) ** 2)) @ W, x.T @ (g * (1 - np.tanh(x @ W) ** 2))),
    input=0,
)


def res(x, W1, W2):
    return x + relu(x @ W1) @ W2


def res_b(g, x, W1, W2):
    a = relu(x @ W1)
    d = (g @ W2.T) * (a > 0)
    return d @ W1.T, x.T @ d, a.T @ g


add(
    "residual block: the skip path forgotten",
    "missing-accumulation",
    res,
    (rn(264, 4, 3), rn(265, 3, 5), rn(266, 5, 3)),
    res_b,
    input=0,
)


def f(x, W):
    return np.cumsum(np.tanh(x @ W), axis=1)


def b(g, x, W):
    a = np.tanh(x @ W)
    d = g * np.arange(a.shape[1], 0, -1) * (1 - a * a)
    return d @ W.T, x.T @ d


add(
    "dense + tanh + running sum: running sum's Jacobian summed, times upstream", "rows-summed", f, (rn(267, 3, 4), rn(268, 4, 5)), b
)


def f(x, W):
    h = x @ W
    return h / np.sqrt((h * h).sum(1, keepdims=True) + 1e-6)


def b(g, x, W):
    h = x @ W
    n = np.sqrt((h * h).sum(1, keepdims=True) + 1e-6)
    u = h / n
    d = g * (1 - u * u.sum(1, keepdims=True)) / n
    return d @ W.T, x.T @ d


add("dense + row normalisation: Jacobian summed over its rows", "rows-summed", f, (rn(269, 4, 3), rn(270, 3, 5)), b)


# --- norms -----------------------------------------------------------------------------------------------
def ln_res(x, W, gamma, beta):
    return x + lnorm(x @ W, gamma, beta)


def ln_res_b(bug):
    def backward(g, x, W, gamma, beta):
        d, dg, db = lnorm_b(g, x @ W, gamma, beta, bug=bug)
        return g + d @ W.T, x.T @ d, dg, db

    return backward


ln_in = lambda s, n=4, d=4: (rn(s, n, d), rn(s + 1, d, d), rn(s + 2, d), rn(s + 3, d))
add(
    "dense + layer norm + residual: the variance term forgotten",
    "missing-normalizer-term",
    ln_res,
    ln_in(271),
    ln_res_b("no var term"),
)
add("dense + layer norm + residual: gamma forgotten on the way to x", "missing-factor", ln_res, ln_in(275), ln_res_b("no gamma"))
add(
    "dense + layer norm + residual: means over the batch axis",
    "wrong-axis",
    ln_res,
    ln_in(279),
    ln_res_b("axis 0"),
    also=("spurious-batch-coupling",),
)
add(
    "dense + layer norm + residual: means over the whole array",
    "spurious-batch-coupling",
    ln_res,
    ln_in(283, 5, 4),
    ln_res_b("whole array"),
    also=("wrong-axis",),
)
add("dense + layer norm + residual: dgamma and dbeta exchanged", "swapped-gradients", ln_res, ln_in(287), ln_res_b("swap"))


class RMSFn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma):
        r = torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)
        ctx.save_for_backward(x, gamma, r)
        return x * r * gamma

    @staticmethod
    def backward(ctx, g):
        x, gamma, r = ctx.saved_tensors
        return g * gamma * r, (g * x * r).sum(0)  # r held constant


add(
    "torch Function RMS norm + gamma after a linear map: the rms held constant",
    "missing-normalizer-term",
    lambda x, w, gamma: RMSFn.apply(x @ w, gamma),
    (tn(291, 3, 4), tn(292, 4, 5), tn(293, 5)),
)


class GroupNormRelu:
    def __init__(self):
        self.params = {"gamma": rn(294, 4, 1), "beta": rn(295, 4, 1)}
        self.grads = {}

    def forward(self, x):  # (N, 4, L), two groups of two channels
        n, c, l = x.shape
        v = x.reshape(n, 2, -1)
        k = v - v.mean(-1, keepdims=True)
        self.inv = 1 / np.sqrt((k * k).mean(-1, keepdims=True) + 1e-5)
        self.xh = (k * self.inv).reshape(x.shape)
        self.y = np.maximum(self.params["gamma"] * self.xh + self.params["beta"], 0)
        return self.y

    def backward(self, g):
        g = g * (self.y > 0)
        self.grads = {"gamma": (g * self.xh).sum((0, 2))[:, None], "beta": g.sum((0, 2))[:, None]}
        d = (g * self.params["gamma"]).reshape(len(g), 2, -1)
        h = self.xh.reshape(d.shape)
        return (self.inv * (d - h * (d * h).mean(-1, keepdims=True))).reshape(g.shape)  # mean term missing


add("group norm + relu object: the mean term forgotten", "missing-normalizer-term", GroupNormRelu(), (rn(296, 2, 4, 3),), input=0)


@jax.custom_vjp
def j_wn(x, v, s):
    return x @ (s * v / jnp.sqrt((v * v).sum(0)))


j_wn.defvjp(
    lambda x, v, s: (j_wn(x, v, s), (x, v, s)),
    lambda r, g: (
        g @ (r[2] * r[1] / jnp.sqrt((r[1] ** 2).sum(0))).T,
        r[0].T @ g * r[2] / jnp.sqrt((r[1] ** 2).sum(0)),
        (g * (r[0] @ (r[1] / jnp.sqrt((r[1] ** 2).sum(0))))).sum(0),
    ),
)
add(
    "jax custom_vjp weight-normalised dense: projection forgotten",
    "missing-normalizer-term",
    lambda x, v, s: j_wn(x, v, s),
    (jn(297, 4, 3), jn(298, 3, 2), jn(299, 2)),
    input=1,
)

add(
    "batch norm object: statistics held constant",
    "missing-batch-coupling",
    BatchNorm(300, 3, "coupling"),
    (rn(302, 5, 3),),
    input=0,
)
add("batch norm object: backward uses the first call's cache", "stale-state", BatchNorm(303, 3, "stale"), (rn(305, 5, 3),))
add(
    "batch norm object: gradient of beta never filled in (zeros)", "zero-gradient", BatchNorm(306, 3, "zero beta"), (rn(308, 5, 3),)
)


class BNEval(torch.autograd.Function):
    mean, var = torch.tensor([0.3, -0.5, 1.0], dtype=torch.float64), torch.tensor([1.5, 0.7, 2.0], dtype=torch.float64)

    @staticmethod
    def forward(ctx, x, gamma, beta):
        inv = torch.rsqrt(BNEval.var + 1e-5)
        xh = (x - BNEval.mean) * inv
        ctx.save_for_backward(xh, gamma, inv)
        return gamma * xh + beta

    @staticmethod
    def backward(ctx, g):
        xh, gamma, inv = ctx.saved_tensors
        d = g * gamma
        return inv * (d - d.mean(0) - xh * (d * xh).mean(0)), (g * xh).sum(0), g.sum(0)


add(
    "torch Function batch norm in eval mode: training formula in the backward",
    "spurious-batch-coupling",
    lambda x, gamma, beta: torch.tanh(BNEval.apply(x, gamma, beta)),
    (tn(309, 4, 3), tn(310, 3), tn(311, 3)),
    input=0,
)


class Centre(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        a = torch.tanh((x - x.mean(0)) @ w)
        ctx.save_for_backward(x, w, a)
        return a

    @staticmethod
    def backward(ctx, g):
        x, w, a = ctx.saved_tensors
        d = g * (1 - a * a)
        return d @ w.t(), (x - x.mean(0)).t() @ d  # the batch mean held constant


add(
    "torch Function batch-centred dense + tanh: the batch mean held constant",
    "missing-batch-coupling",
    Centre.apply,
    (tn(312, 4, 3), tn(313, 3, 2)),
    input=0,
)


@jax.custom_vjp
def j_std(x, w):
    return jnp.tanh(x / jnp.sqrt((x * x).mean(0) + 1e-3)) @ w


def j_std_b(r, g):
    x, w = r
    s = jnp.sqrt((x * x).mean(0) + 1e-3)
    t = jnp.tanh(x / s)
    return (g @ w.T) * (1 - t * t) / s, t.T @ g


j_std.defvjp(lambda x, w: (j_std(x, w), (x, w)), j_std_b)
add(
    "jax custom_vjp batch-rms scaling + tanh + dense: the batch rms held constant",
    "missing-batch-coupling",
    lambda x, w: j_std(x, w),
    (jn(314, 4, 3), jn(315, 3, 2)),
    input=0,
)


@jax.custom_vjp
def j_l2(x, w):
    h = x @ w
    return h / jnp.sqrt((h * h).sum(1, keepdims=True) + 1e-6)


def j_l2_b(r, g):
    x, w = r
    h = x @ w
    n = jnp.sqrt((h * h).sum(1, keepdims=True) + 1e-6)
    u = h / n
    d = (g - u * (g * u).sum(0, keepdims=True)) / n
    return d @ w.T, x.T @ d


j_l2.defvjp(lambda x, w: (j_l2(x, w), (x, w)), j_l2_b)
add(
    "jax custom_vjp dense + row normalisation: the dot product runs over the samples",
    "wrong-axis",
    lambda x, w: j_l2(x, w),
    (jn(316, 4, 3), jn(317, 3, 4)),
    also=("spurious-batch-coupling",),
)

# --- recurrent -----------------------------------------------------------------------------------------------
add(
    "tanh RNN: dWh overwritten at each step",
    "missing-accumulation",
    rnn,
    rnn_in(320),
    lambda *a: rnn_b(*a, bug="overwrite"),
    input=2,
)
add("tanh RNN: Wh, not its transpose, carries dh back", "transposed", rnn, rnn_in(325), lambda *a: rnn_b(*a, bug="transposed"))
add(
    "tanh RNN: tanh' taken at the previous state",
    "derivative-at-wrong-point",
    rnn,
    rnn_in(330),
    lambda *a: rnn_b(*a, bug="previous state"),
)
add(
    "LSTM cell: x and h miss the candidate gate's path",
    "missing-accumulation",
    lstm,
    lstm_in(335),
    lambda *a: lstm_b(*a, bug="candidate path"),
)
add(
    "LSTM cell: tanh'(c) forgotten on the way from h to c",
    "missing-factor",
    lstm,
    lstm_in(340),
    lambda *a: lstm_b(*a, bug="no tanh'"),
)
add(
    "LSTM cell: gradient of the old cell state is zero",
    "zero-gradient",
    lstm,
    lstm_in(345),
    lambda *a: lstm_b(*a, bug="no carry"),
    input=2,
)


def gru(x, h, Wz, Wr, Wn):
    xh = np.concatenate([x, h], 1)
    z, r = sig(xh @ Wz), sig(xh @ Wr)
    n = np.tanh(np.concatenate([x, r * h], 1) @ Wn)
    return (1 - z) * n + z * h


def gru_b(bug=None):
    def backward(g, x, h, Wz, Wr, Wn):
        D = x.shape[1]
        xh = np.concatenate([x, h], 1)
        z, r = sig(xh @ Wz), sig(xh @ Wr)
        xr = np.concatenate([x, r * h], 1)
        n = np.tanh(xr @ Wn)
        dz = g * ((n - h) if bug == "sign" else (h - n)) * z * (1 - z)
        dn = g * (1 - z) * (1 - n * n)
        dxr = dn @ Wn.T
        dr = dxr[:, D:] * h * (1 if bug == "reset" else r * (1 - r))
        dxh = dz @ Wz.T + dr @ Wr.T
        dx = dxh[:, :D] + dxr[:, :D]
        dh = dxh[:, D:] + dxr[:, D:] * r + g * z
        dWz, dWr = xh.T @ dz, xh.T @ dr
        if bug == "swap":
            dWz, dWr = dWr, dWz
        return dx, dh, dWz, dWr, xr.T @ dn

    return backward


gru_in = lambda s: (rn(s, 3, 3), rn(s + 1, 3, 3), rn(s + 2, 6, 3), rn(s + 3, 6, 3), rn(s + 4, 6, 3))
add("GRU cell: sigmoid' of the reset gate forgotten", "missing-factor", gru, gru_in(350), gru_b("reset"))
add("GRU cell: update gate's gradient has the wrong sign", "sign-flipped", gru, gru_in(355), gru_b("sign"))
add("GRU cell: gradients of the two gates' weights exchanged", "swapped-gradients", gru, gru_in(360), gru_b("swap"))


# --- conv, pooling, losses, masks ---------------------------------------------------------------------------------
def cbr(x, w, b):
    return np.maximum(conv(x, w, b), 0)


def cbr_b(bug):
    def backward(g, x, w, b):
        d = g * (conv(x, w, b) > 0)
        dx, dw, db = conv_b(d, x, w, b)
        if bug == "bias":
            db = g.sum((0, 2))
        if bug == "edge":  # only the windows inside the unpadded signal send their gradient back
            e = d.copy()
            e[:, :, 0] = e[:, :, -1] = 0
            dx = conv_b(e, x, w, b)[0]
        return dx, dw, db

    return backward


cbr_in = lambda s: (rn(s, 2, 2, 7), rn(s + 1, 3, 2, 3), rn(s + 2, 3, s=0.3))
add("conv + bias + relu: relu mask forgotten for the bias", "missing-factor", cbr, cbr_in(370), cbr_b("bias"), input=2)
add(
    "conv + bias + relu: windows over the padding send nothing back",
    "wrong-at-some-entries",
    cbr,
    cbr_in(373),
    cbr_b("edge"),
    input=0,
    also=("missing-accumulation",),
)


def lm(E, idx, y):  # tied embedding: mean of two rows in, the same table out
    return ce(np.tanh(E[idx].sum(1)) @ E.T, y)


def lm_b(bug):
    def backward(g, E, idx, y):
        s = np.tanh(E[idx].sum(1))
        p = softmax(s @ E.T)
        p[np.arange(len(y)), y] -= 1
        d = p * g / len(y)
        dE = d.T @ s
        ds = (d @ E) * (1 - s * s)
        if bug == "tied":
            return dE, None, None
        if bug == "index":
            dE[idx] += ds[:, None, :]
        else:
            np.add.at(dE, idx, ds[:, None, :])
        return dE, None, None

    return backward


lm_in = lambda s: (rn(s, 6, 3), np.array([[0, 2], [2, 4], [5, 2]]), np.array([1, 3, 0]))
add(
    "tied embedding classifier: only the output use of the table counted",
    "missing-accumulation",
    lm,
    lm_in(376),
    lm_b("tied"),
    input=0,
)
add(
    "tied embedding classifier: dE[idx] += with repeated indices",
    "missing-accumulation",
    lm,
    lm_in(377),
    lm_b("index"),
    input=0,
    also=("wrong-at-some-entries",),
)


def f(x, W, y):
    return ce(x @ W, y)


def b(g, x, W, y):
    p = softmax(x @ W)
    ok = y >= 0
    p[np.arange(len(y))[ok], y[ok]] -= 1
    d = p * g / ok.sum()  # ignored rows keep p
    return d @ W.T, x.T @ d, None


add(
    "linear classifier with ignored labels: ignored rows still send p back",
    "wrong-at-some-entries",
    f,
    (rn(378, 5, 3), rn(379, 3, 4), np.array([1, -1, 3, 0, -1])),
    b,
)


class HuberNet(torch.autograd.Function):
    @staticmethod
    def forward(ctx, p, t):
        d = p - t
        ctx.save_for_backward(d)
        a = d.abs()
        return torch.where(a < 1, 0.5 * d * d, a - 0.5).sum()

    @staticmethod
    def backward(ctx, g):
        (d,) = ctx.saved_tensors
        s = g * torch.where(d < 1, d, d.sign())  # |d| < 1 was meant
        return s, -s


add(
    "torch Function Huber loss: quadratic branch taken for d < 1, not |d| < 1",
    "wrong-at-some-entries",
    HuberNet.apply,
    (torch.tensor([0.3, -2.0, 2.5, -0.4, -3.0, 0.1, 0.8, -1.7], dtype=torch.float64), tn(380, 8, s=0.1)),
)


def f(x):
    return np.stack([np.tanh(x[:, i : i + 2]).mean(1) for i in range(0, x.shape[1], 2)], 1)


def b(g, x):
    return np.repeat(g, 2, axis=1)[:, : x.shape[1]] / 2 * (1 - np.tanh(x) ** 2)


add("tanh + average pool, last window clipped: divided by the full window", "wrong-at-some-entries", f, (rn(381, 3, 7),), b)


# --- state -----------------------------------------------------------------------------------------------------
class LazyNet:
    """The hidden activation is kept by the first forward and never refreshed."""

    def __init__(self):
        self.params = {"W1": rn(382, 3, 5), "W2": rn(383, 5, 2)}
        self.grads, self.h = {}, None

    def forward(self, x):
        self.x = x
        h = np.tanh(x @ self.params["W1"])
        if self.h is None:
            self.h = h
        return h @ self.params["W2"]

    def backward(self, g):
        d = (g @ self.params["W2"].T) * (1 - self.h**2)
        self.grads = {"W1": self.x.T @ d, "W2": self.h.T @ g}
        return d @ self.params["W1"].T


add("two-layer net object: hidden cache filled once and kept", "stale-state", LazyNet(), (rn(384, 4, 3),))


class GateFn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, store):
        z = x @ w
        if z.shape not in store:  # 'the gate only depends on the shape'
            store[z.shape] = torch.sigmoid(z)
        ctx.save_for_backward(x, w)
        ctx.store = store
        return z * torch.sigmoid(z)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        z = x @ w
        s = ctx.store[z.shape]
        d = g * (s + z * s * (1 - s))
        return d @ w.t(), x.t() @ d, None


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(tn(385, 3, 4))
        self.store = {}

    def forward(self, x):
        return GateFn.apply(x, self.w, self.store)


add("torch Module swish dense: gate buffer kept per shape", "stale-state", Gated(), (tn(386, 3, 3),))


class Delayed:
    """Two buffers swapped each call; the backward reads the one of the call before (if there was one)."""

    def __init__(self):
        self.old = self.new = None

    def forward(self, x):
        self.old, self.new = self.new, np.array(x)
        p = softmax(x)
        return x * p

    def backward(self, g):
        x = self.new if self.old is None else self.old
        p = softmax(x)
        return g * p + softmax_b(g * x, x)


add("x softmax(x) object: double buffer read one call late", "stale-state", Delayed(), (rn(387, 3, 4),))


# --- detached, fused, scale, sign in torch and jax -----------------------------------------------------------------
class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        h = torch.tanh(self.a(x))
        h = torch.as_tensor(h.detach().numpy())  # 'back to torch'
        return self.c(h)


add("torch Module: hidden layer passes through NumPy", "zero-gradient", seeded(5, lambda: Detached().double()), (tn(388, 3, 3),))


class CEFn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, t):
        p = torch.softmax(z, 1)
        ctx.save_for_backward(p, t)
        return -(t * torch.log_softmax(z, 1)).sum(1)

    @staticmethod
    def backward(ctx, g):
        p, t = ctx.saved_tensors
        d = g[:, None] * (p - t)
        return p * (d - (d * p).sum(1, keepdim=True)), None


add(
    "torch Function cross-entropy per sample after a dense layer: softmax Jacobian on p - t",
    "fused-twice",
    lambda x, w: CEFn.apply(x @ w, torch.eye(4, dtype=x.dtype)[[0, 2, 1, 3]]),
    (tn(389, 4, 3), tn(390, 3, 4)),
)


@jax.custom_vjp
def j_ce(z, t):
    return -(t * jax.nn.log_softmax(z)).sum(-1).mean()


def j_ce_b(r, g):
    z, t = r
    p = jax.nn.softmax(z)
    d = g * (p - t) / len(z)
    return p * (d - (d * p).sum(-1, keepdims=True)), -g * jax.nn.log_softmax(z) / len(z)


j_ce.defvjp(lambda z, t: (j_ce(z, t), (z, t)), j_ce_b)
add(
    "jax custom_vjp cross-entropy with soft targets: softmax Jacobian on p - t",
    "fused-twice",
    lambda z, t: j_ce(z, t),
    (jn(391, 4, 3), jax.nn.softmax(jn(392, 4, 3))),
    input=0,
)


@jax.custom_vjp
def j_distil(s, t):
    return -(jax.nn.softmax(t / 3.0) * jax.nn.log_softmax(s / 3.0)).sum(-1).mean()


def j_distil_b(r, g):
    s, t = r
    q, lp = jax.nn.softmax(t / 3.0), jax.nn.log_softmax(s / 3.0)
    e = -lp
    return g * (jnp.exp(lp) - q) / len(s), g * q * (e - (q * e).sum(-1, keepdims=True)) / (3.0 * len(s))


j_distil.defvjp(lambda s, t: (j_distil(s, t), (s, t)), j_distil_b)
add(
    "jax custom_vjp distillation loss: student's 1/T forgotten",
    "wrong-scale",
    lambda s, t: j_distil(s, t),
    (jn(393, 4, 5), jn(394, 4, 5)),
    input=0,
    factor=3.0,
)


class Bits(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, y):
        ctx.save_for_backward(z, y)
        return F.cross_entropy(z, y) / float(np.log(2))

    @staticmethod
    def backward(ctx, g):
        z, y = ctx.saved_tensors
        return g * (torch.softmax(z, 1) - F.one_hot(y, z.shape[1])) / len(z), None


add(
    "torch Function cross-entropy in bits after a dense layer: 1/ln 2 forgotten",
    "wrong-scale",
    lambda x, w: Bits.apply(x @ w, torch.tensor([0, 2, 1])),
    (tn(395, 3, 4), tn(396, 4, 3)),
    factor=float(np.log(2)),
)


class Proto(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, c):
        ctx.save_for_backward(x, c)
        return -((x[:, None] - c[None]) ** 2).sum(-1)

    @staticmethod
    def backward(ctx, g):
        x, c = ctx.saved_tensors
        d = 2 * g[..., None] * (x[:, None] - c[None])
        return -d.sum(1), -d.sum(0)


add(
    "torch Function prototype logits -|x - c|^2, log-softmaxed: sign of dc",
    "sign-flipped",
    lambda x, c: torch.log_softmax(Proto.apply(x, c), 1),
    (tn(397, 4, 3), tn(398, 3, 3)),
    input=1,
)


def f(a, p, n):
    return np.logaddexp(0, ((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1))


def b(g, a, p, n):
    s = 2 * (g * sig(((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1)))[:, None]
    return s * (n - p), -s * (a - p), -s * (a - n)


add(
    "soft triplet loss: gradient of the negatives has the sign of the positives",
    "sign-flipped",
    f,
    (rn(399, 4, 3), rn(400, 4, 3), rn(401, 4, 3)),
    b,
    input=2,
)


class MoE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, wg, experts):
        p = torch.softmax(x @ wg, 1)
        y = torch.einsum("nd,edo->neo", x, experts)
        ctx.save_for_backward(x, wg, experts, p, y)
        return torch.einsum("ne,neo->no", p, y)

    @staticmethod
    def backward(ctx, g):
        x, wg, experts, p, y = ctx.saved_tensors
        dp = torch.einsum("no,neo->ne", g, y)
        dz = dp * p * (1 - p)
        dy = p[..., None] * g[:, None]
        return dz @ wg.t() + torch.einsum("neo,edo->nd", dy, experts), x.t() @ dz, torch.einsum("nd,neo->edo", x, dy)


add(
    "torch Function mixture of experts: gate's softmax diagonal only",
    "missing-cross-terms",
    MoE.apply,
    (tn(402, 4, 3), tn(403, 3, 3), tn(404, 3, 3, 2)),
)
