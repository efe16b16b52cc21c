"""Broken: upstream, sign, scale, elementwise factors, wrong points, swapped, fused."""

import numpy as np
import torch

from tests.cases import R, broken, with_jax


def softmax(z, axis=-1):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# ---------------------------------------------------------------- upstream-ignored
@broken("upstream-ignored", input=0)
def ui_mse():
    def mse(p, t):
        return np.mean((p - t) ** 2)

    r = R(1)
    return mse, (r.normal(size=(4, 3)), r.normal(size=(4, 3))), (lambda g, p, t: (2 * (p - t) / p.size, None))


@broken("upstream-ignored", input=0)
def ui_huber_vector():
    def f(x):
        a = np.abs(x)
        return np.where(a < 1, 0.5 * x * x, a - 0.5)

    return f, (R(2).normal(size=12) * 2,), (lambda g, x: np.clip(x, -1, 1))


@broken("upstream-ignored", input=0)
def ui_prod():
    return (lambda x: np.prod(x)), (R(3).uniform(0.5, 2, size=5),), (lambda g, x: np.prod(x) / x)


@broken("upstream-ignored", input=0)
def ui_tanh_object():
    class Tanh:
        def forward(self, x):
            self.y = np.tanh(x)
            return self.y

        def backward(self, grad):
            return 1 - self.y**2

    return Tanh(), (R(4).normal(size=(3, 4)),)


@broken("upstream-ignored", input=(0, 1))
def ui_matmul_forward_value():
    """dA = C B', dB = A' C with C the forward value"""

    def b(g, A, B):
        C = A @ B
        return C @ B.T, A.T @ C

    r = R(5)
    return (lambda A, B: A @ B), (r.normal(size=(2, 3)), r.normal(size=(3, 4))), b


@broken("upstream-ignored", input=(0, 1))
def ui_squared_difference():
    r = R(6)
    return (lambda x, y: (x - y) ** 2), (r.normal(size=6), r.normal(size=6)), (lambda g, x, y: (x, y))


@broken("upstream-ignored", input=0)
def ui_torch_ce():
    t = torch.tensor([0, 2, 1])

    class CE(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z)
            return torch.nn.functional.cross_entropy(z, t)

        @staticmethod
        def backward(ctx, g):
            (z,) = ctx.saved_tensors
            p = torch.softmax(z, 1)
            p[torch.arange(3), t] -= 1
            return p / 3

    return CE.apply, (torch.tensor(R(7).normal(size=(3, 4))),)


# ---------------------------------------------------------------- not-linear-in-upstream
@broken("not-linear-in-upstream", input=0)
def nl_clip():
    return (lambda x: np.sin(x)), (R(8).normal(size=(4, 5)),), (lambda g, x: np.clip(g * np.cos(x), -0.1, 0.1))


@broken("not-linear-in-upstream", input=0)
def nl_square():
    return (lambda x: x**3), (R(9).normal(size=7),), (lambda g, x: g**2 * 3 * x**2)


@broken("not-linear-in-upstream", input=0)
def nl_normalised():
    def b(g, x):
        d = g * np.exp(x)
        return d / (np.linalg.norm(d) + 1e-12)

    return (lambda x: np.exp(x)), (R(10).normal(size=(3, 3)),), b


@broken("not-linear-in-upstream", input=1)
def nl_weight_decay_added():
    """0.1*W sneaked into the gradient of a plain product"""
    r = R(11)
    return (lambda x, W: x @ W), (r.normal(size=(4, 3)), r.normal(size=(3, 2))), (lambda g, x, W: (g @ W.T, x.T @ g + 0.1 * W))


@broken("not-linear-in-upstream", input=0)
def nl_mlpack_log_softmax():
    """mlpack#2360: dx = softmax + g"""

    def f(x):
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    return f, (R(12).normal(size=(2, 5)),), (lambda g, x: softmax(x) + g)


@broken("not-linear-in-upstream", input=0)
def nl_guided_backprop():
    def f(x):
        return np.maximum(x, 0)

    return f, (R(13).normal(size=(4, 5)),), (lambda g, x: np.maximum(g, 0) * (x > 0))


