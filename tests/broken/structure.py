"""Broken: broadcast, accumulation, state, mutation, special entries, shape, dtype, nan, zero."""

import numpy as np
import torch

from tests.cases import R, broken, with_jax


def softmax(z, axis=-1):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# ---------------------------------------------------------------- missing-broadcast-sum
@broken("missing-broadcast-sum", input=2)
def mb_dense_bias():
    def f(x, W, b):
        return x @ W + b

    r = R(1)
    return f, (r.normal(size=(6, 3)), r.normal(size=(3, 4)), r.normal(size=4)), (lambda g, x, W, b: (g @ W.T, x.T @ g, g))


@broken("missing-broadcast-sum", input=1)
def mb_row_add():
    r = R(2)
    return (lambda a, b: a + b), (r.normal(size=(3, 4)), r.normal(size=(1, 4))), (lambda g, a, b: (g, g.copy()))


@broken("missing-broadcast-sum", input=1)
def mb_first_slice():
    r = R(3)
    return (
        (lambda x, b: np.tanh(x) + b),
        (r.normal(size=(5, 3)), r.normal(size=3)),
        (lambda g, x, b: (g * (1 - np.tanh(x) ** 2), g[0].copy())),
    )


@broken("missing-broadcast-sum", input=0)
def mb_scalar_scale():
    r = R(4)
    return (lambda s, x: s * x), (np.array(1.7), r.normal(size=(2, 3))), (lambda g, s, x: (g * x, g * s))


@broken("missing-broadcast-sum", input=1)
def mb_channel_gamma_partial():
    """summed over the batch only, H and W left"""

    def f(x, ga):
        return x * ga[None, :, None, None]

    r = R(5)
    return f, (r.normal(size=(2, 3, 4, 5)), r.normal(size=3)), (lambda g, x, ga: (g * ga[None, :, None, None], (g * x).sum(0)))


@broken("missing-broadcast-sum", input=1)
def mb_last_slice_product():
    r = R(6)
    return (lambda x, w: x * w), (r.normal(size=(4, 6)), r.normal(size=6)), (lambda g, x, w: (g * w, (g * x)[-1]))


@broken("missing-broadcast-sum", input=0)
def mb_broadcast_to():
    return (lambda v: np.broadcast_to(v, (5, 4)).copy()), (R(7).normal(size=4),), (lambda g, v: g[0].copy())


@broken("missing-broadcast-sum", input=0)
def mb_column_times_matrix():
    r = R(8)
    return (lambda a, b: a * b), (r.normal(size=(4, 1)), r.normal(size=(4, 3))), (lambda g, a, b: (g * b, g * a))


@broken("missing-broadcast-sum", input=1)
def mb_torch_slice():
    class A(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, b):
            return x + b

        @staticmethod
        def backward(ctx, g):
            return g, g[0]

    r = R(9)
    return A.apply, (torch.tensor(r.normal(size=(4, 3))), torch.tensor(r.normal(size=3)))


@broken("missing-broadcast-sum")
def mb_param_layer():
    class Affine:
        def __init__(s):
            s.params = {"W": R(3).normal(size=(2, 3)), "b": R(4).normal(size=3)}
            s.grads = {}

        def forward(s, x):
            s.x = x
            return x @ s.params["W"] + s.params["b"]

        def backward(s, d):
            s.grads = {"W": s.x.T @ d, "b": d}
            return d @ s.params["W"].T

    return Affine(), (R(10).normal(size=(5, 2)),)


# ---------------------------------------------------------------- missing-accumulation
@broken("missing-accumulation", input=0)
def ma_gather_duplicates():
    idx = np.array([0, 2, 2, 4, 0])

    def b(g, x):
        d = np.zeros_like(x)
        d[idx] += g
        return d

    return (lambda x: x[idx]), (R(11).normal(size=6),), b


