"""Right gradients that provoke false alarms, and the two notes (kink, precision)."""

import numpy as np
import torch

from tests.cases import R, note, right, with_jax


def softmax(z, axis=-1):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def sm_b(g, s):
    return s * (g - (g * s).sum(-1, keepdims=True))


# ---------------------------------------------------------------- kink notes
@note("kink")
def kink_relu_zero():
    return (lambda x: np.maximum(x, 0)), (np.array([1.0, 0.0, -2.0, 0.5]),), (lambda g, x: g * (x > 0))


@note("kink")
def kink_abs_sign():
    return (lambda x: np.abs(x)), (np.array([[0.0, 1.5], [-2.0, 0.0]]),), (lambda g, x: g * np.sign(x))


@note("kink")
def kink_max_tie_first():
    def b(g, x):
        d = np.zeros_like(x)
        d[x.argmax()] = g
        return d

    return (lambda x: x.max()), (np.array([1.0, 3.0, 3.0, -1.0]),), b


@note("kink")
def kink_max_tie_shared():
    def b(g, x):
        m = x == x.max(1, keepdims=True)
        return g[:, None] * m / m.sum(1, keepdims=True)

    return (lambda x: x.max(1)), (np.array([[2.0, 2.0, 2.0], [1.0, 5.0, 0.0]]),), b


@note("kink")
def kink_hinge_at_margin():
    y = np.array([1.0, -1, 1])
    return (lambda s: np.maximum(0, 1 - y * s).sum()), (np.array([1.0, 0.3, -0.4]),), (lambda g, s: -g * y * (1 - y * s > 0))


@note("kink")
def kink_clip_boundary():
    return (lambda x: np.clip(x, -1, 1)), (np.array([0.2, 1.0, -3.0, -1.0]),), (lambda g, x: g * ((x >= -1) & (x <= 1)))


@note("kink")
def kink_norm_at_origin():
    def b(g, x):
        n = np.linalg.norm(x, axis=1, keepdims=True)
        return g[:, None] * np.divide(x, n, out=np.zeros_like(x), where=n > 0)

    return (lambda x: np.linalg.norm(x, axis=1)), (np.array([[0.0, 0, 0], [1, -2, 2]]),), b


@note("kink")
def kink_torch_relu():
    return torch.relu, (torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64),)


@note("kink")
def kink_maximum_half():
    a = np.array([1.0, 2.0, 3.0])
    c = np.array([1.0, 0.0, 5.0])

    def b(g, a, c):
        w = (a > c) + 0.5 * (a == c)
        return g * w, g * (1 - w)

    return (lambda a, c: np.maximum(a, c)), (a, c), b


# ---------------------------------------------------------------- precision notes (or no finding at all)
@note("precision", "")
def prec_float32_large_offset():
    def f(x):
        return x.var()

    x = (1000 + R(1).normal(size=20)).astype(np.float32)
    return f, (x,), (lambda g, x: (g * 2 * (x - x.mean()) / x.size).astype(np.float32))


@note("precision", "")
def prec_float16_softmax():
    x = R(2).normal(size=(3, 6)).astype(np.float16)
    return (lambda x: softmax(x)), (x,), (lambda g, x: sm_b(g, softmax(x)).astype(np.float16))


@note("precision", "")
def prec_float32_big_sum():
    x = R(3).normal(size=60).astype(np.float32) * 100
    return (
        (lambda x: np.sum(np.exp(x / 100)) + np.float32(1e5)),
        (x,),
        (lambda g, x: (g * np.exp(x / 100) / 100).astype(np.float32)),
    )


@note("precision", "")
def prec_cancelling_float32():
    """sqrt(1+x)-1 for small x in single precision"""
    x = R(4).uniform(1e-3, 1e-2, size=8).astype(np.float32)
    return (
        (lambda x: np.sqrt(np.float32(1) + x) - np.float32(1)),
        (x,),
        (lambda g, x: (g * np.float32(0.5) / np.sqrt(np.float32(1) + x)).astype(np.float32)),
    )


# ---------------------------------------------------------------- right
@right
def ok_float32_dense():
    r = R(5)
    f32 = lambda *s: r.normal(size=s).astype(np.float32)
    return (lambda x, W, b: np.tanh(x @ W + b)), (f32(6, 5), f32(5, 4), f32(4)), _dense_tanh_b