@broken("not-linear-in-upstream", input=0)
def nl_sigmoid_of_upstream():
    return sigmoid, (R(14).normal(size=6),), (lambda dz, x: sigmoid(dz) * (1 - sigmoid(dz)))


@broken("not-linear-in-upstream", input=0)
def nl_torch_abs():
    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g.abs() * 2 * ctx.saved_tensors[0]

    return F.apply, (torch.tensor(R(15).normal(size=(2, 4))),)


# ---------------------------------------------------------------- sign-flipped
@broken("sign-flipped", input=1)
def sf_subtract():
    r = R(16)
    return (lambda a, b: a - b), (r.normal(size=(2, 3)), r.normal(size=(2, 3))), (lambda g, a, b: (g, g.copy()))


@broken("sign-flipped", input=0)
def sf_cross_entropy():
    def ce(z, y):
        return -np.log(softmax(z)[np.arange(len(y)), y]).mean()

    def b(g, z, y):
        return g * (np.eye(z.shape[1])[y] - softmax(z)) / len(y), None

    return ce, (R(17).normal(size=(5, 3)), np.array([0, 2, 1, 1, 0])), b


@broken("sign-flipped", input=0)
def sf_reciprocal():
    return (lambda x: 1 / x), (R(18).uniform(0.5, 2, size=(3, 3)),), (lambda g, x: g / x**2)


@broken("sign-flipped", input=0)
def sf_cos_torch():
    class C(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.cos(x)

        @staticmethod
        def backward(ctx, g):
            return g * torch.sin(ctx.saved_tensors[0])

    return C.apply, (torch.tensor(R(19).normal(size=5)),)


@broken("sign-flipped")
def sf_param_bias():
    """layer whose bias gradient has the wrong sign: y = xW - b"""

    class Shifted:
        def __init__(s):
            s.params = {"W": R(1).normal(size=(3, 2)), "b": R(2).normal(size=2)}
            s.grads = {}

        def forward(s, x):
            s.x = x
            return x @ s.params["W"] - s.params["b"]

        def backward(s, g):
            s.grads["W"] = s.x.T @ g
            s.grads["b"] = g.sum(0)
            return g @ s.params["W"].T

    return Shifted(), (R(20).normal(size=(4, 3)),)


@broken("sign-flipped", input=1)
def sf_gauss_loglik_mu():
    def ll(x, mu, s):
        return -0.5 * np.sum(((x - mu) / s) ** 2) - x.size * np.log(s)

    def b(g, x, mu, s):
        z = (x - mu) / s
        return -g * z / s, -g * np.sum(z) / s, g * (np.sum(z**2) / s - x.size / s)

    return ll, (R(21).normal(size=9), np.float64(0.4), np.float64(1.3)), b


@broken("sign-flipped", input=0)
def sf_gradient_reversal():
    class GRL:
        def forward(self, x):
            return x.copy()

        def backward(self, g):
            return -g

    return GRL(), (R(22).normal(size=(3, 5)).astype(np.float32),)


# ---------------------------------------------------------------- wrong-scale
@broken("wrong-scale", input=0, factor=20)
def ws_mse_missing_n():
    def f(p, t):
        return ((p - t) ** 2).mean()

    r = R(23)
    return f, (r.normal(size=(4, 5)), r.normal(size=(4, 5))), (lambda g, p, t: (2 * g * (p - t), None))


@broken("wrong-scale", input=0, factor=1 / 3)
def ws_mean_axis_numel():
    """deeplearning4j#7405: g/numel instead of g/len(axis)"""
    return (lambda x: x.mean(1)), (R(24).normal(size=(3, 5)),), (lambda g, x: np.repeat(g[:, None], 5, 1) / x.size)


@broken("wrong-scale", input=0, factor=0.5)
def ws_l2_penalty():
    return (lambda W: 0.3 * np.sum(W * W)), (R(25).normal(size=(3, 4)),), (lambda g, W: g * 0.3 * W)


@broken("wrong-scale", input=0, factor=6)
def ws_ce_batch():
    y = np.array([0, 1, 2, 2, 1, 0])

    def f(z):
        return -np.log(softmax(z)[np.arange(6), y]).mean()

    def b(g, z):
        p = softmax(z)
        p[np.arange(6), y] -= 1
        return g * p

    return f, (R(26).normal(size=(6, 3)),), b


@broken("wrong-scale", input=(0, 1), factor=np.sqrt(12))
def ws_attention_sqrt_d():
    def f(q, k):
        return q @ k.T / np.sqrt(q.shape[1])

    r = R(27)
    return f, (r.normal(size=(3, 12)), r.normal(size=(4, 12))), (lambda g, q, k: (g @ k, g.T @ q))


@broken("wrong-scale", input=0, factor=2.5)
def ws_temperature():
    T = 2.5

    def b(g, x):
        s = softmax(x / T)
        return s * (g - (g * s).sum(-1, keepdims=True))

    return (lambda x: softmax(x / T)), (R(28).normal(size=(3, 4)),), b


@broken("wrong-scale", input=0, factor=7)
def ws_bce_outputs():
    t = (R(1).random((3, 7)) > 0.5).astype(float)

    def f(z):
        p = sigmoid(z)
        return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(axis=1)

    return f, (R(29).normal(size=(3, 7)),), (lambda g, z: g[:, None] * (sigmoid(z) - t))


@broken("wrong-scale", input=2, factor=1 / 8)
def ws_bias_mean():
    def f(x, W, b):
        return x @ W + b

    r = R(30)
    return f, (r.normal(size=(8, 3)), r.normal(size=(3, 2)), r.normal(size=2)), (lambda g, x, W, b: (g @ W.T, x.T @ g, g.mean(0)))


@broken("wrong-scale", input=0, factor=4)
def ws_avgpool():
    def f(x):
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))

    return f, (R(31).normal(size=(2, 2, 4, 4)),), (lambda g, x: g.repeat(2, 2).repeat(2, 3))


