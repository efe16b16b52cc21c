"""Right and wrong gradients of single operations and small composites, written from the contract alone, without a look at the check."""

import numpy as np
import pytest

from tests.broken.tables import Case

pytest.importorskip("jax")
pytest.importorskip("torch")
import jax
import jax.numpy as jnp
import torch

CASES = []


def r(seed, *s):
    return np.random.default_rng(seed).standard_normal(s)


def pos(seed, *s):
    return np.random.default_rng(seed).uniform(0.5, 2.0, s)


def tt(a):
    return torch.tensor(np.asarray(a))


def jj(a):
    return jnp.asarray(a, dtype=jnp.float32)


def sig(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def sm(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def smb(p, g, axis=-1):
    return p * (g - (g * p).sum(axis=axis, keepdims=True))


def lsm(x):
    m = x.max(-1, keepdims=True)
    return x - m - np.log(np.exp(x - m).sum(-1, keepdims=True))


def bad(name, cause, target, inputs, backward=None, **kw):
    CASES.append(Case(name, cause, target, tuple(inputs), backward, **kw))


def good(name, target, inputs, backward=None):
    CASES.append(Case(name, "", target, tuple(inputs), backward))


# ---------------- missing-cross-terms
bad("log-softmax of rows: only the diagonal 1-p", "missing-cross-terms", lsm, [r(1, 3, 5)], lambda g, x: g * (1 - sm(x)))


def unit(x):
    return x / np.sqrt((x * x).sum())


bad(
    "unit vector x/|x|: only the diagonal (1-y^2)/|x|",
    "missing-cross-terms",
    unit,
    [r(2, 6)],
    lambda g, x: g * (1 - unit(x) ** 2) / np.sqrt((x * x).sum()),
)


def pool(X, w):
    return sm(X @ w) @ X


def pool_b(g, X, w):
    p = sm(X @ w)
    dp = X @ g
    ds = dp * p * (1 - p)
    return np.outer(p, g) + np.outer(ds, w), X.T @ ds


bad(
    "attention pooling softmax(Xw)X: softmax diagonal only",
    "missing-cross-terms",
    pool,
    [r(3, 5, 3), r(4, 3)],
    pool_b,
    also=("missing-normalizer-term",),
)


# ---------------- missing-normalizer-term
def rms(x):
    return np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)


bad(
    "RMS norm of a 3-D array: rms taken as a constant",
    "missing-normalizer-term",
    lambda x: x / rms(x),
    [r(5, 2, 3, 4)],
    lambda g, x: g / rms(x),
)


def ln(x, ga, be):
    m = x.mean(-1, keepdims=True)
    s = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return ga * (x - m) / s + be


def ln_b(g, x, ga, be, mean=True, proj=True, axis=-1):
    m = x.mean(-1, keepdims=True)
    s = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    h = (x - m) / s
    d = g * ga
    dx = d - (d.mean(axis, keepdims=True) if mean else 0) - (h * (d * h).mean(axis, keepdims=True) if proj else 0)
    ax = tuple(range(g.ndim - 1))
    return dx / s, (g * h).sum(ax), g.sum(ax)


bad(
    "layer norm with affine: path through the variance left out",
    "missing-normalizer-term",
    ln,
    [r(6, 4, 6), pos(7, 6), r(8, 6)],
    lambda g, x, a, b: ln_b(g, x, a, b, proj=False),
    input=0,
)


def gn(x, G=2):
    y = x.reshape(x.shape[0], G, -1)
    return ((y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)).reshape(x.shape)


def gn_b(g, x, G=2):
    y = x.reshape(x.shape[0], G, -1)
    s = np.sqrt(y.var(-1, keepdims=True) + 1e-5)
    h = (y - y.mean(-1, keepdims=True)) / s
    d = g.reshape(y.shape)
    return ((d - h * (d * h).mean(-1, keepdims=True)) / s).reshape(x.shape)


bad("group norm (N,C,H,W): path through the mean left out", "missing-normalizer-term", gn, [r(9, 2, 4, 2, 3)], gn_b)

# ---------------- transposed
W4 = r(10, 4, 4)
bad("linear map x@W with a fixed square W: g@W", "transposed", lambda x: x @ W4, [r(11, 3, 4)], lambda g, x: g @ W4)


def rnn(x, h, U, W, b):
    return np.tanh(x @ U + h @ W + b)


def rnn_b(g, x, h, U, W, b):
    d = g * (1 - rnn(x, h, U, W, b) ** 2)
    return d @ U.T, d @ W, x.T @ d, h.T @ d, d.sum(0)


bad(
    "recurrent tanh cell: dh = dz@W",
    "transposed",
    rnn,
    [r(12, 2, 3), r(13, 2, 4), r(14, 3, 4), r(15, 4, 4), r(16, 4)],
    rnn_b,
    input=1,
)
bad(
    "cumulative sum of a vector: backward is again a forward cumsum",
    "transposed",
    lambda x: np.cumsum(x),
    [r(17, 6)],
    lambda g, x: np.cumsum(g),
)

# ---------------- rows-summed
A53 = r(18, 5, 3)
bad(
    "matrix-vector product Ax: dx = column sums of A",
    "rows-summed",
    lambda x: A53 @ x,
    [r(19, 3)],
    lambda g, x: A53.sum(0),
    also=("upstream-ignored",),
)


def lsv_b(g, x):
    J = np.eye(x.size) - np.exp(lsm(x))[None, :]
    return J.sum(0) * g


bad("log-softmax of a vector: summed Jacobian times g elementwise", "rows-summed", lsm, [r(20, 5)], lsv_b)


def dsig(x, W):
    return sig(x @ W)


def dsig_b(g, x, W):
    s = dsig(x, W)
    d = s * (1 - s)
    return d @ W.T, x.T @ d


bad(
    "dense + sigmoid: delta without upstream, summed over outputs",
    "rows-summed",
    dsig,
    [r(21, 3, 4), r(22, 4, 2)],
    dsig_b,
    also=("upstream-ignored",),
)

# ---------------- upstream-ignored
bad("product of all entries: prod/x_i", "upstream-ignored", lambda x: np.prod(x), [pos(23, 2, 3)], lambda g, x: np.prod(x) / x)


class MSEIgnore(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t):
        ctx.save_for_backward(x, t)
        return ((x - t) ** 2).mean()

    @staticmethod
    def backward(ctx, g):
        x, t = ctx.saved_tensors
        d = 2 * (x - t) / x.numel()
        return d, -d


bad(
    "torch mean-squared-error Function: grad_output never used",
    "upstream-ignored",
    MSEIgnore.apply,
    [tt(r(24, 3, 2)), tt(r(25, 3, 2))],
)
bad(
    "matmul A@B: forward value C in place of dC",
    "upstream-ignored",
    lambda A, B: A @ B,
    [r(26, 3, 4), r(27, 4, 2)],
    lambda g, A, B: ((A @ B) @ B.T, A.T @ (A @ B)),
)


# ---------------- not-linear-in-upstream
def dense(x, W, b):
    return x @ W + b


bad(
    "dense layer: weight decay added inside backward",
    "not-linear-in-upstream",
    dense,
    [r(28, 3, 4), r(29, 4, 2), r(30, 2)],
    lambda g, x, W, b: (g @ W.T, x.T @ g + 0.1 * W, g.sum(0)),
    input=1,
)
bad(
    "arctan: gradient clipped to [-0.5, 0.5]",
    "not-linear-in-upstream",
    np.arctan,
    [r(31, 2, 4)],
    lambda g, x: np.clip(g / (1 + x * x), -0.5, 0.5),
)
bad(
    "cube: upstream rescaled to unit norm",
    "not-linear-in-upstream",
    lambda x: x**3,
    [r(32, 5)],
    lambda g, x: 3 * x * x * g / (np.linalg.norm(g) + 1e-12),
)

# ---------------- sign-flipped
bad("subtraction a-b: db = +g", "sign-flipped", lambda a, b: a - b, [r(33, 2, 3), r(34, 2, 3)], lambda g, a, b: (g, g), input=1)


def inv_b(g, A):
    Y = np.linalg.inv(A)
    return Y.T @ g @ Y.T


bad("matrix inverse: minus sign forgotten", "sign-flipped", np.linalg.inv, [r(35, 3, 3) + 3 * np.eye(3)], inv_b)


def nll(mu, ls, y):
    return (0.5 * ((y - mu) * np.exp(-ls)) ** 2 + ls).sum()


def nll_b(g, mu, ls, y):
    z = (y - mu) * np.exp(-ls)
    return g * z * np.exp(-ls), g * (1 - z * z), g * z * np.exp(-ls)


bad(
    "Gaussian negative log-likelihood: dmu has the sign of y-mu",
    "sign-flipped",
    nll,
    [r(36, 5), 0.3 * r(37, 5), r(38, 5)],
    nll_b,
    input=0,
)

# ---------------- wrong-scale
bad(
    "mean over the last axis (2,3,5): divided by all 30 entries",
    "wrong-scale",
    lambda x: x.mean(-1, keepdims=True),
    [r(39, 2, 3, 5)],
    lambda g, x: np.broadcast_to(g, x.shape) / x.size,
    factor=1 / 6,
)
T6 = np.array([1.0, 0, 1, 1, 0, 0, 1])
bad(
    "mean BCE with logits: p-y not divided by n",
    "wrong-scale",
    lambda z: (np.logaddexp(0, z) - T6 * z).mean(),
    [r(40, 7)],
    lambda g, z: g * (sig(z) - T6),
    factor=7.0,
)


def att(Q, K, V):
    return sm(Q @ K.T / np.sqrt(Q.shape[1])) @ V


def att_b(g, Q, K, V, scale=True, axis=-1):
    p = sm(Q @ K.T / np.sqrt(Q.shape[1]))
    dp = g @ V.T
    ds = smb(p, dp, axis) / (np.sqrt(Q.shape[1]) if scale else 1)
    return ds @ K, ds.T @ Q, p.T @ g


QKV = [r(41, 4, 3), r(42, 5, 3), r(43, 5, 2)]
bad(
    "scaled dot-product attention: 1/sqrt(d) forgotten in dQ and dK",
    "wrong-scale",
    att,
    QKV,
    lambda g, Q, K, V: att_b(g, Q, K, V, scale=False),
    factor=float(np.sqrt(3)),
)


@jax.custom_vjp
def jsq(x):
    return jnp.sum(x * x)


jsq.defvjp(lambda x: (jnp.sum(x * x), x), lambda x, g: (g * x,))
bad("JAX sum of squares custom_vjp: factor 2 forgotten", "wrong-scale", lambda x: jsq(x), [jj(r(44, 6))], factor=0.5)


# ---------------- missing-factor
def drelu(x, W, b):
    return np.maximum(x @ W + b, 0)


bad(
    "dense + relu: relu mask not applied on the way back",
    "missing-factor",
    drelu,
    [r(45, 3, 4), r(46, 4, 3), r(47, 3)],
    lambda g, x, W, b: (g @ W.T, x.T @ g, g.sum(0)),
)


def rmsg(x, w):
    return x / rms(x) * w


def rmsg_b(g, x, w):
    R = rms(x)
    h = x / R
    d = g
    return (d - h * (d * h).mean(-1, keepdims=True)) / R, (g * h).sum(0)


bad("RMS norm with weight: dnorm = dout, weight left out", "missing-factor", rmsg, [r(48, 3, 5), pos(49, 5)], rmsg_b, input=0)
CV = tt(np.array([0.5, -2.0, 3.0, 1.5]))


class MulConst(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * CV

    @staticmethod
    def backward(ctx, g):
        return g.clone()


bad("torch multiplication by a constant vector: backward = g", "missing-factor", MulConst.apply, [tt(r(50, 3, 4))])

# ---------------- derivative-at-wrong-point
bad("sigmoid: x(1-x) with x the pre-activation", "derivative-at-wrong-point", sig, [r(51, 2, 5)], lambda g, x: g * x * (1 - x))
bad("sinh: cosh taken at the output", "derivative-at-wrong-point", np.sinh, [r(52, 6)], lambda g, x: g * np.cosh(np.sinh(x)))


def sp(z):
    return np.logaddexp(0, z)


def mlp(x, W1, W2):
    return sp(x @ W1) @ W2


def mlp_b(g, x, W1, W2):
    a = sp(x @ W1)
    d = (g @ W2.T) * sig(a)
    return d @ W1.T, x.T @ d, a.T @ g


bad(
    "two-layer softplus network: sigmoid of the activation, not of z",
    "derivative-at-wrong-point",
    mlp,
    [r(53, 3, 4), r(54, 4, 5), r(55, 5, 2)],
    mlp_b,
    also=("missing-factor",),
)

# ---------------- wrong-axis
bad(
    "softmax over axis 0: backward sums over the last axis",
    "wrong-axis",
    lambda x: sm(x, 0),
    [r(56, 3, 4)],
    lambda g, x: smb(sm(x, 0), g, -1),
)
bad(
    "attention: softmax backward over the query axis",
    "wrong-axis",
    att,
    QKV,
    lambda g, Q, K, V: att_b(g, Q, K, V, axis=0),
    also=("spurious-batch-coupling",),
)
bad(
    "sum over rows of a square matrix: g laid along the other axis",
    "wrong-axis",
    lambda x: x.sum(1),
    [r(57, 4, 4)],
    lambda g, x: np.tile(g, (4, 1)),
    also=("transposed",),
)

# ---------------- missing-broadcast-sum
bad(
    "add a (1,4) row to (3,4): d_row = g",
    "missing-broadcast-sum",
    lambda x, b: x + b,
    [r(58, 3, 4), r(59, 1, 4)],
    lambda g, x, b: (g, g),
    input=1,
)
bad(
    "dense + tanh: bias gradient of the first sample only",
    "missing-broadcast-sum",
    lambda x, W, b: np.tanh(x @ W + b),
    [r(60, 4, 3), r(61, 3, 2), r(62, 2)],
    lambda g, x, W, b: (lambda d: (d @ W.T, x.T @ d, d[0]))(g * (1 - np.tanh(x @ W + b) ** 2)),
    input=2,
)
bad(
    "division by a 0-d temperature: dT not summed",
    "missing-broadcast-sum",
    lambda x, T: x / T,
    [r(63, 2, 3), np.array(1.7)],
    lambda g, x, T: (g / T, -g * x / T**2),
    input=1,
)

# ---------------- missing-batch-coupling
bad(
    "centring over the batch x - x.mean(0): dx = g",
    "missing-batch-coupling",
    lambda x: x - x.mean(0),
    [r(64, 4, 3)],
    lambda g, x: g,
    also=("missing-normalizer-term",),
)


class BN:
    def __init__(self, c, ok=True, seed=0):
        self.params = {"gamma": pos(seed, c), "beta": r(seed + 1, c)}
        self.grads = {}
        self.ok = ok

    def forward(self, x):
        ax = (0,) + tuple(range(2, x.ndim))
        sh = (1, -1) + (1,) * (x.ndim - 2)
        self.ax, self.sh = ax, sh
        m = x.mean(ax, keepdims=True)
        self.s = np.sqrt(x.var(ax, keepdims=True) + 1e-5)
        self.h = (x - m) / self.s
        return self.params["gamma"].reshape(sh) * self.h + self.params["beta"].reshape(sh)

    def backward(self, g):
        self.grads = {"gamma": (g * self.h).sum(self.ax), "beta": g.sum(self.ax)}
        d = g * self.params["gamma"].reshape(self.sh)
        ax = self.ax if self.ok is True else self.ok
        if ax == ():
            return d / self.s
        return (d - d.mean(ax, keepdims=True) - self.h * (d * self.h).mean(ax, keepdims=True)) / self.s


bad(
    "batch norm object: mean and variance taken as constants",
    "missing-batch-coupling",
    BN(3, ok=(), seed=65),
    [r(66, 5, 3)],
    input=0,
    also=("missing-normalizer-term",),
)
bad(
    "batch norm 4-D: backward averages per sample over H,W",
    "missing-batch-coupling",
    BN(2, ok=(2, 3), seed=67),
    [r(68, 3, 2, 2, 3)],
    input=0,
    also=("wrong-axis", "missing-normalizer-term"),
)

# ---------------- spurious-batch-coupling
bad(
    "softmax of rows: dot product g.p over the whole block",
    "spurious-batch-coupling",
    sm,
    [r(69, 3, 4)],
    lambda g, x: (lambda p: p * (g - (g * p).sum()))(sm(x)),
)


def rnn_s(g, x, h, U, W, b):
    d = g * (1 - rnn(x, h, U, W, b) ** 2)
    return d @ U.T, np.repeat(d.sum(0, keepdims=True), len(h), 0) @ W.T, x.T @ d, h.T @ d, d.sum(0)


bad(
    "recurrent tanh cell: dh from the batch sum of dz",
    "spurious-batch-coupling",
    rnn,
    [r(70, 3, 2), r(71, 3, 4), r(72, 2, 4), r(73, 4, 4), r(74, 4)],
    rnn_s,
    input=1,
)
bad(
    "running sum along time (B,T): backward cumsum without axis",
    "spurious-batch-coupling",
    lambda x: np.cumsum(x, axis=1),
    [r(75, 3, 4)],
    lambda g, x: np.cumsum(g[::-1, ::-1]).reshape(g.shape)[::-1, ::-1],
    also=("wrong-axis",),
)

# ---------------- missing-accumulation
IDX = np.array([0, 2, 2, 4, 0, 2])


def take_b(g, x):
    d = np.zeros_like(x)
    d[IDX] += g
    return d


bad("row gather with repeated indices: d[idx] += g", "missing-accumulation", lambda x: x[IDX], [r(76, 5, 3)], take_b)


def win_b(g, x):
    d = np.zeros_like(x)
    for i in range(len(g)):
        d[i : i + 3] = g[i]
    return d


bad(
    "overlapping windows of a vector: written, not added",
    "missing-accumulation",
    lambda x: np.stack([x[i : i + 3] for i in range(len(x) - 2)]),
    [r(77, 7)],
    win_b,
)


def res(x, W):
    return x + np.maximum(x @ W, 0)


def res_b(g, x, W):
    d = g * (x @ W > 0)
    return d @ W.T, x.T @ d


bad("residual block x + relu(xW): skip path forgotten", "missing-accumulation", res, [r(78, 3, 4), r(79, 4, 4)], res_b, input=0)


def rnn2(x1, x2, W):
    return np.tanh(x2 + np.tanh(x1 @ W) @ W)


def rnn2_b(g, x1, x2, W):
    h = np.tanh(x1 @ W)
    y = rnn2(x1, x2, W)
    d2 = g * (1 - y * y)
    d1 = d2 @ W.T * (1 - h * h)
    return d1 @ W.T, d2, h.T @ d2


bad(
    "two unrolled steps with a shared W: dW of the last step only",
    "missing-accumulation",
    rnn2,
    [r(80, 2, 3), r(81, 2, 3), r(82, 3, 3)],
    rnn2_b,
    input=2,
)


# ---------------- stale-state
class ReluOnce:
    mask = None

    def forward(self, x):
        if self.mask is None:
            self.mask = x > 0
        return np.maximum(x, 0)

    def backward(self, g):
        return g * self.mask


bad("relu object: mask stored by the first call only", "stale-state", ReluOnce(), [r(83, 3, 4)])


class DenseList:
    def __init__(self):
        self.params = {"W": r(84, 4, 3), "b": r(85, 3)}
        self.grads = {}
        self.xs = []

    def forward(self, x):
        self.xs.append(x.copy())
        return x @ self.params["W"] + self.params["b"]

    def backward(self, g):
        self.grads = {"W": self.xs[0].T @ g, "b": g.sum(0)}
        return g @ self.params["W"].T


bad("dense object: dW uses the first entry of its list of inputs", "stale-state", DenseList(), [r(86, 3, 4)])


class Mlp:
    def __init__(self, stale):
        self.params = {"W1": r(87, 3, 4), "W2": r(88, 4, 2)}
        self.grads = {}
        self.c = {}
        self.stale = stale

    def forward(self, x):
        h = np.tanh(x @ self.params["W1"])
        self.c["x"] = x
        if self.stale:
            self.c.setdefault("h", h)
        else:
            self.c["h"] = h
        return h @ self.params["W2"]

    def backward(self, g):
        h = self.c["h"]
        d = g @ self.params["W2"].T * (1 - h * h)
        self.grads = {"W1": self.c["x"].T @ d, "W2": h.T @ g}
        return d @ self.params["W1"].T


bad("tanh network object: hidden cache set by setdefault", "stale-state", Mlp(True), [r(89, 3, 3)])


# ---------------- input-mutated
def relu_mut(g, x):
    g[x <= 0] = 0
    return g


bad("relu: upstream zeroed in place", "input-mutated", lambda x: np.maximum(x, 0), [r(90, 3, 4)], relu_mut)
LAB = np.array([1, 0, 3])


def ce_mut(z):
    z -= z.max(1, keepdims=True)
    return -(z - np.log(np.exp(z).sum(1, keepdims=True)))[np.arange(3), LAB].mean()


def ce_b(g, z):
    p = sm(z)
    p[np.arange(len(p)), LAB] -= 1
    return g * p / len(p)


bad("cross-entropy: maximum subtracted from the logits in place", "input-mutated", ce_mut, [r(91, 3, 4)], ce_b)


def rmsg_alias(g, x, w):
    R = rms(x)
    h = x / R
    d = g * w
    g[...] = (d - h * (d * h).mean(-1, keepdims=True)) / R
    return g, (g * h).sum(0)


bad("RMS norm with weight: dX written into dY before dW is formed", "input-mutated", rmsg, [r(92, 3, 4), pos(93, 4)], rmsg_alias)


# ---------------- nondeterministic
class Drop:
    def forward(self, x):
        self.m = (np.random.rand(*x.shape) > 0.5) / 0.5
        return x * self.m

    def backward(self, g):
        return g * self.m


bad("dropout object: fresh unseeded mask on each call", "nondeterministic", Drop(), [r(94, 4, 5)])
bad(
    "torch Linear + Dropout in training mode",
    "nondeterministic",
    torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Dropout(0.5)).double().train(),
    [tt(r(95, 3, 4))],
)


def logmm_b(g, A, B):
    k = np.random.rand(A.shape[1]) > 0.5
    return g @ B.T, 2 * (A * k).T @ g


bad(
    "matmul: dB estimated from a random half of the inner axis",
    "nondeterministic",
    lambda A, B: A @ B,
    [r(96, 3, 6), r(97, 6, 2)],
    logmm_b,
    input=1,
)

# ---------------- wrong-at-some-entries
YI = np.array([2, -100, 0, 1])


def cei(z):
    k = YI >= 0
    return -lsm(z)[k][np.arange(k.sum()), YI[k]].sum()


def cei_b(g, z):
    p = sm(z)
    k = YI >= 0
    p[np.nonzero(k)[0], YI[k]] -= 1
    return g * p


bad("cross-entropy with an ignored label: ignored row keeps softmax", "wrong-at-some-entries", cei, [r(98, 4, 3)], cei_b)


def hub(d):
    return np.where(np.abs(d) < 1, 0.5 * d * d, np.abs(d) - 0.5)


bad(
    "Huber: branch on d < 1 instead of |d| < 1",
    "wrong-at-some-entries",
    hub,
    [np.array([0.3, -2.2, 1.8, -0.4, -3.1, 0.9, 2.5])],
    lambda g, d: g * np.where(d < 1, d, np.sign(d)),
)


def avgc(x):
    return np.array([x[i : i + 2].mean() for i in range(0, len(x), 2)])


bad(
    "average pool with a short last window: g/2 there too",
    "wrong-at-some-entries",
    avgc,
    [r(99, 7)],
    lambda g, x: np.repeat(g, 2)[: len(x)] / 2,
)


def d6(x, W, b):
    return np.clip(x @ W + b, 0, 1.5)


bad(
    "dense + clip to [0,1.5]: upper limit forgotten in backward",
    "wrong-at-some-entries",
    d6,
    [r(100, 3, 4), r(101, 4, 4), r(102, 4)],
    lambda g, x, W, b: (lambda d: (d @ W.T, x.T @ d, d.sum(0)))(g * (x @ W + b > 0)),
    also=("missing-factor",),
)

# ---------------- wrong-shape
bad(
    "dense layer: dW returned as (out,in)",
    "wrong-shape",
    dense,
    [r(103, 3, 4), r(104, 4, 2), r(105, 2)],
    lambda g, x, W, b: (g @ W.T, g.T @ x, g.sum(0)),
    input=1,
    also=("transposed",),
)


class Flat:
    def forward(self, x):
        return x.reshape(len(x), -1)

    def backward(self, g):
        return g


bad("flatten object (N,C,H,W): gradient left flat", "wrong-shape", Flat(), [r(106, 2, 2, 3, 2)])
bad("zero padding by one: padding not cut off", "wrong-shape", lambda x: np.pad(x, 1), [r(107, 2, 3)], lambda g, x: g)

# ---------------- wrong-dtype
bad("expm1: gradient cast to float32", "wrong-dtype", np.expm1, [r(108, 2, 4)], lambda g, x: (g * np.exp(x)).astype(np.float32))


def scat_b(g, x):
    d = np.zeros(x.shape, dtype=int)
    d[::2] = g
    return d


bad(
    "every second row: gradient buffer of integers",
    "wrong-dtype",
    lambda x: x[::2] * 1.0,
    [r(109, 5, 2)],
    lambda g, x: scat_b(g * 1.0, x),
    also=("not-linear-in-upstream",),
)


class Dense16:
    def __init__(self):
        self.params = {"W": r(110, 4, 3)}
        self.grads = {}

    def forward(self, x):
        self.x = x
        return np.tanh(x @ self.params["W"])

    def backward(self, g):
        d = (g * (1 - np.tanh(self.x @ self.params["W"]) ** 2)).astype(np.float16)
        self.grads = {"W": self.x.astype(np.float16).T @ d}
        return d @ self.params["W"].T.astype(np.float16)


bad("dense + tanh object: backward in float16", "wrong-dtype", Dense16(), [r(111, 3, 4)])

# ---------------- non-finite
bad(
    "cumulative product with a zero: revcumsum(g*y)/x",
    "non-finite",
    np.cumprod,
    [np.array([1.5, -0.7, 0.0, 2.0, 1.2])],
    lambda g, x: np.cumsum((g * np.cumprod(x))[::-1])[::-1] / x,
)
bad(
    "softplus at 800: exp(x)/(1+exp(x))",
    "non-finite",
    sp,
    [np.array([0.3, -1.0, 800.0, 2.0])],
    lambda g, x: g * np.exp(x) / (1 + np.exp(x)),
)
BX, BT = r(112, 4, 3), np.array([1.0, 0, 1, 0])


def bcen(w, b):
    z = BX @ w + b
    return (np.logaddexp(0, z) - BT * z).mean()


def bcen_b(g, w, b):
    p = sig(BX @ w + b)
    d = g * (p - BT) / (p * (1 - p)) * p * (1 - p) / 4
    return BX.T @ d, np.asarray(d.sum())


bad(
    "logistic regression loss: dL/dp times p(1-p) with saturated p",
    "non-finite",
    bcen,
    [np.array([40.0, -35.0, 60.0]), np.array(30.0)],
    bcen_b,
)


# ---------------- zero-gradient
class Detached(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(3, 4).double()
        self.b = torch.nn.Linear(4, 2).double()

    def forward(self, x):
        return self.b(torch.tanh(self.a(x.detach())))


torch.manual_seed(0)
bad("torch two-layer module: input detached", "zero-gradient", Detached(), [tt(r(113, 2, 3))], input=0)


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def elu_b(g, x):
    d = np.zeros_like(x)
    for row, gr, xr in zip(d, g, x):
        row = gr * np.where(xr > 0, 1, np.exp(xr))  # noqa: F841
    return d


bad("ELU: loop rebinds the row, nothing is written", "zero-gradient", elu, [r(114, 3, 4)], elu_b)


def glu_b(g, x, W, V):
    s = sig(x @ V)
    d = g * s
    return d @ W.T + (g * (x @ W) * s * (1 - s)) @ V.T, x.T @ d, np.zeros_like(V)


bad(
    "gated linear unit (xW)sigmoid(xV): dV never filled",
    "zero-gradient",
    lambda x, W, V: (x @ W) * sig(x @ V),
    [r(115, 3, 4), r(116, 4, 2), r(117, 4, 2)],
    glu_b,
    input=2,
)

# ---------------- fused-twice
OH = np.eye(4)[[1, 3, 0]]


def ceo(z):
    return -(OH * lsm(z)).sum() / 3


bad(
    "softmax cross-entropy: softmax Jacobian on top of h - t",
    "fused-twice",
    ceo,
    [r(118, 3, 4)],
    lambda g, z: smb(sm(z), g * (sm(z) - OH) / 3),
)


def cew(x, W, b):
    return ceo(x @ W + b)


def cew_b(g, x, W, b):
    h = sm(x @ W + b)
    d = smb(h, g * (h - OH) / 3)
    return d @ W.T, x.T @ d, d.sum(0)


bad(
    "softmax regression loss with weights: Jacobian on top of h - t",
    "fused-twice",
    cew,
    [r(119, 3, 5), r(120, 5, 4), r(121, 4)],
    cew_b,
)


class CEF(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return -torch.log_softmax(z, 0)[2]

    @staticmethod
    def backward(ctx, g):
        h = torch.softmax(ctx.saved_tensors[0], 0)
        d = h.clone()
        d[2] -= 1
        d = g * d
        return h * (d - (d * h).sum())


bad("torch cross-entropy of one sample: Jacobian on top of h - t", "fused-twice", CEF.apply, [tt(r(122, 5))])

# ---------------- swapped-gradients
bad(
    "division x/y: gradients returned in the order y, x",
    "swapped-gradients",
    lambda x, y: x / y,
    [r(123, 2, 3), pos(124, 2, 3)],
    lambda g, x, y: (-g * x / y**2, g / y),
)


@jax.custom_vjp
def jmm(A, B):
    return A @ B


jmm.defvjp(lambda A, B: (A @ B, (A, B)), lambda ab, g: (ab[0].T @ g, g @ ab[1].T))
bad("JAX square matmul custom_vjp: dB, dA", "swapped-gradients", lambda A, B: jmm(A, B), [jj(r(125, 3, 3)), jj(r(126, 3, 3))])


def cell(f, c, i, q):
    return sig(f) * c + sig(i) * np.tanh(q)


def cell_b(g, f, c, i, q, swap=False):
    sf, si, t = sig(f), sig(i), np.tanh(q)
    di, dq = g * t * si * (1 - si), g * si * (1 - t * t)
    return (g * c * sf * (1 - sf), g * sf, dq, di) if swap else (g * c * sf * (1 - sf), g * sf, di, dq)


bad(
    "LSTM cell state: gradients of input gate and candidate exchanged",
    "swapped-gradients",
    cell,
    [r(127, 2, 3), r(128, 2, 3), r(129, 2, 3), r(130, 2, 3)],
    lambda g, *a: cell_b(g, *a, swap=True),
)

# ---------------- unknown
FB = r(131, 2, 4)
bad(
    "dense layer: fixed random feedback matrix in place of W^T",
    "unknown",
    dense,
    [r(132, 3, 4), r(133, 4, 2), r(134, 2)],
    lambda g, x, W, b: (g @ FB, x.T @ g, g.sum(0)),
    input=0,
)
bad(
    "matrix cube A@A@A: scalar rule 3 (A^2)^T G",
    "unknown",
    lambda A: A @ A @ A,
    [r(135, 3, 3)],
    lambda g, A: 3 * (A @ A).T @ g,
    also=("missing-accumulation",),
)

# ================= right ones =================
f32, f16 = np.float32, np.float16
good("softmax float32", sm, [r(201, 3, 5).astype(f32)], lambda g, x: smb(sm(x), g))
good("tanh float16", np.tanh, [r(202, 2, 4).astype(f16)], lambda g, x: g * (1 - np.tanh(x) ** 2))
good(
    "layer norm float32 with large offset",
    ln,
    [(r(203, 3, 5) + 300).astype(f32), pos(204, 5).astype(f32), r(205, 5).astype(f32)],
    ln_b,
)
good("log-softmax of logits near 1000", lsm, [1000 + 5 * r(206, 3, 4)], lambda g, x: g - sm(x) * g.sum(-1, keepdims=True))
good("arcsinh of tiny numbers", np.arcsinh, [1e-9 * r(207, 6)], lambda g, x: g / np.sqrt(1 + x * x))
SC = 10.0 ** np.arange(-6, 7, 2)
good("sum of cubes, inputs from 1e-6 to 1e6", lambda x: x**3, [SC.copy()], lambda g, x: 3 * g * x * x)
good("relu with exact zeros", lambda x: np.maximum(x, 0), [np.array([[0.0, 1.0, -2.0], [0.0, 0.5, 0.0]])], lambda g, x: g * (x > 0))


def mx_b(g, x):
    k = x == x.max(1, keepdims=True)
    return g[:, None] * k / k.sum(1, keepdims=True)


good(
    "row maximum with ties, shared evenly",
    lambda x: x.max(1),
    [np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.0, 1.0, -1.0]])],
    mx_b,
)
good("absolute value at zero, sign convention 0", np.abs, [np.array([0.0, -1.5, 2.0, 0.0])], lambda g, x: g * np.sign(x))
good("layer norm of a nearly constant row", ln, [np.vstack([2 + 1e-4 * r(208, 5), r(209, 5)]), pos(210, 5), r(211, 5)], ln_b)
good("exp(20x), sharply curved", lambda x: np.exp(20 * x), [0.3 * r(212, 5)], lambda g, x: 20 * g * np.exp(20 * x))
good("sin(200x), oscillating", lambda x: np.sin(200 * x), [r(213, 6)], lambda g, x: 200 * g * np.cos(200 * x))
good(
    "matmul of strided views",
    lambda A, B: A @ B,
    [r(214, 8, 6)[::2, ::2].T, r(215, 2, 4).T[:, ::-1]],
    lambda g, A, B: (g @ B.T, A.T @ g),
)
good("square root of a 0-d number", np.sqrt, [np.array(2.3)], lambda g, x: 0.5 * g / np.sqrt(x))
good("tanh of an empty (0,3) array", np.tanh, [np.zeros((0, 3))], lambda g, x: g * (1 - np.tanh(x) ** 2))
good("cross-entropy, very confident and right", ceo, [40 * OH + r(216, 3, 4)], lambda g, z: g * (sm(z) - OH) / 3)
CM = np.where(np.tril(np.ones((4, 4))) > 0, 0.0, -np.inf)