def _dense_tanh_b(g, x, W, b):
    d = g * (1 - np.tanh(x @ W + b) ** 2)
    return d @ W.T, x.T @ d, d.sum(0)


@right
def ok_large_offset_output():
    return (lambda x: np.sin(x) + 1e8), (R(6).normal(size=6),), (lambda g, x: g * np.cos(x))


@right
def ok_badly_scaled_inputs():
    x = np.array([1e-9, 1e-3, 1.0, 1e4, 1e8])
    return (lambda x: np.log(x)), (x,), (lambda g, x: g / x)


@right
def ok_two_scales():
    r = R(7)
    return (
        (lambda a, b: np.sin(a * 1e6) + b * 1e-6),
        (r.normal(size=4) * 1e-6, r.normal(size=4) * 1e6),
        (lambda g, a, b: (g * 1e6 * np.cos(a * 1e6), g * 1e-6)),
    )


@right
def ok_kink_close_by():
    """relu with pre-activations 1e-9 from 0"""
    return (lambda x: np.maximum(x, 0)), (np.array([1e-9, -1e-9, 0.4, -2.0, 3e-7]),), (lambda g, x: g * (x > 0))


@right
def ok_discontinuous_elsewhere():
    def f(x):
        return np.where(x > 2, x**2 + 5, x**3)

    return f, (np.array([1.9, 2.1, -1.0, 4.0, 0.3]),), (lambda g, x: g * np.where(x > 2, 2 * x, 3 * x**2))


@right
def ok_round_zero_gradient():
    return (lambda x: np.round(x)), (R(8).uniform(-3, 3, size=(3, 4)),), (lambda g, x: np.zeros_like(x))


@right
def ok_sign_and_argmax_hard_selection():
    """pick the row's largest entry and scale by sign"""

    def f(x):
        i = np.abs(x).argmax(1)
        return x[np.arange(len(x)), i] ** 2

    def b(g, x):
        i = np.abs(x).argmax(1)
        d = np.zeros_like(x)
        k = np.arange(len(x))
        d[k, i] = 2 * g * x[k, i]
        return d

    return f, (R(9).normal(size=(4, 5)),), b


@right
def ok_constant_function():
    return (lambda x: np.full(3, 2.5)), (R(10).normal(size=5),), (lambda g, x: np.zeros_like(x))


@right
def ok_flat_quartic_at_zero():
    return (lambda x: x**4), (np.zeros(4),), (lambda g, x: 4 * g * x**3)


@right
def ok_fast_oscillation():
    return (lambda x: np.sin(5000 * x)), (R(11).normal(size=6),), (lambda g, x: g * 5000 * np.cos(5000 * x))


@right
def ok_saturated_sigmoid():
    def b(g, x):
        s = sigmoid(x)
        return g * s * sigmoid(-x)

    return sigmoid, (np.array([-40.0, 35.0, 0.0, -20.0, 18.0]),), b


@right
def ok_tiny_values():
    return (lambda x: x**2), (R(12).normal(size=5) * 1e-12,), (lambda g, x: 2 * g * x)


@right
def ok_huge_values():
    return (lambda x: x * np.log(x)), (np.array([1e12, 3e15, 2e10]),), (lambda g, x: g * (np.log(x) + 1))


@right
def ok_zero_d():
    return (lambda x: np.exp(np.sin(x))), (np.array(0.7),), (lambda g, x: g * np.exp(np.sin(x)) * np.cos(x))


@right
def ok_python_float_output():
    def f(w):
        return float(w @ w)

    return f, (R(13).normal(size=4),), (lambda g, w: 2 * g * w)


@right
def ok_empty_batch():
    return (lambda x, W: x @ W), (np.zeros((0, 3)), R(14).normal(size=(3, 2))), (lambda g, x, W: (g @ W.T, x.T @ g))


@right
def ok_strided_inputs():
    A = R(15).normal(size=(8, 6))
    return (lambda a, b: a * b), (A[::2, ::-1], A.T[:, :4].T), (lambda g, a, b: (g * b, g * a))


@right
def ok_fortran_order():
    return (
        (lambda x: np.cumsum(x, 1)),
        (np.asfortranarray(R(16).normal(size=(3, 5))),),
        (lambda g, x: np.cumsum(g[:, ::-1], 1)[:, ::-1]),
    )


@right
def ok_read_only_input():
    x = R(17).normal(size=6)
    x.setflags(write=False)
    return (lambda x: np.cosh(x)), (x,), (lambda g, x: g * np.sinh(x))