@broken("wrong-scale", input=0, factor=0.8)
def ws_inverted_dropout():
    keep = 0.8
    mask = R(5).random((4, 6)) < keep
    return (lambda x: x * mask / keep), (R(32).normal(size=(4, 6)),), (lambda g, x: g * mask)


@broken("wrong-scale", input=0, factor=180 / np.pi)
def ws_degrees():
    def f(d):
        return np.sin(np.deg2rad(d))

    return f, (R(33).uniform(0, 360, size=6),), (lambda g, d: g * np.cos(np.deg2rad(d)))


@broken("wrong-scale", input=0, factor=1 / 5)
def ws_torch_twice_normalised():
    class M(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, t):
            ctx.save_for_backward(x, t)
            return ((x - t) ** 2).sum(1).mean()

        @staticmethod
        def backward(ctx, g):
            x, t = ctx.saved_tensors
            return g * 2 * (x - t) / 5 / 5, None

    t = torch.tensor(R(2).normal(size=(5, 3)))
    return (lambda x: M.apply(x, t)), (torch.tensor(R(34).normal(size=(5, 3))),)


@broken("wrong-scale", input=0, factor=2)
def ws_var_float32():
    """half squared error written with the 2 left in"""
    t = R(3).normal(size=30).astype(np.float32)
    return (
        (lambda x: np.float32(0.5) * np.sum((x - t) ** 2)),
        (R(35).normal(size=30).astype(np.float32),),
        (lambda g, x: (g * 2 * (x - t)).astype(np.float32)),
    )


# ---------------------------------------------------------------- missing-factor
@broken("missing-factor", input=(0, 1, 2))
def mf_dense_sigmoid():
    def f(x, W, b):
        return sigmoid(x @ W + b)

    r = R(36)
    return f, (r.normal(size=(4, 3)), r.normal(size=(3, 5)), r.normal(size=5)), (lambda g, x, W, b: (g @ W.T, x.T @ g, g.sum(0)))


@broken("missing-factor", input=0)
def mf_tanh():
    return (lambda x: np.tanh(x)), (R(37).normal(size=(3, 4)),), (lambda g, x: g.copy())