def catt(Q, K, V):
    return sm(Q @ K.T / np.sqrt(3) + CM) @ V


def catt_b(g, Q, K, V):
    p = sm(Q @ K.T / np.sqrt(3) + CM)
    ds = smb(p, g @ V.T) / np.sqrt(3)
    return ds @ K, ds.T @ Q, p.T @ g


good("causal attention with a -inf mask", catt, [r(217, 4, 3), r(218, 4, 3), r(219, 4, 2)], catt_b)
good("batch norm object 4-D with cache and params", BN(2, seed=220), [r(221, 3, 2, 2, 3)])
good("tanh network object with cache", Mlp(False), [r(222, 4, 3)])


class FixedDrop:
    m = (np.random.default_rng(3).random((3, 4)) > 0.4) / 0.6

    def forward(self, x):
        return x * self.m

    def backward(self, g):
        return g * self.m


good("dropout object with a frozen mask", FixedDrop(), [r(223, 3, 4)])


class Sin(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sin(x)

    @staticmethod
    def backward(ctx, g):
        return g * torch.cos(ctx.saved_tensors[0])


good("torch sin Function", Sin.apply, [tt(r(224, 2, 4))])
torch.manual_seed(1)
good(
    "torch float32 Linear + GELU + LayerNorm",
    torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.GELU(), torch.nn.LayerNorm(5)),
    [tt(r(225, 3, 4).astype(f32))],
)