@right
def ok_minus_inf_mask():
    M = np.triu(np.full((4, 4), -np.inf), 1)
    return (lambda s: softmax(s + M)), (R(18).normal(size=(4, 4)),), (lambda g, s: sm_b(g, softmax(s + M)))


@right
def ok_confident_cross_entropy():
    y = np.array([0, 2, 1])
    z = np.array([[30.0, 0, -5], [0.0, -10, 25], [-8.0, 40.0, 2]])

    def f(z):
        m = z.max(1, keepdims=True)
        return (np.log(np.exp(z - m).sum(1)) + m[:, 0] - z[np.arange(3), y]).mean()

    def b(g, z):
        p = softmax(z)
        p[np.arange(3), y] -= 1
        return g * p / 3

    return f, (z,), b


@right
def ok_confidently_wrong_ce():
    y = np.array([1, 0])

    def f(z):
        m = z.max(1, keepdims=True)
        return (np.log(np.exp(z - m).sum(1)) + m[:, 0] - z[np.arange(2), y]).sum()

    def b(g, z):
        p = softmax(z)
        p[np.arange(2), y] -= 1
        return g * p

    return f, (np.array([[60.0, -60, 0], [-700.0, 700, 3]]),), b


@right
def ok_float_mask_none():
    m = (R(19).random((3, 4)) > 0.3).astype(float)
    return (lambda x, m: np.tanh(x) * m), (R(20).normal(size=(3, 4)), m), (lambda g, x, m: (g * m * (1 - np.tanh(x) ** 2), None))


@right
def ok_int_labels_none():
    def f(z, y):
        return -np.log(softmax(z)[np.arange(len(y)), y])

    def b(g, z, y):
        return g[:, None] * (softmax(z) - np.eye(z.shape[1])[y]), None

    return f, (R(21).normal(size=(5, 4)), np.array([3, 0, 0, 2, 1])), b


@right
def ok_ignore_index():
    def f(z, y):
        k = y >= 0
        return -np.log(softmax(z)[np.arange(len(y)), np.where(k, y, 0)] ** k).sum() / k.sum()

    def b(g, z, y):
        k = y >= 0
        return g * (softmax(z) - np.eye(z.shape[1])[np.where(k, y, 0)]) * k[:, None] / k.sum(), None

    return f, (R(22).normal(size=(6, 3)), np.array([0, -1, 2, 1, -1, 0])), b


@right
def ok_cached_object():
    class Tanh:
        def forward(self, x):
            self.y = np.tanh(x)
            return self.y

        def backward(self, g):
            return g * (1 - self.y**2)

    return Tanh(), (R(23).normal(size=(4, 3)),)


@right
def ok_closure_cache():
    st = {}

    def f(x):
        st["s"] = sigmoid(x)
        return st["s"].copy()

    return f, (R(24).normal(size=(2, 5)),), (lambda g, x: g * st["s"] * (1 - st["s"]))


@right
def ok_dense_params_accumulated_grads():
    """grads dict set (not added) by each backward"""

    class Dense:
        def __init__(s):
            s.params = {"W": R(1).normal(size=(3, 4)), "b": R(2).normal(size=4)}
            s.grads = {}

        def forward(s, x):
            s.x = x
            s.z = x @ s.params["W"] + s.params["b"]
            return np.maximum(s.z, 0)

        def backward(s, g):
            d = g * (s.z > 0)
            s.grads = {"W": s.x.T @ d, "b": d.sum(0)}
            return d @ s.params["W"].T

    return Dense(), (R(25).normal(size=(6, 3)),)


@right
def ok_batchnorm_full():
    def f(x, ga, be):
        return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * ga + be

    def b(g, x, ga, be):
        iv = 1 / np.sqrt(x.var(0) + 1e-5)
        xh = (x - x.mean(0)) * iv
        d = g * ga
        return iv * (d - d.mean(0) - xh * (d * xh).mean(0)), (g * xh).sum(0), g.sum(0)

    r = R(26)
    return f, (r.normal(size=(10, 3)) * [1, 5, 0.1] + [0, 100, -3], r.normal(size=3), r.normal(size=3)), b