@broken("missing-factor", input=0)
def mf_layernorm_gamma():
    def f(x, ga):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * ga

    def b(g, x, ga):
        iv = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        xh = (x - x.mean(-1, keepdims=True)) * iv
        return iv * (g - g.mean(-1, keepdims=True) - xh * (g * xh).mean(-1, keepdims=True)), (g * xh).sum(0)

    r = R(38)
    return f, (r.normal(size=(3, 6)), r.uniform(0.3, 3, size=6)), b


@broken("missing-factor", "wrong-at-some-entries", input=0)
def mf_relu_mask():
    class ReLU:
        def forward(self, x):
            return np.where(x > 0, x, 0)

        def backward(self, d):
            return d

    return ReLU(), (R(39).normal(size=(4, 5)),)


@broken("missing-factor", input=0)
def mf_log():
    return (lambda x: np.log(x)), (R(40).uniform(0.2, 4, size=(2, 3, 2)),), (lambda g, x: g * 1.0)


@broken("missing-factor", input=0)
def mf_sigmoid_prime_twice():
    def b(g, x):
        s = sigmoid(x)
        return g * (s * (1 - s)) ** 2

    return sigmoid, (R(41).normal(size=9),), b


@broken("missing-factor", input=0)
def mf_mul():
    r = R(42)
    return (lambda a, b: a * b), (r.normal(size=(3, 2)), r.normal(size=(3, 2))), (lambda g, a, b: (g.copy(), g * a))


@broken("missing-factor", "wrong-at-some-entries", input=0)
def mf_dropout_mask():
    """numpy-ml#94: rescaled, but never masked"""
    m = R(4).random((5, 6)) > 0.5
    return (lambda x: x * m / 0.5), (R(43).normal(size=(5, 6)),), (lambda g, x: g / 0.5)


@broken("missing-factor", input=0)
def mf_weighted_residuals():
    def wls(beta, X, y, w):
        return np.sum(w * (y - X @ beta) ** 2)

    def b(g, beta, X, y, w):
        return -2 * g * X.T @ (y - X @ beta), None, None, None

    r = R(44)
    return wls, (r.normal(size=3), r.normal(size=(10, 3)), r.normal(size=10), r.uniform(0.1, 5, size=10)), b


@broken("missing-factor", input=0)
def mf_ppo_ratio():
    r = R(45)
    old, adv = r.normal(size=8), r.normal(size=8)

    def surrogate(logp):
        return -np.mean(np.exp(logp - old) * adv)

    return surrogate, (old + 0.5 * r.normal(size=8),), (lambda g, logp: -g * adv / 8)


@broken("missing-factor", input=0)
def mf_channel_scale_4d():
    """per-channel affine: gamma forgotten on the way to x"""

    def f(x, ga, be):
        return x * ga[:, None, None] + be[:, None, None]

    def b(g, x, ga, be):
        return g.copy(), (g * x).sum((0, 2, 3)), g.sum((0, 2, 3))

    r = R(46)
    return f, (r.normal(size=(2, 3, 2, 3)), r.normal(size=3), r.normal(size=3)), b


@broken("missing-factor", input=0)
def mf_jax_power():
    jax, jnp = with_jax()

    @jax.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * g * x,))
    return cube, (jnp.asarray(R(47).uniform(0.5, 2, size=(2, 3)), dtype=jnp.float32),)


@broken("missing-factor", input=0)
def mf_hidden_layer_relu():
    """two-layer net without the hidden activation's derivative"""
    r = R(48)
    W1, W2 = r.normal(size=(4, 8)), r.normal(size=(8, 3))

    def f(x):
        return np.tanh(x @ W1) @ W2

    return f, (r.normal(size=(5, 4)),), (lambda g, x: g @ W2.T @ W1.T)


# ---------------------------------------------------------------- derivative-at-wrong-point
@broken("derivative-at-wrong-point", input=0)
def wp_sigmoid_preactivation():
    return sigmoid, (R(49).normal(size=(3, 4)),), (lambda g, x: g * x * (1 - x))


