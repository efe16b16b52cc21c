"""Broken: coupled outputs, axes, batch, transposes."""

import numpy as np
import torch

from tests.cases import R, broken, with_jax


def softmax(z, axis=-1):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


# ---------------------------------------------------------------- missing-cross-terms
@broken("missing-cross-terms", input=0)
def mct_softmax_rows():
    def f(z):
        return softmax(z, 1)

    def b(g, z):
        s = softmax(z, 1)
        return g * s * (1 - s)

    return f, (R(1).normal(size=(4, 5)),), b


@broken("missing-cross-terms", input=0)
def mct_softmax_columns_axis0():
    def f(z):
        return softmax(z, 0)

    def b(up, z):
        p = f(z)
        return up * (p - p**2)

    return f, (2 * R(2).normal(size=(6, 3)),), b


@broken("missing-cross-terms", input=0)
def mct_softmax_layer_object_1d():
    class SoftmaxLayer:
        def forward(self, x):
            e = np.exp(x - np.max(x))
            self.out = e / np.sum(e)
            return self.out

        def backward(self, dout):
            return dout * self.out * (1 - self.out)

    return SoftmaxLayer(), (R(3).normal(size=10),)


@broken("missing-cross-terms", input=0)
def mct_channel_softmax_nchw():
    def f(x):
        return softmax(x, 1)

    def b(g, x):
        n, c, h, w = x.shape
        p = f(x)
        dx = np.zeros_like(x)
        for k in range(c):
            dx[:, k] = g[:, k] * p[:, k] * (1 - p[:, k])
        return dx

    return f, (R(4).normal(size=(2, 3, 2, 2)).astype(np.float32),), b


@broken("missing-cross-terms", input=0)
def mct_l2_normalise():
    """y = x/|x|, only dy_i/dx_i kept"""

    def f(x):
        return x / np.sqrt(np.sum(x * x, -1, keepdims=True))

    def b(g, x):
        n = np.sqrt(np.sum(x * x, -1, keepdims=True))
        return g * (1 / n - x**2 / n**3)

    return f, (R(5).normal(size=(3, 6)),), b


@broken("missing-cross-terms", input=0)
def mct_layernorm_diag():
    def f(x):
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)

    def b(dy, x):
        D = x.shape[1]
        inv = 1 / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        xh = (x - x.mean(1, keepdims=True)) * inv
        return dy * inv * (1 - 1 / D - xh**2 / D)

    return f, (R(6).normal(size=(3, 5)) * 2 + 1,), b


@broken("missing-cross-terms", input=0)
def mct_proportions():
    """statistician's composition: shares x / sum x"""

    def shares(x):
        return x / x.sum()

    def grad(v, x):
        S = x.sum()
        return v * (S - x) / S**2

    return shares, (R(7).uniform(0.5, 3, size=8),), grad