@broken("missing-accumulation")
def ma_embedding_layer():
    ids = np.array([[1, 3, 1], [0, 3, 3]])

    class Embedding:
        def __init__(s):
            s.params = {"E": R(1).normal(size=(5, 4))}
            s.grads = {"E": np.zeros((5, 4))}

        def forward(s, x):
            return s.params["E"][ids] * x[..., None]

        def backward(s, g):
            s.grads["E"] = np.zeros((5, 4))
            s.grads["E"][ids] = g * s.x_[..., None]
            return (g * s.params["E"][ids]).sum(-1)

    class E2(Embedding):
        def forward(s, x):
            s.x_ = x
            return super().forward(x)

    return E2(), (R(12).normal(size=(2, 3)),)


@broken("missing-accumulation", input=0)
def ma_residual_branch_only():
    W = R(13).normal(size=(4, 4))

    def f(x):
        return x + np.tanh(x @ W)

    return f, (R(14).normal(size=(3, 4)),), (lambda g, x: (g * (1 - np.tanh(x @ W) ** 2)) @ W.T)


@broken("missing-accumulation", input=0)
def ma_residual_skip_only():
    W = R(115).normal(size=(5, 5))

    def f(x):
        return x + np.tanh(x @ W)

    return f, (R(15).normal(size=(2, 5)),), (lambda g, x: g.copy())


@broken("missing-accumulation", input=1)
def ma_tied_autoencoder():
    def f(x, W):
        return np.tanh(x @ W) @ W.T

    def b(g, x, W):
        h = np.tanh(x @ W)
        dh = (g @ W) * (1 - h * h)
        return dh @ W.T, x.T @ dh

    r = R(16)
    return f, (r.normal(size=(4, 5)), r.normal(size=(5, 3)) * 0.5), b


@broken("missing-accumulation", input=0)
def ma_conv_windows_overwrite():
    k = np.array([0.3, -1.0, 0.7])

    def f(x):
        return np.array([x[i : i + 3] @ k for i in range(len(x) - 2)])

    def b(g, x):
        dx = np.zeros_like(x)
        for i in range(len(g)):
            dx[i : i + 3] = g[i] * k
        return dx

    return f, (R(17).normal(size=9),), b


@broken("missing-accumulation", input=0)
def ma_quadratic_form():
    A = R(18).normal(size=(5, 5))
    return (lambda x: x @ A @ x), (R(19).normal(size=5),), (lambda g, x: g * (A @ x))


@broken("missing-accumulation", input=0)
def ma_overlapping_maxpool():
    """3x3 windows, stride 1: a pixel that wins twice keeps the last"""

    def f(x):
        return np.array([[x[i : i + 3, j : j + 3].max() for j in range(4)] for i in range(4)])

    def b(g, x):
        dx = np.zeros_like(x)
        for i in range(4):
            for j in range(4):
                w = x[i : i + 3, j : j + 3]
                a, c = np.unravel_index(w.argmax(), w.shape)
                dx[i + a, j + c] = g[i, j]
        return dx

    return f, (R(20).normal(size=(6, 6)),), b


@broken("missing-accumulation", input=1)
def ma_rnn_last_step_only():
    def run(x, W):
        h = [np.zeros(3)]
        for t in range(len(x)):
            h.append(np.tanh(x[t] + W @ h[-1]))
        return h

    def f(x, W):
        return run(x, W)[-1]

    def b(g, x, W):
        h = run(x, W)
        dx = np.zeros_like(x)
        dW = np.zeros_like(W)
        d = g
        for t in reversed(range(len(x))):
            dz = d * (1 - h[t + 1] ** 2)
            dx[t] = dz
            if t == len(x) - 1:
                dW = np.outer(dz, h[t])
            d = W.T @ dz
        return dx, dW

    r = R(21)
    return f, (r.normal(size=(4, 3)), r.normal(size=(3, 3)) * 0.7), b


@broken("missing-accumulation", input=0)
def ma_tuple_outputs_first_only():
    return (lambda x: (np.sin(x), np.cos(2 * x))), (R(22).normal(size=(2, 4)),), (lambda g, x: g[0] * np.cos(x))