@jax.custom_vjp
def jsp(x):
    return jnp.logaddexp(x, 0.0)


jsp.defvjp(lambda x: (jnp.logaddexp(x, 0.0), x), lambda x, g: (g * jax.nn.sigmoid(x),))
good("JAX softplus custom_vjp", lambda x: jsp(x), [jj(r(226, 3, 3))])
good(
    "JAX log-softmax cross-entropy, plain function",
    lambda z: -jax.nn.log_softmax(z, -1)[jnp.arange(3), jnp.array([0, 2, 1])].mean(),
    [jj(3 * r(227, 3, 4))],
)


def emb_b(g, W, i):
    d = np.zeros_like(W)
    np.add.at(d, i, g)
    return d, None


good("embedding with repeated integer indices", lambda W, i: W[i], [r(228, 5, 3), np.array([[1, 1], [4, 1]])], emb_b)
good(
    "sum and difference, two outputs",
    lambda a, b: (a + b, a - b),
    [r(229, 3), r(230, 3)],
    lambda g, a, b: (g[0] + g[1], g[0] - g[1]),
)


def cv(x, k):
    return np.array([[(x[i : i + 2, j : j + 3] * k).sum() for j in range(x.shape[1] - 2)] for i in range(x.shape[0] - 1)])


def cv_b(g, x, k):
    dx, dk = np.zeros_like(x), np.zeros_like(k)
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            dx[i : i + 2, j : j + 3] += g[i, j] * k
            dk += g[i, j] * x[i : i + 2, j : j + 3]
    return dx, dk