@broken("missing-cross-terms", input=0)
def mct_torch_function():
    class S(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = torch.softmax(x, -1)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            (y,) = ctx.saved_tensors
            return g * y * (1 - y)

    return S.apply, (torch.tensor(R(8).normal(size=(3, 4))),)


@broken("missing-cross-terms", input=0)
def mct_jax_custom_vjp():
    jax, jnp = with_jax()

    @jax.custom_vjp
    def sm(x):
        return jax.nn.softmax(x)

    sm.defvjp(lambda x: (sm(x), jax.nn.softmax(x)), lambda y, g: (g * y * (1 - y),))
    return sm, (jnp.asarray(R(9).normal(size=6), dtype=jnp.float32),)


@broken("missing-cross-terms", "missing-normalizer-term", input=(0, 1))
def mct_attention_scores():
    """diagonal softmax inside attention; q and k affected"""

    def f(q, k, v):
        return softmax(q @ k.T / 2.0) @ v

    def b(g, q, k, v):
        p = softmax(q @ k.T / 2.0)
        ds = (g @ v.T) * p * (1 - p)
        return ds @ k / 2, ds.T @ q / 2, p.T @ g

    r = R(10)
    return f, (r.normal(size=(3, 4)), r.normal(size=(5, 4)), r.normal(size=(5, 4))), b


# ---------------------------------------------------------------- missing-normalizer-term
def _ln(x, g, b_):
    mu = x.mean(-1, keepdims=True)
    iv = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return (x - mu) * iv * g + b_


@broken("missing-normalizer-term", input=0)
def mnt_layernorm_variance_path():
    def b(dy, x, ga, be):
        iv = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        xh = (x - x.mean(-1, keepdims=True)) * iv
        d = dy * ga
        return iv * (d - d.mean(-1, keepdims=True)), (dy * xh).sum(0), dy.sum(0)

    r = R(11)
    return _ln, (r.normal(size=(4, 6)), r.normal(size=6), r.normal(size=6)), b


@broken("missing-normalizer-term", input=0)
def mnt_layernorm_mean_path():
    def b(dy, x, ga, be):
        iv = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        xh = (x - x.mean(-1, keepdims=True)) * iv
        d = dy * ga
        return iv * (d - xh * (d * xh).mean(-1, keepdims=True)), (dy * xh).sum(0), dy.sum(0)

    r = R(12)
    return _ln, (r.normal(size=(5, 7)), r.normal(size=7), r.normal(size=7)), b


@broken("missing-normalizer-term", input=0)
def mnt_cosine_similarity():
    def f(a, b):
        return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))

    def bw(g, a, b):
        na, nb = np.linalg.norm(a, axis=1)[:, None], np.linalg.norm(b, axis=1)[:, None]
        c = f(a, b)[:, None]
        G = g[:, None]
        return G * b / (na * nb), G * (a / (na * nb) - c * b / nb**2)

    r = R(13)
    return f, (r.normal(size=(4, 5)), r.normal(size=(4, 5))), bw


@broken("missing-normalizer-term", input=0)
def mnt_log_softmax_identity():
    """-softmax * sum(g) dropped"""

    def f(x):
        m = x.max(1, keepdims=True)
        return x - m - np.log(np.exp(x - m).sum(1, keepdims=True))

    return f, (R(14).normal(size=(3, 6)),), lambda g, x: g.copy()


@broken("missing-normalizer-term", input=0)
def mnt_instance_norm_frozen_stats():
    def f(x):
        m = x.mean((2, 3), keepdims=True)
        v = x.var((2, 3), keepdims=True)
        return (x - m) / np.sqrt(v + 1e-5)

    def b(dy, x):
        return dy / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)

    return f, (R(15).normal(size=(2, 2, 3, 4)) * 3,), b


@broken("missing-normalizer-term", input=0)
def mnt_weight_norm_sphereface():
    """w = gain * v/|v|, dv = gain * dw/|v|; (I - vv') missing"""

    def f(v, gain):
        return gain[:, None] * v / np.linalg.norm(v, axis=1, keepdims=True)

    def b(dw, v, gain):
        n = np.linalg.norm(v, axis=1, keepdims=True)
        return gain[:, None] * dw / n, (dw * v / n).sum(1)

    r = R(16)
    return f, (r.normal(size=(3, 7)), r.normal(size=3)), b


@broken("missing-normalizer-term", input=0)
def mnt_rmsnorm_llama():
    def f(x, w):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * w

    def b(dout, x, w):
        rstd = 1 / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
        return dout * w * rstd, (dout * x * rstd).sum((0, 1))

    r = R(17)
    return f, (r.normal(size=(2, 3, 8)), r.normal(size=8)), b


@broken("missing-normalizer-term", "missing-cross-terms", input=0)
def mnt_softmax_h_times_g():
    """Odyssey#2134: dx = h*g, dot product missing"""

    def f(x):
        return softmax(x)

    return f, (R(18).normal(size=(4, 4)),), lambda g, x: softmax(x) * g


@broken("missing-normalizer-term", input=0)
def mnt_zscore_ddof():
    """forward with ddof=1, the variance path divided by n"""

    def z(x):
        return (x - x.mean()) / x.std(ddof=1)

    def vjp(u, x):
        n, sd = x.size, x.std(ddof=1)
        zz = (x - x.mean()) / sd
        return (u - u.mean() - zz * (u * zz).sum() / n) / sd

    return z, (R(19).normal(size=7) * 4 + 10,), vjp