@broken("derivative-at-wrong-point", input=0)
def wp_sigmoid_prime_at_output():
    def ds(z):
        return sigmoid(z) * (1 - sigmoid(z))

    return sigmoid, (R(50).normal(size=(6,)) * 2,), (lambda g, x: g * ds(sigmoid(x)))


@broken("derivative-at-wrong-point", input=0)
def wp_tanh_input():
    class Tanh:
        def forward(self, x):
            self.x = x
            return np.tanh(x)

        def backward(self, g):
            return g * (1 - self.x**2)

    return Tanh(), (R(51).normal(size=(2, 5)),)


@broken("derivative-at-wrong-point", input=(0, 1, 2))
def wp_dense_tanh_preactivation():
    def f(x, W, b):
        return np.tanh(x @ W + b)

    def bw(g, x, W, b):
        z = x @ W + b
        d = g * (1 - z**2)
        return d @ W.T, x.T @ d, d.sum(0)

    r = R(52)
    return f, (r.normal(size=(4, 3)), r.normal(size=(3, 5)) * 0.6, r.normal(size=5) * 0.3), bw


@broken("derivative-at-wrong-point", input=0)
def wp_cube_of_output():
    return (lambda x: x**3), (R(53).normal(size=7),), (lambda g, x: g * 3 * (x**3) ** 2)


@broken("derivative-at-wrong-point", input=0)
def wp_silu_at_output():
    def silu(x):
        return x * sigmoid(x)

    def dsilu(x):
        s = sigmoid(x)
        return s * (1 + x * (1 - s))

    return silu, (R(54).normal(size=(3, 4)) * 2,), (lambda g, x: g * dsilu(silu(x)))


@broken("derivative-at-wrong-point", input=0)
def wp_sqrt_input():
    return (lambda x: np.sqrt(x)), (R(55).uniform(0.3, 5, size=8),), (lambda g, x: g / (2 * x))


@broken("derivative-at-wrong-point", input=1)
def wp_div_operand_mixup():
    """a/b: db = -g*b/a^2"""
    r = R(56)
    return (lambda a, b: a / b), (r.uniform(0.5, 2, size=6), r.uniform(0.5, 2, size=6)), (lambda g, a, b: (g / b, -g * b / a**2))


@broken("derivative-at-wrong-point", "missing-factor", input=0)
def wp_sin_sin_earlier_input():
    """outer derivative taken at the first input instead of the inner value"""
    return (lambda x: np.sin(np.sin(3 * x))), (R(57).normal(size=9),), (lambda g, x: g * np.cos(3 * x) * 3 * np.cos(x))