@broken("missing-accumulation", input=0)
def ma_self_attention_value_path():
    def f(x):
        return softmax(x @ x.T) @ x

    return f, (R(23).normal(size=(4, 3)) * 0.7,), (lambda g, x: softmax(x @ x.T).T @ g)


@broken("missing-accumulation", input=0)
def ma_torch_index_put():
    idx = torch.tensor([1, 1, 0, 3])

    class G(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.n = x.shape
            return x[idx]

        @staticmethod
        def backward(ctx, g):
            d = torch.zeros(ctx.n, dtype=g.dtype)
            d[idx] = g
            return d

    return G.apply, (torch.tensor(R(24).normal(size=(4, 3))),)


@broken("missing-accumulation", "wrong-at-some-entries", input=0)
def ma_reflect_pad():
    def f(x):
        return np.pad(x, 2, mode="reflect")

    return f, (R(25).normal(size=8),), (lambda g, x: g[2:-2].copy())


# ---------------------------------------------------------------- stale-state
@broken("stale-state")
def ss_first_cache_wins():
    class Sq:
        def forward(self, x):
            if not hasattr(self, "x"):
                self.x = x.copy()
            return x**2

        def backward(self, g):
            return 2 * g * self.x

    return Sq(), (R(26).normal(size=(3, 3)),)


@broken("stale-state")
def ss_previous_input():
    class Lag:
        x = prev = None

        def forward(self, x):
            self.prev = self.x if self.x is not None and self.x.shape == x.shape else x.copy()
            self.x = x.copy()
            return np.exp(x)

        def backward(self, g):
            return g * np.exp(self.prev)

    return Lag(), (R(27).normal(size=6),)


@broken("stale-state")
def ss_memo_by_shape():
    memo = {}

    def f(x):
        s = sigmoid(x)
        if x.shape not in memo:
            memo[x.shape] = s
        return s

    def b(g, x):
        s = memo[x.shape]
        return g * s * (1 - s)

    return f, (R(28).normal(size=(2, 4)),), b


@broken("stale-state")
def ss_ping_pong_buffers():
    class PP:
        def __init__(s):
            s.buf = {}
            s.i = 0

        def forward(s, x):
            s.i += 1
            s.buf[s.i % 2] = x.copy()
            return np.sin(x)

        def backward(s, g):
            return g * np.cos(s.buf.get((s.i + 1) % 2, s.buf[s.i % 2]))

    return PP(), (R(29).normal(size=(5,)),)


@broken("stale-state")
def ss_fifo_stack():
    class Tanh:
        def __init__(s):
            s.stack = []

        def forward(s, x):
            y = np.tanh(x)
            s.stack.append(y)
            return y

        def backward(s, g):
            y = s.stack[0] if s.stack[0].shape == g.shape else s.stack[-1]
            return g * (1 - y * y)

    return Tanh(), (R(30).normal(size=(4, 2)),)


@broken("stale-state")
def ss_dense_input_cached_once():
    class Dense:
        def __init__(s):
            s.params = {"W": R(5).normal(size=(4, 3))}
            s.grads = {}
            s.cache = None

        def forward(s, x):
            if s.cache is None:
                s.cache = x.copy()
            return x @ s.params["W"]

        def backward(s, g):
            s.grads["W"] = s.cache.T @ g
            return g @ s.params["W"].T

    return Dense(), (R(31).normal(size=(5, 4)),)


@broken("stale-state")
def ss_torch_class_attribute():
    class Ex(torch.autograd.Function):
        saved = None

        @staticmethod
        def forward(ctx, x):
            y = torch.exp(x)
            if Ex.saved is None:
                Ex.saved = y.detach().clone()
            return y

        @staticmethod
        def backward(ctx, g):
            return g * Ex.saved

    return Ex.apply, (torch.tensor(R(32).normal(size=(2, 3))),)


# ---------------------------------------------------------------- input-mutated
@broken("input-mutated", input=0)
def im_relu_in_place():
    def f(x):
        x[x < 0] = 0
        return x.copy()

    return f, (R(33).normal(size=(3, 4)),), (lambda g, x: g * (x > 0))


@broken("input-mutated")
def im_upstream_masked():
    def b(g, x):
        g[x <= 0] = 0
        return g

    return (lambda x: np.maximum(x, 0)), (R(34).normal(size=(4, 4)),), b


@broken("input-mutated", input=0)
def im_softmax_shift():
    """right values; x -= max in place"""

    def f(x):
        x -= x.max(-1, keepdims=True)
        e = np.exp(x)
        return e / e.sum(-1, keepdims=True)

    def b(g, x):
        s = softmax(x)
        return s * (g - (g * s).sum(-1, keepdims=True))

    return f, (R(35).normal(size=(3, 5)),), b


@broken("input-mutated", input=1)
def im_labels_ignored():
    def f(z, y):
        keep = y >= 0
        y[~keep] = 0
        return -(np.log(softmax(z))[np.arange(len(y)), y] * keep).sum()

    def b(g, z, y):
        keep = y >= 0
        p = softmax(z)
        p[np.arange(len(y)), np.maximum(y, 0)] -= 1
        return g * p * keep[:, None], None

    return f, (R(36).normal(size=(4, 3)), np.array([0, -1, 2, 1])), b


@broken("input-mutated")
def im_torch_grad_mul_():
    class T(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.sin(x)

        @staticmethod
        def backward(ctx, g):
            return g.mul_(torch.cos(ctx.saved_tensors[0]))

    return T.apply, (torch.tensor(R(37).normal(size=5)),)


@broken("input-mutated", input=0)
def im_backward_writes_x():
    def b(g, x):
        np.cos(x, out=x)
        x *= g
        return x

    return (lambda x: np.sin(x)), (R(38).normal(size=(2, 3)),), b


@broken("input-mutated", input=1)
def im_weights_normalised_in_forward():
    """forward rescales W in place (idempotent), the gradient is right for the rescaled W's direction"""

    def f(x, W):
        W /= np.abs(W).max()
        return x @ W

    def b(g, x, W):
        m = np.unravel_index(np.abs(W).argmax(), W.shape)
        a = W[m]
        s = np.abs(a)
        d = x.T @ g
        dW = d / s
        dW[m] -= np.sign(a) * (d * W).sum() / s**2
        return g @ (W / s).T, dW

    r = R(39)
    return f, (r.normal(size=(3, 4)), 3 * r.normal(size=(4, 2))), b


# ---------------------------------------------------------------- nondeterministic
@broken("nondeterministic")
def nd_dropout():
    rng = np.random.default_rng()

    class Drop:
        def forward(s, x):
            s.m = (rng.random(x.shape) > 0.5) / 0.5
            return x * s.m

        def backward(s, g):
            return g * s.m

    return Drop(), (R(40).normal(size=(5, 6)),)


@broken("nondeterministic")
def nd_mask_redrawn_in_backward():
    m = R(3).random((6, 5)) > 0.4
    rng = np.random.default_rng()
    return (lambda x: x * m), (R(41).normal(size=(6, 5)),), (lambda g, x: g * (rng.random(x.shape) > 0.4))


@broken("nondeterministic", input=0)
def nd_gradient_noise():
    rng = np.random.default_rng()
    return (
        (lambda x: np.tanh(x)),
        (R(42).normal(size=(3, 4)),),
        (lambda g, x: g * (1 - np.tanh(x) ** 2) + 0.01 * rng.normal(size=x.shape)),
    )


@broken("nondeterministic")
def nd_reparametrisation():
    rng = np.random.default_rng()
    st = {}

    def f(mu, lv):
        st["e"] = rng.normal(size=mu.shape)
        return mu + np.exp(lv / 2) * st["e"]

    return f, (R(43).normal(size=6), R(44).normal(size=6)), (lambda g, mu, lv: (g, g * 0.5 * np.exp(lv / 2) * st["e"]))


@broken("nondeterministic")
def nd_torch_dropout_module():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double(), (
        torch.tensor(R(45).normal(size=(3, 4))),
    )


@broken("nondeterministic")
def nd_annealed_temperature():
    class Anneal:
        n = 0

        def forward(s, x):
            s.n += 1
            s.T = 2 + np.sin(s.n)
            s.s = softmax(x / s.T)
            return s.s

        def backward(s, g):
            return s.s * (g - (g * s.s).sum(-1, keepdims=True)) / s.T

    return Anneal(), (R(46).normal(size=(2, 4)),)


@broken("nondeterministic")
def nd_negative_sampling():
    def f(u, V):
        neg = np.random.randint(len(V), size=3)
        return np.log(1 + np.exp(V[neg] @ u)).sum()

    def b(g, u, V):
        neg = np.random.randint(len(V), size=3)
        s = sigmoid(V[neg] @ u)
        dV = np.zeros_like(V)
        np.add.at(dV, neg, g * s[:, None] * u)
        return g * s @ V[neg], dV

    r = R(47)
    return f, (r.normal(size=4), r.normal(size=(20, 4))), b


# ---------------------------------------------------------------- wrong-at-some-entries
@broken("wrong-at-some-entries", input=0)
def we_one_entry():
    def b(g, x):
        d = g * np.cos(x)
        d[2, 3] *= -0.4
        return d

    return (lambda x: np.sin(x)), (R(48).normal(size=(5, 6)),), b


@broken("wrong-at-some-entries", input=0)
def we_same_conv_edges():
    k = np.array([1.0, -2.5, 0.5])

    def f(x):
        return np.convolve(x, k, "same")

    def b(g, x):
        d = np.correlate(g, k, "same")
        d[0] = d[-1] = 0
        return d

    return f, (R(49).normal(size=14),), b


@broken("wrong-at-some-entries", input=0)
def we_ignore_index():
    def f(z, y):
        k = y != -100
        return -np.log(softmax(z)[np.arange(len(y)), np.where(k, y, 0)])[k].sum()

    def b(g, z, y):
        return g * (softmax(z) - np.eye(z.shape[1])[np.where(y == -100, 0, y)]), None

    return f, (R(50).normal(size=(7, 3)), np.array([0, 1, -100, 2, 1, 1, 0])), b


@broken("wrong-at-some-entries", "missing-factor", input=0)
def we_clip_straight_through():
    x = R(51).uniform(-1.4, 1.4, size=(4, 6))
    return (lambda x: np.clip(x, -1.2, 1.2) * 3), (x,), (lambda g, x: 3 * g)


@broken("wrong-at-some-entries", input=0)
def we_padding_idx():
    ids = np.array([[1, 4, 0, 0], [2, 3, 5, 0]])

    def f(E):
        return E[ids] * (ids != 0)[..., None]

    def b(g, E):
        d = np.zeros_like(E)
        np.add.at(d, ids, g)
        return d

    return f, (R(52).normal(size=(6, 3)),), b


@broken("wrong-at-some-entries", input=0)
def we_avgpool_ceil():
    """last window has one element, its gradient still halved"""

    def f(x):
        return np.array([x[i : i + 2].mean() for i in range(0, len(x), 2)])

    def b(g, x):
        return (np.repeat(g, 2) / 2)[: len(x)]

    return f, (R(53).normal(size=9),), b


@broken("wrong-at-some-entries", input=0)
def we_smooth_l1_branch():
    """attorch#13: branch on d < 1 instead of |d| < 1"""
    x = np.array([0.3, -0.4, 2.0, -0.2, 1.6, -2.5, 0.8, 0.1, -0.9, 3.0, -1.7, 0.6])

    def f(x):
        return np.where(np.abs(x) < 1, 0.5 * x * x, np.abs(x) - 0.5)

    return f, (x,), (lambda g, x: g * np.where(x < 1, x, np.sign(x)))


@broken("wrong-at-some-entries", input=0)
def we_last_block_missing():
    """rows = B // BLOCK: the tail rows never written"""

    def f(x):
        return x**2 / (1 + x**2)

    def b(g, x):
        d = np.zeros_like(x)
        for k in range(len(x) // 4):
            s = slice(4 * k, 4 * k + 4)
            d[s] = g[s] * 2 * x[s] / (1 + x[s] ** 2) ** 2
        return d

    return f, (R(54).normal(size=(10, 3)),), b


@broken("wrong-at-some-entries", input=0)
def we_power_zero_exponent():
    e = np.array([2, 3, 0, 1, 2, 0, 3, 2])
    return (lambda x: x**e), (R(55).uniform(0.5, 2, size=8),), (lambda g, x: g * np.where(e == 0, 1.0, e * x ** (e - 1.0)))


@broken("wrong-at-some-entries", input=0)
def we_softplus_at_zero():
    """jax#2107: smooth, but |x| in the formula gives sign(0) = 0"""

    def f(x):
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))

    def b(g, x):
        return g * ((x > 0) - np.sign(x) * np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))

    return f, (np.array([-1.3, 0.4, 0.0, 2.0, -0.6, 0.9, 1.1]),), b