@broken("missing-normalizer-term", input=0)
def mnt_torch_detached_std():
    def f(x):
        return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True).detach() + 1e-5)

    return f, (torch.tensor(R(20).normal(size=(3, 6))),)


@broken("missing-normalizer-term", "missing-batch-coupling", input=0)
def mnt_batchnorm_variance_dropped():
    """statistics over the batch, mean path kept, variance path dropped"""

    def f(x):
        return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)

    def b(g, x):
        return (g - g.mean(0)) / np.sqrt(x.var(0) + 1e-5)

    return f, (R(21).normal(size=(9, 3)),), b


@broken("missing-normalizer-term", input=0)
def mnt_group_norm_object():
    class GroupNorm:
        def __init__(s, G, C):
            s.G = G
            s.params = dict(gamma=R(1).normal(size=C), beta=np.zeros(C))
            s.grads = {}

        def forward(s, x):
            n, c, h, w = x.shape
            y = x.reshape(n, s.G, -1)
            mu = y.mean(2, keepdims=True)
            s.iv = 1 / np.sqrt(y.var(2, keepdims=True) + 1e-5)
            s.xh = ((y - mu) * s.iv).reshape(x.shape)
            return s.xh * s.params["gamma"][None, :, None, None] + s.params["beta"][None, :, None, None]

        def backward(s, dy):
            n, c, h, w = dy.shape
            s.grads["gamma"] = (dy * s.xh).sum((0, 2, 3))
            s.grads["beta"] = dy.sum((0, 2, 3))
            d = (dy * s.params["gamma"][None, :, None, None]).reshape(n, s.G, -1)
            return (s.iv * (d - d.mean(2, keepdims=True))).reshape(dy.shape)

    return GroupNorm(2, 4), (R(22).normal(size=(2, 4, 2, 3)),)


# ---------------------------------------------------------------- transposed
@broken("transposed", input=0)
def tr_dense_square():
    def f(x, W):
        return x @ W

    def b(g, x, W):
        return g @ W, x.T @ g

    r = R(23)
    return f, (r.normal(size=(3, 5)), r.normal(size=(5, 5))), b


@broken("transposed", input=0)
def tr_rotation_3d():
    t = 0.7
    A = np.array([[np.cos(t), -np.sin(t), 0], [np.sin(t), np.cos(t), 0], [0, 0, 1.0]])
    return (lambda v: A @ v), (R(24).normal(size=3),), (lambda g, v: A @ g)


@broken("transposed", input=0)
def tr_cumsum():
    return (lambda x: np.cumsum(x)), (R(25).normal(size=9),), (lambda g, x: np.cumsum(g))


@broken("transposed", input=0)
def tr_circular_conv():
    k = np.array([0.5, -1.2, 2.0])

    def conv(x):
        return sum(k[j] * np.roll(x, j, -1) for j in range(3))

    return conv, (R(26).normal(size=(2, 7)),), (lambda g, x: conv(g))


@broken("transposed", input=0)
def tr_permutation():
    p = np.array([3, 0, 5, 1, 4, 2])
    return (lambda x: x[p]), (R(27).normal(size=6),), (lambda g, x: g[p])


@broken("transposed", input=0)
def tr_roll_layer():
    class Shift:
        def forward(self, x):
            return np.roll(x, 2, axis=1)

        def backward(self, g):
            return np.roll(g, 2, axis=1)

    return Shift(), (R(28).normal(size=(3, 7)),)