@right
def ok_batchnorm_caffe_form():
    """equivalent form, mu and var paths written separately; running statistics updated on the side"""

    class BN:
        rm = 0.0

        def forward(s, x):
            s.x = x
            s.mu = x.mean(0)
            s.v = x.var(0) + 1e-5
            s.rm = 0.9 * s.rm + 0.1 * s.mu
            return (x - s.mu) / np.sqrt(s.v)

        def backward(s, g):
            N = len(s.x)
            xc = s.x - s.mu
            iv = s.v**-0.5
            dv = (g * xc).sum(0) * -0.5 * iv**3
            dm = -(g * iv).sum(0) + dv * (-2 * xc).mean(0)
            return g * iv + dv * 2 * xc / N + dm / N

    return BN(), (R(27).normal(size=(12, 4)),)


@right
def ok_batchnorm_constant_feature():
    x = R(28).normal(size=(6, 3))
    x[:, 1] = 2.0

    def f(x):
        return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3)

    def b(g, x):
        iv = 1 / np.sqrt(x.var(0) + 1e-3)
        xh = (x - x.mean(0)) * iv
        return iv * (g - g.mean(0) - xh * (g * xh).mean(0))

    return f, (x,), b


@right
def ok_batchnorm_eval():
    mu, v = np.array([0.5, -1.0]), np.array([2.0, 0.3])
    return (lambda x: (x - mu) / np.sqrt(v)), (R(29).normal(size=(4, 2)),), (lambda g, x: g / np.sqrt(v))


@right
def ok_layernorm_4d():
    def f(x):
        m = x.mean((1, 2, 3), keepdims=True)
        return (x - m) / np.sqrt(x.var((1, 2, 3), keepdims=True) + 1e-5)

    def b(g, x):
        a = dict(axis=(1, 2, 3), keepdims=True)
        iv = 1 / np.sqrt(x.var(**a) + 1e-5)
        xh = (x - x.mean(**a)) * iv
        return iv * (g - g.mean(**a) - xh * (g * xh).mean(**a))

    return f, (R(30).normal(size=(2, 3, 2, 3)),), b


@right
def ok_log_softmax_large_logits():
    def f(x):
        m = x.max(-1, keepdims=True)
        return x - m - np.log(np.exp(x - m).sum(-1, keepdims=True))

    return f, (np.array([[1000.0, 1001, 999], [-500.0, -500.5, -499]]),), (lambda g, x: g - np.exp(f(x)) * g.sum(-1, keepdims=True))


@right
def ok_softmax_symmetric():
    """equal logits: the Jacobian is symmetric and the rows sum to 0"""
    return (lambda x: softmax(x)), (np.zeros((2, 4)),), (lambda g, x: sm_b(g, softmax(x)))


@right
def ok_prod_with_zero():
    def b(g, x):
        return g * np.array([np.prod(np.delete(x, i)) for i in range(len(x))])

    return (lambda x: np.prod(x)), (np.array([3.0, 0.0, -2.0, 1.5]),), b


@right
def ok_prod_with_two_zeros():
    def b(g, x):
        return g * np.array([np.prod(np.delete(x, i)) for i in range(len(x))])

    return (lambda x: np.prod(x)), (np.array([3.0, 0.0, 0.0, 1.5]),), b


@right
def ok_cumprod_with_zero():
    def b(g, x):
        d = np.zeros_like(x)
        for i in range(len(x)):
            for j in range(i, len(x)):
                d[i] += g[j] * np.prod(np.delete(x[: j + 1], i))
        return d

    return (lambda x: np.cumprod(x)), (np.array([2.0, 0.5, 0.0, -1.5, 3.0]),), b


@right
def ok_squared_relu_at_zero():
    return (lambda x: np.maximum(x, 0) ** 2), (np.array([0.0, 1.0, -1.0, 0.0]),), (lambda g, x: 2 * g * np.maximum(x, 0))


@right
def ok_elu_at_zero():
    """ELU with alpha 1 is differentiable at 0, second derivative jumps"""
    return (
        (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
        (np.array([0.0, -1.0, 2.0, 1e-7]),),
        (lambda g, x: g * np.where(x > 0, 1, np.exp(np.minimum(x, 0)))),
    )


@right
def ok_x_abs_x():
    return (lambda x: x * np.abs(x)), (np.array([0.0, 0.5, -3.0]),), (lambda g, x: 2 * g * np.abs(x))


@right
def ok_huber_at_delta():
    def f(x):
        a = np.abs(x)
        return np.where(a < 1, 0.5 * x * x, a - 0.5)

    return f, (np.array([1.0, -1.0, 0.999999, 2.0, 0.0]),), (lambda g, x: g * np.clip(x, -1, 1))


@right
def ok_softplus_stable():
    return (
        (lambda x: np.logaddexp(0, x)),
        (np.array([0.0, 800.0, -800.0, 1.0]),),
        (lambda g, x: g * np.where(x > 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))),
    )