@broken("wrong-at-some-entries", input=0)
def we_torch_lengths():
    """frames past the length receive gradient"""
    m = torch.ones(3, 5, 2, dtype=torch.float64)
    m[1, 4:] = 0
    m[2, 3:] = 0

    class L(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return (torch.tanh(x) * m).sum(1)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g[:, None] * (1 - torch.tanh(x) ** 2)

    return L.apply, (torch.tensor(R(56).normal(size=(3, 5, 2))),)


@broken("wrong-at-some-entries", input=0)
def we_cumprod_zero():
    """0/0 patched with 0: right but at the zero itself"""

    def f(x):
        return np.cumprod(x)

    def b(g, x):
        y = np.cumprod(x)
        return np.nan_to_num(np.cumsum((g * y)[::-1])[::-1] / np.where(x == 0, np.inf, x))

    return f, (np.array([1.3, -0.7, 2.0, 0.5, 0.0, 1.1]),), b


# ---------------------------------------------------------------- wrong-shape
@broken("wrong-shape", input=0)
def sh_flattened():
    return (lambda x: np.sin(x)), (R(57).normal(size=(3, 4)),), (lambda g, x: (g * np.cos(x)).ravel())


@broken("wrong-shape", input=1)
def sh_weights_transposed():
    r = R(58)
    return (lambda x, W: x @ W), (r.normal(size=(5, 3)), r.normal(size=(3, 2))), (lambda g, x, W: (g @ W.T, g.T @ x))


@broken("wrong-shape", input=0)
def sh_lost_column():
    return (lambda x: np.exp(x).sum(1)), (R(59).normal(size=(6, 1)),), (lambda g, x: g * np.exp(x[:, 0]))


@broken("wrong-shape", input=0)
def sh_conv_uncropped():
    k = np.array([1.0, 2.0, -1.0])

    def f(x):
        return np.convolve(x, k, "same")

    return f, (R(60).normal(size=8),), (lambda g, x: np.convolve(g, k[::-1], "full"))


@broken("wrong-shape", input=2)
def sh_bias_one_number():
    """stat453#5: db = sum over everything"""

    def f(x, W, b):
        return x @ W + b

    r = R(61)
    return f, (r.normal(size=(4, 3)), r.normal(size=(3, 5)), r.normal(size=5)), (lambda g, x, W, b: (g @ W.T, x.T @ g, g.sum()))


@broken("wrong-shape", input=0)
def sh_channels_last():
    def f(x):
        return x**2

    return f, (R(62).normal(size=(2, 3, 4, 5)),), (lambda g, x: (2 * g * x).transpose(0, 2, 3, 1))


@broken("wrong-shape")
def sh_param_keepdims():
    class L:
        def __init__(s):
            s.params = {"W": R(1).normal(size=(3, 4)), "b": R(2).normal(size=4)}
            s.grads = {}

        def forward(s, x):
            s.x = x
            return x @ s.params["W"] + s.params["b"]

        def backward(s, g):
            s.grads["W"] = (s.x.T @ g).T.copy()
            s.grads["b"] = g.sum(0)
            return g @ s.params["W"].T

    return L(), (R(63).normal(size=(5, 3)),)


# ---------------------------------------------------------------- wrong-dtype
@broken("wrong-dtype", input=0)
def dt_float32_from_float64():
    return (lambda x: np.sin(x)), (R(64).normal(size=(3, 4)),), (lambda g, x: (g * np.cos(x)).astype(np.float32))


@broken("wrong-dtype", input=0)
def dt_truncated_to_int():
    return (lambda x: 10 * x**2), (R(65).normal(size=8) * 5,), (lambda g, x: (20 * g * x).astype(np.int64))


@broken("wrong-dtype", input=0)
def dt_half_from_single():
    return (
        (lambda x: np.tanh(x)),
        (R(66).normal(size=(4, 4)).astype(np.float32),),
        (lambda g, x: (g * (1 - np.tanh(x) ** 2)).astype(np.float16)),
    )


@broken("wrong-dtype", input=0)
def dt_fft_complex():
    k = np.fft.fft(R(1).normal(size=8))

    def f(x):
        return np.real(np.fft.ifft(np.fft.fft(x) * k))

    return f, (R(67).normal(size=8),), (lambda g, x: np.fft.ifft(np.fft.fft(g) * np.conj(k)))


@broken("wrong-dtype", input=0)
def dt_scatter_buffer():
    idx = np.array([0, 1, 1, 3])

    def b(g, E):
        d = np.zeros(E.shape, dtype=np.float32)
        np.add.at(d, idx, g.astype(np.float32))
        return d

    return (lambda E: E[idx]), (R(68).normal(size=(4, 2)),), b


@broken("wrong-dtype", input=1)
def dt_second_input():
    r = R(69)
    return (
        (lambda x, W: x @ W),
        (r.normal(size=(3, 4)), r.normal(size=(4, 2))),
        (lambda g, x, W: (g @ W.T, (x.T @ g).astype(np.float16))),
    )


# ---------------------------------------------------------------- non-finite
@broken("non-finite", input=0)
def nf_prod_zero():
    return (lambda x: np.prod(x)), (np.array([4.0, 0.0, -1.5, 2.0]),), (lambda g, x: g * np.prod(x) / x)


@broken("non-finite", input=0)
def nf_squared_norm_at_zero():
    def b(g, x):
        n = np.linalg.norm(x, axis=1, keepdims=True)
        return g[:, None] * 2 * n * (x / n)

    return (lambda x: np.linalg.norm(x, axis=1) ** 2), (np.array([[1.0, 2, -1], [0, 0, 0], [0.5, 0.1, 3]]),), b


@broken("non-finite", input=0)
def nf_where_sqrt():
    def f(x):
        return np.where(x > 0, np.sqrt(np.abs(x)), 2 * x)

    return f, (np.array([1.0, -2.0, 3.0, -0.5, 0.7]),), (lambda g, x: (x > 0) * g * 0.5 / np.sqrt(x) + (x <= 0) * 2 * g)


@broken("non-finite", input=0)
def nf_softplus_overflow():
    return (
        (lambda x: np.logaddexp(0, x)),
        (np.array([1.0, -3.0, 900.0, 0.2, -900.0]),),
        (lambda g, x: g * np.exp(x) / (1 + np.exp(x))),
    )


@broken("non-finite", input=0)
def nf_sinc_at_zero():
    def f(x):
        return np.sinc(x / np.pi)

    return f, (np.array([0.5, 0.0, -1.2, 3.0]),), (lambda g, x: g * (np.cos(x) - np.sin(x) / x) / x)


@broken("non-finite", input=0)
def nf_masked_entropy():
    """-inf mask: 0 * log 0 in the backward"""
    M = np.array([[0, 0, -np.inf, 0], [0, -np.inf, -np.inf, 0]])

    def f(x):
        return softmax(x + M)

    def b(g, x):
        p = softmax(x + M)
        lp = np.log(p)
        return np.exp(lp) * (g - (g * p).sum(1, keepdims=True)) + 0 * lp

    return f, (R(70).normal(size=(2, 4)),), b


@broken("non-finite", input=0)
def nf_layernorm_constant_row():
    """eps in the forward only"""

    def f(x):
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-2)

    def b(g, x):
        m = x.mean(1, keepdims=True)
        c = x.var(1, keepdims=True) + 1e-2
        xh = (x - m) / np.sqrt(c)
        r = x.std(1, keepdims=True) / x.std(1, keepdims=True)
        return r / np.sqrt(c) * (g - g.mean(1, keepdims=True) - xh * (g * xh).mean(1, keepdims=True))

    x = R(71).normal(size=(4, 4))
    x[2] = 1.0
    return f, (x,), b