@broken("transposed", input=0)
def tr_torch_linear():
    W = torch.tensor(R(29).normal(size=(4, 4)))

    class L(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x @ W.T

        @staticmethod
        def backward(ctx, g):
            return g @ W.T

    return L.apply, (torch.tensor(R(30).normal(size=(5, 4))),)


@broken("transposed", input=0)
def tr_hidden_behind_tanh():
    """y = tanh(x) W; the W product untransposed, then tanh'"""
    W = R(31).normal(size=(6, 6))

    def f(x):
        return np.tanh(x) @ W

    return f, (R(32).normal(size=(2, 6)),), (lambda g, x: (g @ W) * (1 - np.tanh(x) ** 2))


@broken("transposed", input=1)
def tr_solve():
    """x = A^-1 b; db = A^-1 g instead of A^-T g"""

    def f(A, b):
        return np.linalg.solve(A, b)

    def bw(g, A, b):
        x = f(A, b)
        lam = np.linalg.solve(A.T, g)
        return -np.outer(lam, x), np.linalg.solve(A, g)

    r = R(33)
    return f, (r.normal(size=(4, 4)) + 4 * np.eye(4), r.normal(size=4)), bw


# ---------------------------------------------------------------- rows-summed
@broken("rows-summed", input=0)
def rs_jac_sum_times_g():
    A = R(34).normal(size=(5, 5))

    def f(x):
        return np.sin(A @ x)

    def b(g, x):
        J = np.cos(A @ x)[:, None] * A
        return J.sum(axis=0) * g

    return f, (R(35).normal(size=5),), b


@broken("rows-summed", "upstream-ignored", input=0)
def rs_dense_ones():
    W = R(36).normal(size=(4, 3))
    return (lambda x: x @ W), (R(37).normal(size=(5, 4)),), (lambda g, x: np.ones_like(g) @ W.T)


@broken("rows-summed", input=0)
def rs_cumsum_counts():
    return (lambda x: np.cumsum(x)), (R(38).normal(size=6),), (lambda g, x: g * np.arange(len(x), 0, -1))


@broken("rows-summed", input=0)
def rs_quadratic_features():
    M = R(39).normal(size=(4, 4))

    def f(x):
        return (x**2) @ M

    return f, (R(40).normal(size=(3, 4)),), (lambda g, x: 2 * x * M.sum(axis=1) * g)


@broken("rows-summed", input=0)
def rs_torch_grad_of_sum():
    def core(x):
        return torch.cumprod(x, -1)

    class C(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return core(x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            with torch.enable_grad():
                xx = x.detach().requires_grad_()
                (d,) = torch.autograd.grad(core(xx).sum(), xx)
            return d * g

    return C.apply, (torch.tensor(R(41).uniform(0.5, 1.5, size=(2, 5))),)


@broken("rows-summed", "upstream-ignored", input=0)
def rs_grad_of_sum_no_upstream():
    """dx = d(sum y)/dx, learners' idea of 'the gradient'"""
    A = R(42).normal(size=(3, 6))

    def f(x):
        return np.exp(-((A @ x) ** 2))

    def b(g, x):
        u = A @ x
        J = (-2 * u * np.exp(-(u**2)))[:, None] * A
        return J.sum(0)

    return f, (R(43).normal(size=6) * 0.4,), b


@broken("rows-summed", "zero-gradient", input=0)
def rs_softmax_rows_cancel():
    """J @ 1 of a softmax is 0"""

    def b(g, x):
        s = softmax(x)
        J = np.diag(s) - np.outer(s, s)
        return J.sum(1) * g

    return (lambda x: softmax(x)), (R(44).normal(size=5),), b


@broken("rows-summed", input=0)
def rs_prefix_mean_layer():
    class PrefixMean:
        def forward(self, x):
            self.n = len(x)
            self.L = np.tril(np.ones((self.n, self.n))) / np.arange(1, self.n + 1)[:, None]
            return self.L @ x

        def backward(self, up):
            return self.L.sum(axis=0) * up

    return PrefixMean(), (R(45).normal(size=8),)


# ---------------------------------------------------------------- wrong-axis
@broken("wrong-axis", input=0)
def wa_softmax_rows_vs_cols():
    def b(g, x):
        s = softmax(x, 1)
        return s * (g - (g * s).sum(0, keepdims=True))

    return (lambda x: softmax(x, 1)), (R(46).normal(size=(4, 4)),), b


@broken("wrong-axis", input=0)
def wa_softmax_3d():
    def b(g, x):
        s = softmax(x, -1)
        return s * (g - (g * s).sum(1, keepdims=True))

    return (lambda x: softmax(x, -1)), (R(47).normal(size=(2, 3, 4)),), b


@broken("wrong-axis", input=0)
def wa_mean_square():
    return (lambda x: x.mean(0)), (R(48).normal(size=(5, 5)),), (lambda g, x: np.repeat(g[:, None], 5, 1) / 5)


@broken("wrong-axis", input=0)
def wa_cumsum():
    return (lambda x: np.cumsum(x, 0)), (R(49).normal(size=(4, 5)),), (lambda g, x: np.cumsum(g[:, ::-1], 1)[:, ::-1])


@broken("wrong-axis", input=0)
def wa_max():
    def b(g, x):
        return (x == x.max(1, keepdims=True)) * g[None, :]

    return (lambda x: x.max(0)), (R(50).normal(size=(5, 5)),), b


@broken("wrong-axis", input=0)
def wa_layernorm_stats():
    def f(x):
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)

    def b(g, x):
        iv = 1 / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        xh = (x - x.mean(1, keepdims=True)) * iv
        return iv * (g - g.mean(0) - xh * (g * xh).mean(0))

    return f, (R(51).normal(size=(4, 6)),), b


@broken("wrong-axis", input=0)
def wa_sum_cube():
    return (lambda x: x.sum(1)), (R(52).normal(size=(3, 3, 3)),), (lambda g, x: np.repeat(g[:, :, None], 3, 2))


@broken("wrong-axis", input=0)
def wa_log_softmax_nchw():
    def f(x):
        m = x.max(1, keepdims=True)
        return x - m - np.log(np.exp(x - m).sum(1, keepdims=True))

    def b(g, x):
        return g - np.exp(f(x)) * g.sum(-1, keepdims=True)

    return f, (R(53).normal(size=(2, 3, 2, 4)),), b


@broken("wrong-axis", input=0)
def wa_torch_softmax():
    class S(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = torch.softmax(x, 0)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            (y,) = ctx.saved_tensors
            return y * (g - (g * y).sum(1, keepdim=True))

    return S.apply, (torch.tensor(R(54).normal(size=(3, 5))),)


@broken("wrong-axis", input=0)
def wa_flip():
    return (lambda x: np.flip(x, 0).copy()), (R(55).normal(size=(4, 3)),), (lambda g, x: np.flip(g, 1).copy())


# ---------------------------------------------------------------- missing-batch-coupling
@broken("missing-batch-coupling", input=0)
def mbc_batchnorm_1d():
    def f(x, ga, be):
        return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * ga + be

    def b(g, x, ga, be):
        iv = 1 / np.sqrt(x.var(0) + 1e-5)
        xh = (x - x.mean(0)) * iv
        return g * ga * iv, (g * xh).sum(0), g.sum(0)

    r = R(56)
    return f, (r.normal(size=(8, 3)), r.normal(size=3), r.normal(size=3)), b


@broken("missing-batch-coupling", input=0)
def mbc_batchnorm_2d_object():
    class BN2d:
        def __init__(s):
            s.params = {"gamma": np.array([1.5, -0.7]), "beta": np.array([0.1, 0.2])}
            s.grads = {}

        def forward(s, x):
            mu = x.mean((0, 2, 3), keepdims=True)
            s.iv = 1 / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
            s.xh = (x - mu) * s.iv
            return s.xh * s.params["gamma"].reshape(1, -1, 1, 1) + s.params["beta"].reshape(1, -1, 1, 1)

        def backward(s, d):
            s.grads["gamma"] = (d * s.xh).sum((0, 2, 3))
            s.grads["beta"] = d.sum((0, 2, 3))
            return d * s.params["gamma"].reshape(1, -1, 1, 1) * s.iv

    return BN2d(), (R(57).normal(size=(3, 2, 2, 2)),)


@broken("missing-batch-coupling", input=0)
def mbc_centre_features():
    return (lambda X: X - X.mean(axis=0)), (R(58).normal(size=(6, 4)),), (lambda g, X: g.copy())


@broken("missing-batch-coupling", "missing-normalizer-term", input=0)
def mbc_rl_advantage_normalise():
    def adv(r):
        return (r - r.mean()) / (r.std() + 1e-8)

    return adv, (R(59).normal(size=16) * 5,), (lambda g, r: g / (r.std() + 1e-8))


@broken("missing-batch-coupling", input=0)
def mbc_standardise_wide():
    def f(X):
        return (X - X.mean(0)) / X.std(0, ddof=1)

    return f, (R(60).normal(size=(40, 3)) * [1, 10, 100],), (lambda g, X: g / X.std(0, ddof=1))


@broken("missing-batch-coupling", input=0)
def mbc_torch_bn():
    class BN(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            iv = 1 / torch.sqrt(x.var(0, unbiased=False) + 1e-5)
            ctx.save_for_backward(iv)
            return (x - x.mean(0)) * iv

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    return BN.apply, (torch.tensor(R(61).normal(size=(7, 4))),)


@broken("missing-batch-coupling", "missing-accumulation", input=0)
def mbc_in_batch_similarity():
    """y_i = sum_j <x_i, x_j> c_j; the other samples' rows taken as constants"""
    c = R(62).normal(size=5)

    def f(x):
        return (x @ x.T) @ c

    def b(g, x):
        return g[:, None] * (c @ x)[None, :]

    return f, (R(63).normal(size=(5, 3)),), b


# ---------------------------------------------------------------- spurious-batch-coupling
@broken("spurious-batch-coupling", input=0)
def sbc_dense_batch_mean():
    W = R(64).normal(size=(4, 3))

    def f(x):
        return np.tanh(x @ W)

    def b(g, x):
        d = (g * (1 - f(x) ** 2)) @ W.T
        return np.repeat(d.mean(0, keepdims=True), len(x), 0)

    return f, (R(65).normal(size=(6, 4)),), b


@broken("spurious-batch-coupling", "wrong-axis", input=0)
def sbc_layernorm_block_sum():
    def f(x):
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)

    def b(g, x):
        iv = 1 / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        xh = (x - x.mean(1, keepdims=True)) * iv
        return iv * (g - g.mean() - xh * (g * xh).mean())

    return f, (R(66).normal(size=(4, 5)),), b


@broken("spurious-batch-coupling", "wrong-axis", input=0)
def sbc_softmax_total():
    def b(g, x):
        s = softmax(x)
        return s * (g - np.sum(g * s))

    return (lambda x: softmax(x)), (R(67).normal(size=(3, 5)),), b


@broken("spurious-batch-coupling", "wrong-axis", input=0)
def sbc_log_softmax_total():
    def f(x):
        return x - np.log(np.exp(x).sum(1, keepdims=True))

    return f, (R(68).normal(size=(4, 3)),), (lambda g, x: g - softmax(x) * g.sum())


@broken("spurious-batch-coupling", input=0)
def sbc_tanh_centred():
    return (lambda x: np.tanh(x)), (R(69).normal(size=(6, 3)),), (lambda g, x: (g - g.mean(0)) * (1 - np.tanh(x) ** 2))


@broken("spurious-batch-coupling", input=0)
def sbc_bn_eval_train_backward():
    class BNEval:
        mu, var = np.array([0.3, -0.2, 1.0]), np.array([1.2, 0.5, 2.0])

        def forward(s, x):
            s.x = x
            s.iv = 1 / np.sqrt(s.var + 1e-5)
            s.xh = (x - s.mu) * s.iv
            return s.xh

        def backward(s, g):
            return s.iv * (g - g.mean(0) - s.xh * (g * s.xh).mean(0))

    return BNEval(), (R(70).normal(size=(7, 3)),)


@broken("spurious-batch-coupling", input=0)
def sbc_pairs_of_rows():
    """kernel with BLOCK_ROW=2: both rows share one dot product"""

    def f(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def b(g, x):
        n = np.linalg.norm(x, axis=1, keepdims=True)
        y = x / n
        dx = np.empty_like(x)
        for r in range(0, len(x), 2):
            sl = slice(r, r + 2)
            dx[sl] = (g[sl] - y[sl] * np.sum(g[sl] * y[sl])) / n[sl]
        return dx

    return f, (R(71).normal(size=(6, 4)),), b