@right
def ok_sinc_handled():
    def b(g, x):
        s = np.where(x == 0, 1.0, x)
        return g * np.where(x == 0, 0.0, (np.cos(s) - np.sin(s) / s) / s)

    return (lambda x: np.sinc(x / np.pi)), (np.array([0.0, 1.2, -2.5, 4.0]),), b


@right
def ok_sqrt_near_zero():
    return (lambda x: np.sqrt(x)), (np.array([1e-8, 1e-4, 1.0, 9.0]),), (lambda g, x: g * 0.5 / np.sqrt(x))


@right
def ok_log_near_domain_edge():
    """finite differences with a fixed h leave the domain"""

    def f(p):
        return -(p * np.log(p) + (1 - p) * np.log1p(-p))

    return f, (np.array([1e-7, 0.5, 1 - 1e-7, 0.2]),), (lambda g, p: g * (np.log1p(-p) - np.log(p)))


@right
def ok_arcsin_near_one():
    return (lambda x: np.arcsin(x)), (np.array([0.99999, -0.9999, 0.0, 0.3]),), (lambda g, x: g / np.sqrt(1 - x * x))


@right
def ok_gather_duplicates():
    idx = np.array([2, 2, 0, 2])

    def b(g, x):
        d = np.zeros_like(x)
        np.add.at(d, idx, g)
        return d

    return (lambda x: x[idx]), (R(31).normal(size=(4, 3)),), b


@right
def ok_unused_entries():
    return (lambda x: x[:, 1:3] ** 2), (R(32).normal(size=(3, 5)),), (lambda g, x: np.pad(2 * g * x[:, 1:3], ((0, 0), (1, 2))))


@right
def ok_unused_input():
    r = R(33)
    return (lambda a, b: np.sin(a)), (r.normal(size=4), r.normal(size=3)), (lambda g, a, b: (g * np.cos(a), np.zeros_like(b)))


@right
def ok_tuple_outputs():
    def f(x, y):
        return x * y, x.sum(0), np.exp(y)

    def b(u, x, y):
        g0, g1, g2 = u
        return g0 * y + g1[None], g0 * x + g2 * np.exp(y)

    r = R(34)
    return f, (r.normal(size=(3, 2)), r.normal(size=(3, 2))), b


@right
def ok_scalar_and_vector_outputs():
    def f(x):
        return np.array((x**2).sum()), np.tanh(x)

    return f, (R(35).normal(size=5),), (lambda u, x: 2 * u[0] * x + u[1] * (1 - np.tanh(x) ** 2))


@right
def ok_lstm_cell():
    def step(x, h, c, W):
        z = np.concatenate([x, h]) @ W
        i, f, o, g = np.split(z, 4)
        return sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)

    def fw(x, h, c, W):
        i, f, o, g = step(x, h, c, W)
        c2 = f * c + i * g
        return o * np.tanh(c2), c2

    def bw(u, x, h, c, W):
        i, f, o, g = step(x, h, c, W)
        c2 = f * c + i * g
        t = np.tanh(c2)
        dc = u[1] + u[0] * o * (1 - t * t)
        dz = np.concatenate([dc * g * i * (1 - i), dc * c * f * (1 - f), u[0] * t * o * (1 - o), dc * i * (1 - g * g)])
        d = W @ dz
        return d[: len(x)], d[len(x) :], dc * f, np.outer(np.concatenate([x, h]), dz)

    r = R(36)
    return fw, (r.normal(size=3), r.normal(size=2), r.normal(size=2), r.normal(size=(5, 8))), bw


@right
def ok_attention():
    def f(q, k, v):
        return softmax(q @ k.T / np.sqrt(4)) @ v

    def b(g, q, k, v):
        p = softmax(q @ k.T / 2)
        ds = sm_b(g @ v.T, p) / 2
        return ds @ k, ds.T @ q, p.T @ g

    r = R(37)
    return f, (r.normal(size=(3, 4)), r.normal(size=(5, 4)), r.normal(size=(5, 6))), b