good("2-D correlation with a (2,3) kernel", cv, [r(231, 4, 6), r(232, 2, 3)], cv_b)


def mp(x):
    return x.reshape(1, 2, 2, 2, 2, 2).max((3, 5))


def mp_b(g, x):
    y = x.reshape(1, 2, 2, 2, 2, 2)
    return ((y == y.max((3, 5), keepdims=True)) * g[:, :, :, None, :, None]).reshape(x.shape)


good("max pool 2x2 of (1,2,4,4) without ties", mp, [r(233, 1, 2, 4, 4)], mp_b)
good("LSTM cell state", cell, [r(234, 2, 3), r(235, 2, 3), r(236, 2, 3), r(237, 2, 3)], cell_b)


def prod_b(g, x):
    return g * np.array([np.prod(np.delete(x, i)) for i in range(x.size)])


good("product with one zero", np.prod, [np.array([1.5, 0.0, -2.0, 3.0])], prod_b)
good("Huber exactly at its joint", hub, [np.array([1.0, -1.0, 0.0, 0.5, 3.0])], lambda g, d: g * np.clip(d, -1, 1))
good("identity returning upstream itself", lambda x: x.copy(), [r(238, 2, 3)], lambda g, x: g)
good(
    "heaviside step away from its jump: zero is right",
    lambda x: (x > 0) * 1.0,
    [np.array([0.7, -0.4, 1.2, -2.0])],
    lambda g, x: np.zeros_like(x),
)
XH = r(239, 5, 2)
YH = np.array([1.0, -1, 1, 1, -1])


def svm(w):
    return np.maximum(0, 1 - YH * (XH @ w)).mean() + 0.05 * (w * w).sum()


good(
    "hinge loss with L2 penalty", svm, [r(240, 2)], lambda g, w: g * (-(XH * (YH * (YH * (XH @ w) < 1))[:, None]).mean(0) + 0.1 * w)
)
good(
    "float32 sum of squares of numbers near 1000", lambda x: (x * x).sum(), [(1000 + r(241, 6)).astype(f32)], lambda g, x: 2 * g * x
)