@broken("non-finite", input=0)
def nf_torch_where():
    def f(x):
        return torch.where(x > 0, torch.sqrt(x), x * 0.5)

    return f, (torch.tensor([1.0, -1.0, 2.0, -3.0], dtype=torch.float64),)


# ---------------------------------------------------------------- zero-gradient
@broken("zero-gradient", input=0)
def zg_stub():
    return (lambda x: np.tanh(x).sum(0)), (R(72).normal(size=(3, 4)),), (lambda g, x: np.zeros_like(x))


@broken("zero-gradient", input=0)
def zg_torch_detach_one():
    r = R(73)
    return (lambda x, y: torch.sin(x.detach()) * y), (torch.tensor(r.normal(size=4)), torch.tensor(r.normal(size=4)))


@broken("zero-gradient", input=0)
def zg_integer_division():
    return (lambda x: x.mean(0)), (R(74).normal(size=(6, 3)),), (lambda g, x: np.ones_like(x) * g * (1 // len(x)))


@broken("zero-gradient", input=1)
def zg_second_input():
    r = R(75)
    return (lambda x, W: x @ W), (r.normal(size=(3, 4)), r.normal(size=(4, 2))), (lambda g, x, W: (g @ W.T, np.zeros_like(W)))


@broken("zero-gradient", input=0)
def zg_training_flag_left_off():
    class Swish:
        training = False

        def forward(self, x):
            self.x = x
            return x * sigmoid(x)

        def backward(self, g):
            dx = np.zeros_like(g)
            if self.training:
                s = sigmoid(self.x)
                dx += g * s * (1 + self.x * (1 - s))
            return dx

    return Swish(), (R(76).normal(size=(2, 5)),)


@broken("zero-gradient", input=1)
def zg_jax_stop_gradient():
    jax, jnp = with_jax()

    def f(q, target):
        return jnp.sum((q - jax.lax.stop_gradient(target)) ** 2)

    r = R(77)
    return f, (jnp.asarray(r.normal(size=5), dtype=jnp.float32), jnp.asarray(r.normal(size=5), dtype=jnp.float32))


@broken("zero-gradient")
def zg_torch_module_data():
    class M(torch.nn.Module):
        def __init__(s):
            super().__init__()
            s.W = torch.nn.Parameter(torch.tensor(R(1).normal(size=(4, 3))))
            s.b = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))

        def forward(s, x):
            return x @ s.W.data + s.b

    return M(), (torch.tensor(R(78).normal(size=(2, 4))),)


@broken("zero-gradient")
def zg_param_never_filled():
    class Scale:
        def __init__(s):
            s.params = {"k": np.array([1.2, -0.4, 0.9])}
            s.grads = {"k": np.zeros(3)}

        def forward(s, x):
            s.x = x
            return x * s.params["k"]

        def backward(s, g):
            return g * s.params["k"]

    return Scale(), (R(79).normal(size=(4, 3)),)