@right
def ok_sort():
    def b(g, x):
        d = np.empty_like(x)
        d[np.argsort(x)] = g
        return d

    return (lambda x: np.sort(x)), (R(38).normal(size=9),), b


@right
def ok_median_even():
    def b(g, x):
        d = np.zeros_like(x)
        o = np.argsort(x)
        d[o[3]] = d[o[4]] = g / 2
        return d

    return (lambda x: np.median(x)), (R(39).normal(size=8),), b


@right
def ok_maxpool_2x2():
    def win(x):
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2)

    def b(g, x):
        m = win(x) == win(x).max((3, 5), keepdims=True)
        return (m * g[:, :, :, None, :, None]).reshape(x.shape)

    return (lambda x: win(x).max((3, 5))), (R(40).normal(size=(2, 2, 4, 6)).astype(np.float32),), b


@right
def ok_conv2d_loops():
    def f(x, k):
        H, W = x.shape[0] - k.shape[0] + 1, x.shape[1] - k.shape[1] + 1
        return np.array([[np.sum(x[i : i + k.shape[0], j : j + k.shape[1]] * k) for j in range(W)] for i in range(H)])

    def b(g, x, k):
        dx, dk = np.zeros_like(x), np.zeros_like(k)
        a, c = k.shape
        for i in range(g.shape[0]):
            for j in range(g.shape[1]):
                dx[i : i + a, j : j + c] += g[i, j] * k
                dk += g[i, j] * x[i : i + a, j : j + c]
        return dx, dk

    r = R(41)
    return f, (r.normal(size=(6, 5)), r.normal(size=(3, 2))), b


@right
def ok_fixed_dropout_mask():
    """reseeded each forward, mask kept for the backward"""

    class D:
        def forward(s, x):
            s.m = (np.random.default_rng(7).random(x.shape) > 0.3) / 0.7
            return x * s.m

        def backward(s, g):
            return g * s.m

    return D(), (R(42).normal(size=(5, 5)),)


@right
def ok_matrix_inverse():
    def f(A):
        return np.linalg.inv(A)

    def b(g, A):
        Y = f(A)
        return -Y.T @ g @ Y.T

    return f, (R(43).normal(size=(4, 4)) + 3 * np.eye(4),), b


@right
def ok_logdet_ill_conditioned():
    A = np.diag([1.0, 1e-4, 1e3]) + 1e-5 * R(44).normal(size=(3, 3))
    return (lambda A: np.linalg.slogdet(A)[1]), (A,), (lambda g, A: g * np.linalg.inv(A).T)


@right
def ok_symmetric_matrix_map():
    """y = (A + A')x: J is symmetric, its transpose is itself"""
    A = R(45).normal(size=(5, 5))
    S = A + A.T
    return (lambda x: S @ x), (R(46).normal(size=5),), (lambda g, x: S @ g)


@right
def ok_single_row_batch():
    """batch of one: many hypotheses coincide"""
    r = R(47)
    return (lambda x, W: x @ W), (r.normal(size=(1, 4)), r.normal(size=(4, 1))), (lambda g, x, W: (g @ W.T, x.T @ g))


@right
def ok_one_element_softmax():
    return (lambda x: softmax(x)), (np.array([[1.2], [-3.0]]),), (lambda g, x: np.zeros_like(x))


@right
def ok_scale_in_place_on_copy():
    def f(x):
        x = x.copy()
        x[x < 0] *= 0.1
        return x

    def b(g, x):
        g = np.array(g)
        g[x < 0] *= 0.1
        return g

    return f, (R(48).normal(size=(4, 4)),), b


@right
def ok_returns_upstream_itself():
    r = R(49)
    return (lambda a, b: a + b), (r.normal(size=(2, 3)), r.normal(size=(2, 3))), (lambda g, a, b: (g, g))


@right
def ok_reshape_view_output():
    """output is a view of the input"""
    return (lambda x: x.reshape(2, 6).T), (R(50).normal(size=(3, 4)),), (lambda g, x: g.T.reshape(3, 4))


@right
def ok_float32_upcast_by_numpy():
    """float32 in; gradient comes back as float64, which is no loss"""
    w = np.linspace(0.1, 2, 5)
    return (lambda x: x * w), (R(51).normal(size=(3, 5)).astype(np.float32),), (lambda g, x: g * w)