@broken("derivative-at-wrong-point", input=0)
def wp_softplus_torch():
    class SP(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = torch.nn.functional.softplus(x)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            return g * torch.sigmoid(ctx.saved_tensors[0])

    return SP.apply, (torch.tensor(R(58).normal(size=(3, 3))),)


@broken("derivative-at-wrong-point", input=0)
def wp_jax_sin():
    jax, jnp = with_jax()

    @jax.custom_vjp
    def f(x):
        return jnp.sin(x)

    def fw(x):
        y = jnp.sin(x)
        return y, y

    f.defvjp(fw, lambda y, g: (g * jnp.cos(y),))
    return f, (jnp.asarray(R(59).normal(size=8) * 2, dtype=jnp.float32),)


@broken("derivative-at-wrong-point", input=0)
def wp_exp_of_exp():
    return (lambda x: np.exp(x)), (R(60).normal(size=(2, 3, 2)) * 0.7,), (lambda g, x: g * np.exp(np.exp(x)))


@broken("derivative-at-wrong-point", input=0)
def wp_arctan_output():
    def b(g, x):
        y = np.arctan(x)
        return g / (1 + y * y)

    return (lambda x: np.arctan(x)), (R(61).normal(size=10) * 3,), b


@broken("derivative-at-wrong-point", "wrong-at-some-entries", "missing-factor", input=0)
def wp_leaky_negative_slope():
    """in-place leaky relu: the branch taken from the output (slope -2)"""

    def f(x):
        return np.where(x > 0, x, -2 * x)

    return f, (R(62).normal(size=(3, 5)),), (lambda g, x: g * np.where(f(x) > 0, 1.0, -2.0))


@broken("derivative-at-wrong-point", input=0)
def wp_softmax_at_output():
    """the softmax Jacobian built from softmax(softmax(x))"""

    def b(g, x):
        s = softmax(softmax(x))
        return s * (g - (g * s).sum(-1, keepdims=True))

    return (lambda x: softmax(x)), (R(63).normal(size=(3, 4)) * 2,), b


# ---------------------------------------------------------------- fused-twice
@broken("fused-twice", input=0)
def ft_softmax_ce_onehot():
    T = np.eye(4)[[0, 3, 1]]

    def f(z):
        return -np.sum(T * np.log(softmax(z)))

    def b(g, z):
        h = softmax(z)
        d = g * (h - T)
        return h * (d - (d * h).sum(1, keepdims=True))

    return f, (R(64).normal(size=(3, 4)),), b


@broken("fused-twice", input=0)
def ft_labels_mean():
    def f(z, y):
        return -np.mean(np.log(softmax(z)[np.arange(len(y)), y]))

    def b(g, z, y):
        h = softmax(z)
        d = h.copy()
        d[np.arange(len(y)), y] -= 1
        d *= g / len(y)
        dz = np.empty_like(z)
        for i in range(len(y)):
            dz[i] = (np.diag(h[i]) - np.outer(h[i], h[i])) @ d[i]
        return dz, None

    return f, (R(65).normal(size=(6, 5)), np.array([1, 0, 4, 4, 2, 3])), b


@broken("fused-twice", input=0)
def ft_object_single_sample():
    class SoftmaxCrossEntropy:
        def __init__(s, t):
            s.t = t

        def forward(s, z):
            s.h = softmax(z)
            return -np.sum(s.t * np.log(s.h))

        def backward(s, up):
            return up * (np.diag(s.h) - np.outer(s.h, s.h)) @ (s.h - s.t)

    return SoftmaxCrossEntropy(np.array([0, 0, 1.0, 0, 0])), (R(66).normal(size=5),)


@broken("fused-twice", input=0)
def ft_reverse_probabilities():
    """the loss takes probabilities; its backward returns h - t"""
    T = np.eye(3)[[2, 0, 1, 1]]

    def nll(h):
        return -np.sum(T * np.log(h))

    return nll, (softmax(R(67).normal(size=(4, 3))),), (lambda g, h: g * (h - T))


@broken("fused-twice", "missing-factor", input=0)
def ft_sigmoid_bce():
    t = np.array([1.0, 0, 0, 1, 1, 0])

    def f(z):
        p = sigmoid(z)
        return -np.sum(t * np.log(p) + (1 - t) * np.log(1 - p))

    def b(g, z):
        p = sigmoid(z)
        return g * (p - t) * p * (1 - p)

    return f, (R(68).normal(size=6),), b


@broken("fused-twice", input=0)
def ft_torch():
    t = torch.tensor([2, 0])

    class CE(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            h = torch.softmax(z, 1)
            ctx.save_for_backward(h)
            return -torch.log(h[torch.arange(2), t]).sum()

        @staticmethod
        def backward(ctx, g):
            (h,) = ctx.saved_tensors
            d = h.clone()
            d[torch.arange(2), t] -= 1
            return g * h * (d - (h * d).sum(1, keepdim=True))

    return CE.apply, (torch.tensor(R(69).normal(size=(2, 5))),)


@broken("fused-twice", input=0)
def ft_soft_labels_float32():
    T = softmax(R(70).normal(size=(4, 6))).astype(np.float32)

    def f(z):
        return -np.sum(T * np.log(softmax(z)), axis=1)

    def b(g, z):
        h = softmax(z)
        d = g[:, None] * (h - T)
        return h * (d - (d * h).sum(1, keepdims=True))

    return f, (R(71).normal(size=(4, 6)).astype(np.float32),), b


# ---------------------------------------------------------------- swapped-gradients
@broken("swapped-gradients", input=(0, 1))
def sw_mul():
    r = R(72)
    return (lambda a, b: a * b), (r.normal(size=(3, 4)), r.normal(size=(3, 4))), (lambda g, a, b: (g * a, g * b))


@broken("swapped-gradients", input=(0, 1))
def sw_div():
    r = R(73)
    return (lambda a, b: a / b), (r.normal(size=5), r.uniform(1, 2, size=5)), (lambda g, a, b: (-g * a / b**2, g / b))


@broken("swapped-gradients", input=(0, 1))
def sw_matmul_square():
    r = R(74)
    return (lambda A, B: A @ B), (r.normal(size=(4, 4)), r.normal(size=(4, 4))), (lambda g, A, B: (A.T @ g, g @ B.T))


@broken("swapped-gradients", input=(1, 2))
def sw_fma_last_two():
    r = R(75)
    return (
        (lambda a, b, c: a * b + c),
        tuple(r.normal(size=(3, 2)) for _ in range(3)),
        (lambda g, a, b, c: (g * b, g.copy(), g * a)),
    )


@broken("swapped-gradients", input=(1, 2))
def sw_gaussian_nll():
    def nll(x, mu, lv):
        return 0.5 * np.sum(lv + (x - mu) ** 2 * np.exp(-lv))

    def b(g, x, mu, lv):
        dmu = -g * (x - mu) * np.exp(-lv)
        dlv = 0.5 * g * (1 - (x - mu) ** 2 * np.exp(-lv))
        return None, dlv, dmu

    r = R(76)
    x0 = r.normal(size=7)

    def nll2(mu, lv):
        return nll(x0, mu, lv)

    def nll3(s, mu, lv):
        return s * nll(x0, mu, lv)

    def b3(g, s, mu, lv):
        _, dl, dm = b(g, x0, mu, lv)
        return g * nll(x0, mu, lv), s * dl, s * dm

    return nll3, (np.float64(0.8), r.normal(size=7), r.normal(size=7)), b3


@broken("swapped-gradients", "wrong-shape", input=(0, 1))
def sw_dense_shapes_tell():
    r = R(77)
    return (lambda x, W: x @ W), (r.normal(size=(5, 3)), r.normal(size=(3, 2))), (lambda g, x, W: (x.T @ g, g @ W.T))


@broken("swapped-gradients", input=(0, 1))
def sw_torch_pow():
    class P(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, p):
            ctx.save_for_backward(a, p)
            return a**p

        @staticmethod
        def backward(ctx, g):
            a, p = ctx.saved_tensors
            return g * a**p * torch.log(a), g * p * a ** (p - 1)

    r = R(78)
    return P.apply, (torch.tensor(r.uniform(0.5, 2, size=6)), torch.tensor(r.uniform(0.5, 3, size=6)))


# ---------------------------------------------------------------- unknown
@broken("unknown", input=0)
def un_random_linear_map():
    M = R(80).normal(size=(6, 6))
    return (lambda x: np.sin(x) * np.roll(x, 1)), (R(81).normal(size=6),), (lambda g, x: M @ g)


@broken("unknown", input=0)
def un_dense_noise_on_top():
    W, E = R(82).normal(size=(5, 4)), 0.3 * R(83).normal(size=(5, 4))
    return (lambda x: np.tanh(x @ W)), (R(84).normal(size=(3, 5)),), (lambda g, x: (g * (1 - np.tanh(x @ W) ** 2)) @ (W + E).T)


@broken("unknown", "missing-factor", "derivative-at-wrong-point", input=0)
def un_silu_parentheses():
    """dfdx#915: 1 + e^-x + x e^-x/(1+e^-x)^2"""

    def f(x):
        return x / (1 + np.exp(-x))

    return f, (R(85).normal(size=12),), (lambda g, x: g * (1 + np.exp(-x) + x * np.exp(-x) / (1 + np.exp(-x)) ** 2))


@broken("unknown", input=0)
def un_index_scramble_conv():
    """a stencil gathered with unrelated offsets and weights"""

    def f(x):
        return x * np.roll(x, 1) + 0.5 * np.roll(x, 3)

    return f, (R(86).normal(size=11),), (lambda g, x: g * np.roll(x, 4) + np.roll(g * x, 2) - 1.7 * np.roll(g, 5))