@right
def ok_zero_weights():
    """dx is exactly zero because W is; dW is not"""
    return (
        (lambda x, W: np.tanh(x @ W)),
        (R(52).normal(size=(4, 3)), np.zeros((3, 2))),
        (lambda g, x, W: ((g * (1 - np.tanh(x @ W) ** 2)) @ W.T, x.T @ (g * (1 - np.tanh(x @ W) ** 2)))),
    )


@right
def ok_dead_relu_layer():
    x = R(53).uniform(0.1, 1, size=(4, 3))
    W = -R(54).uniform(0.1, 1, size=(3, 2))

    def b(g, x, W):
        d = g * (x @ W > 0)
        return d @ W.T, x.T @ d

    return (lambda x, W: np.maximum(x @ W, 0)), (x, W), b


@right
def ok_poisson_nll():
    k = np.array([0, 3, 1, 7, 2])
    return (lambda eta: np.sum(np.exp(eta) - k * eta)), (R(55).normal(size=5) * 2,), (lambda g, eta: g * (np.exp(eta) - k))


@right
def ok_ppo_clipped_surrogate():
    r = R(56)
    old, adv = r.normal(size=10), r.normal(size=10)

    def f(lp):
        q = np.exp(lp - old)
        return -np.mean(np.minimum(q * adv, np.clip(q, 0.8, 1.2) * adv))

    def b(g, lp):
        q = np.exp(lp - old)
        act = q * adv <= np.clip(q, 0.8, 1.2) * adv
        return -g * act * q * adv / 10

    return f, (old + r.normal(size=10) * 0.4,), b


@right
def ok_expectile_td_targets():
    def f(v, r_):
        d = r_ - v
        return np.mean(np.where(d > 0, 0.9, 0.1) * d * d)

    def b(g, v, r_):
        d = r_ - v
        t = g * 2 * np.where(d > 0, 0.9, 0.1) * d / d.size
        return -t, t

    r = R(57)
    return f, (r.normal(size=9), r.normal(size=9)), b


@right
def ok_large_weighted_sum():
    w = 10.0 ** np.arange(-6, 7)
    return (lambda x: w @ np.sin(x)), (R(58).normal(size=13),), (lambda g, x: g * w * np.cos(x))


@right
def ok_rough_high_frequency_ripple():
    """tiny ripple with a big slope"""
    return (lambda x: x + 1e-6 * np.sin(1e5 * x)), (R(59).normal(size=5),), (lambda g, x: g * (1 + 0.1 * np.cos(1e5 * x)))


@right
def ok_torch_mlp_module():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.LayerNorm(6), torch.nn.Linear(6, 2)).double(), (
        torch.tensor(R(60).normal(size=(3, 4))),
    )


@right
def ok_torch_batchnorm_train_float32():
    torch.manual_seed(2)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)), (
        torch.tensor(R(61).normal(size=(6, 3)), dtype=torch.float32),
    )


@right
def ok_torch_embedding_labels():
    torch.manual_seed(3)
    return torch.nn.Embedding(7, 3).double(), (torch.tensor([[1, 1, 4], [0, 6, 1]]),)


@right
def ok_torch_cross_entropy_labels():
    return torch.nn.functional.cross_entropy, (torch.tensor(R(62).normal(size=(4, 3))), torch.tensor([0, 2, 2, 1]))


@right
def ok_torch_function_saved():
    class Swish(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * torch.sigmoid(x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            s = torch.sigmoid(x)
            return g * s * (1 + x * (1 - s))

    return Swish.apply, (torch.tensor(R(63).normal(size=(3, 3)), dtype=torch.float32),)


@right
def ok_torch_dropout_eval():
    torch.manual_seed(4)
    return torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5)).double().eval(), (
        torch.tensor(R(64).normal(size=(2, 3))),
    )


@right
def ok_jax_function():
    jax, jnp = with_jax()
    return (lambda x, w: jnp.tanh(x @ w)), (
        jnp.asarray(R(65).normal(size=(3, 4)), dtype=jnp.float32),
        jnp.asarray(R(66).normal(size=(4, 2)), dtype=jnp.float32),
    )


@right
def ok_jax_custom_vjp():
    jax, jnp = with_jax()

    @jax.custom_vjp
    def lse(x):
        return jax.nn.logsumexp(x)

    lse.defvjp(lambda x: (jax.nn.logsumexp(x), x), lambda x, g: (g * jax.nn.softmax(x),))
    return lse, (jnp.asarray(R(67).normal(size=7), dtype=jnp.float32),)
