"""Wrong gradients of some eighty operations, written from the contract alone, without a look at the check."""

import numpy as np
import pytest

from tests.broken.tables import Case

pytest.importorskip("jax")
pytest.importorskip("torch")
import jax
import jax.numpy as jnp
import torch
from torch import nn


def rnd(seed, *shape, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=shape)


def uni(seed, lo, hi, *shape):
    return np.random.default_rng(seed).uniform(lo, hi, size=shape)


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def softmax(z, axis=-1):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def lse(z, axis=-1):
    m = z.max(axis=axis, keepdims=True)
    return np.squeeze(m, axis) + np.log(np.exp(z - m).sum(axis=axis))


# ------------------------------------------------------------------ missing-cross-terms
def attn_probs(scores):
    return softmax(scores)


def attn_probs_bw(dy, scores):
    p = softmax(scores)
    return dy * p * (1 - p)


def softmax_mlp(x, W1, W2):
    return softmax(x @ W1) @ W2


def softmax_mlp_bw(g, x, W1, W2):
    h = softmax(x @ W1)
    dh = g @ W2.T
    dz = dh * h * (1 - h)
    return dz @ W1.T, x.T @ dz, h.T @ g


def unit_vector(x):
    return x / np.sqrt(np.sum(x**2))


def unit_vector_bw(g, x):
    n = np.sqrt(np.sum(x**2))
    return g * (1 / n - x**2 / n**3)


def moe(x, Wg, experts):
    p = softmax(x @ Wg)
    outs = np.einsum("nd,kdo->nko", x, experts)
    return np.einsum("nk,nko->no", p, outs)


def moe_bw(g, x, Wg, experts):
    p = softmax(x @ Wg)
    outs = np.einsum("nd,kdo->nko", x, experts)
    dp = np.einsum("no,nko->nk", g, outs)
    douts = np.einsum("nk,no->nko", p, g)
    dlogits = p * (1 - p) * dp
    dx = dlogits @ Wg.T + np.einsum("nko,kdo->nd", douts, experts)
    return dx, x.T @ dlogits, np.einsum("nd,nko->kdo", x, douts)


def sdpa(q, k, v):
    return softmax(q @ k.T / np.sqrt(q.shape[1])) @ v


def sdpa_bw_diag(do, q, k, v):
    scale = 1 / np.sqrt(q.shape[1])
    p = softmax(q @ k.T * scale)
    dv = p.T @ do
    dp = do @ v.T
    ds = dp * p * (1.0 - p)
    return ds @ k * scale, ds.T @ q * scale, dv


def instance_norm(x, eps=1e-5):
    mu = x.mean(axis=(2, 3), keepdims=True)
    var = x.var(axis=(2, 3), keepdims=True)
    return (x - mu) / np.sqrt(var + eps)


def instance_norm_bw(g, x, eps=1e-5):
    istd = 1 / np.sqrt(x.var(axis=(2, 3), keepdims=True) + eps)
    return istd * (g - g.mean(axis=(2, 3), keepdims=True))


def group_norm(x, gamma, beta, groups=2, eps=1e-5):
    n, c, h, w = x.shape
    xg = x.reshape(n, groups, -1)
    xhat = (xg - xg.mean(-1, keepdims=True)) / np.sqrt(xg.var(-1, keepdims=True) + eps)
    return xhat.reshape(x.shape) * gamma[None, :, None, None] + beta[None, :, None, None]


def group_norm_bw(g, x, gamma, beta, groups=2, eps=1e-5):
    n, c, h, w = x.shape
    xg = x.reshape(n, groups, -1)
    istd = 1 / np.sqrt(xg.var(-1, keepdims=True) + eps)
    xhat = (xg - xg.mean(-1, keepdims=True)) * istd
    dgamma = (g * xhat.reshape(x.shape)).sum(axis=(0, 2, 3))
    dbeta = g.sum(axis=(0, 2, 3))
    dxh = (g * gamma[None, :, None, None]).reshape(n, groups, -1)
    dx = istd * (dxh - xhat * (dxh * xhat).mean(-1, keepdims=True))
    return dx.reshape(x.shape), dgamma, dbeta


def weight_norm_linear(x, v, s):
    return x @ (s * v / np.linalg.norm(v, axis=0))


def weight_norm_linear_bw(g, x, v, s):
    n = np.linalg.norm(v, axis=0)
    w = s * v / n
    dw = x.T @ g
    ds = (dw * v / n).sum(axis=0)
    dv = dw * s / n
    return g @ w.T, dv, ds


class RMSNormFn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        rrms = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        ctx.save_for_backward(x, weight, rrms)
        return x * rrms * weight

    @staticmethod
    def backward(ctx, dout):
        x, weight, rrms = ctx.saved_tensors
        xhat = x * rrms
        dxhat = dout * weight
        dx = dxhat * rrms
        dweight = (dout * xhat).flatten(0, -2).sum(0)
        return dx, dweight


def rms_norm_torch(x, weight):
    return RMSNormFn.apply(x, weight)


def nt_xent(u, v, tau=0.5):
    un = u / np.linalg.norm(u, axis=1, keepdims=True)
    vn = v / np.linalg.norm(v, axis=1, keepdims=True)
    sim = un @ vn.T / tau
    return np.mean(lse(sim) - np.diag(sim))


def nt_xent_bw(g, u, v, tau=0.5):
    nu = np.linalg.norm(u, axis=1, keepdims=True)
    nv = np.linalg.norm(v, axis=1, keepdims=True)
    un, vn = u / nu, v / nv
    p = softmax(un @ vn.T / tau)
    dsim = g * (p - np.eye(len(u))) / len(u) / tau
    dun, dvn = dsim @ vn, dsim.T @ un
    du = dun / nu
    dv = dvn / nv
    return du, dv


# ------------------------------------------------------------------ transposed
def rnn_cell(x, h, Wx, Wh, b):
    return np.tanh(x @ Wx + h @ Wh + b)


def rnn_cell_bw(dh_next, x, h, Wx, Wh, b):
    hn = np.tanh(x @ Wx + h @ Wh + b)
    dz = dh_next * (1 - hn**2)
    return dz @ Wx.T, dz @ Wh, x.T @ dz, h.T @ dz, dz.sum(axis=0)


def cumsum_rows(x):
    return np.cumsum(x, axis=1)


def cumsum_rows_bw(g, x):
    return np.cumsum(g, axis=1)


def inverse(A):
    return np.linalg.inv(A)


def inverse_bw(g, A):
    Y = np.linalg.inv(A)
    return -Y @ g @ Y


def sort_rows(x):
    return np.sort(x, axis=1)


def sort_rows_bw(g, x):
    order = np.argsort(x, axis=1)
    return np.take_along_axis(g, order, axis=1)


# ------------------------------------------------------------------ rows-summed
def spherical(c):
    r, th, ph = c[:, 0], c[:, 1], c[:, 2]
    return np.stack([r * np.sin(th) * np.cos(ph), r * np.sin(th) * np.sin(ph), r * np.cos(th)], axis=1)


def spherical_bw(g, c):
    dc = np.empty_like(c)
    for n, (r, th, ph) in enumerate(c):
        st, ct, sp, cp = np.sin(th), np.cos(th), np.sin(ph), np.cos(ph)
        J = np.array([[st * cp, r * ct * cp, -r * st * sp], [st * sp, r * ct * sp, r * st * cp], [ct, -r * st, 0.0]])
        dc[n] = g[n] * J.sum(axis=0)
    return dc


def log_softmax(z):
    return z - lse(z)[:, None]


def log_softmax_bw_rows(g, z):
    out = np.zeros_like(z)
    for i in range(z.shape[0]):
        s = softmax(z[i])
        jac = np.eye(len(s)) - s[None, :]
        out[i] = jac.sum(axis=0) * g[i]
    return out


W_SENSOR = rnd(401, 5, 3)


def tanh_readout(x):
    return np.tanh(x @ W_SENSOR)


def tanh_readout_bw(g, x):
    y = np.tanh(x @ W_SENSOR)
    jacobian = (1 - y**2)[:, None] * W_SENSOR.T  # (out, in)
    return np.sum(jacobian, axis=0)


LV_A = rnd(402, 4, 4)
LV_R = rnd(403, 4)


def lotka_volterra(x):
    return x * (LV_R + LV_A @ x)


def lotka_volterra_bw(g, x):
    J = np.diag(LV_R + LV_A @ x) + x[:, None] * LV_A
    return g * np.sum(J, axis=1)


# ------------------------------------------------------------------ upstream-ignored
def svm_hinge(scores, y):
    n = np.arange(len(y))
    m = np.maximum(0, scores - scores[n, y][:, None] + 1.0)
    m[n, y] = 0
    return m.sum(axis=1)


def svm_hinge_bw(g, scores, y):
    n = np.arange(len(y))
    m = scores - scores[n, y][:, None] + 1.0
    d = (m > 0).astype(scores.dtype)
    d[n, y] = 0
    d[n, y] = -d.sum(axis=1)
    return d, None


@jax.custom_vjp
def _logabsdet(A):
    return jnp.linalg.slogdet(A)[1]


def _logabsdet_fwd(A):
    return _logabsdet(A), A


def _logabsdet_bwd(A, g):
    return (jnp.linalg.inv(A).T,)


_logabsdet.defvjp(_logabsdet_fwd, _logabsdet_bwd)


def logabsdet_jax(A):
    return _logabsdet(A)


class CrossEntropyNone(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, labels):
        logp = torch.log_softmax(logits, dim=1)
        ctx.save_for_backward(logp, labels)
        return -logp.gather(1, labels[:, None]).squeeze(1)

    @staticmethod
    def backward(ctx, grad_output):
        logp, labels = ctx.saved_tensors
        grad = logp.exp()
        grad[torch.arange(len(labels)), labels] -= 1
        return grad, None


CE_LABELS = torch.tensor([2, 0, 1, 1])


def cross_entropy_none_torch(logits):
    return CrossEntropyNone.apply(logits, CE_LABELS)


def _crf_alpha(em, tr):
    a = [em[0]]
    for t in range(1, len(em)):
        a.append(em[t] + lse(a[-1][:, None] + tr, axis=0))
    return np.array(a)


def crf_log_z(em, tr):
    return lse(_crf_alpha(em, tr)[-1])


def crf_log_z_bw(g, em, tr):
    T = len(em)
    alpha = _crf_alpha(em, tr)
    beta = np.zeros_like(em)
    for t in range(T - 2, -1, -1):
        beta[t] = lse(tr + (em[t + 1] + beta[t + 1])[None, :], axis=1)
    logZ = lse(alpha[-1])
    dem = g * np.exp(alpha + beta - logZ)
    dtr = np.zeros_like(tr)
    for t in range(T - 1):
        dtr += np.exp(alpha[t][:, None] + tr + (em[t + 1] + beta[t + 1])[None, :] - logZ)
    return dem, dtr


# ------------------------------------------------------------------ not-linear-in-upstream
def char_rnn(xs, Wxh, Whh):
    h, hs = np.zeros(Whh.shape[0]), []
    for x in xs:
        h = np.tanh(x @ Wxh + h @ Whh)
        hs.append(h)
    return np.array(hs)


def char_rnn_bw(ghs, xs, Wxh, Whh):
    hs = char_rnn(xs, Wxh, Whh)
    dxs, dWxh, dWhh = np.zeros_like(xs), np.zeros_like(Wxh), np.zeros_like(Whh)
    dhnext = np.zeros(Whh.shape[0])
    for t in reversed(range(len(xs))):
        dz = (1 - hs[t] ** 2) * (ghs[t] + dhnext)
        dxs[t] = dz @ Wxh.T
        dWxh += np.outer(xs[t], dz)
        if t > 0:
            dWhh += np.outer(hs[t - 1], dz)
        dhnext = dz @ Whh.T
    for dparam in [dWxh, dWhh]:
        np.clip(dparam, -0.5, 0.5, out=dparam)  # mitigate exploding gradients
    return dxs, dWxh, dWhh


def affine(x, W, b):
    return x @ W + b


def affine_bw_decay(g, x, W, b, reg=0.1):
    dx = g @ W.T
    dW = x.T @ g + reg * W
    db = g.sum(axis=0)
    return dx, dW, db


def dense_relu(x, W):
    return np.maximum(x @ W, 0)


def dense_relu_bw_guided(g, x, W):
    dz = np.array(g, copy=True)
    dz[dz <= 0] = 0
    return dz @ W.T, x.T @ dz


def sigmoid_map(x):
    return sigmoid(x)


def sigmoid_map_bw(dy, x):
    s = sigmoid(dy)
    return dy * s * (1 - s)


# ------------------------------------------------------------------ sign-flipped
def sq_dists(X, Y):
    return ((X[:, None, :] - Y[None, :, :]) ** 2).sum(-1)


def sq_dists_bw(g, X, Y):
    diff = 2 * (X[:, None, :] - Y[None, :, :]) * g[:, :, None]
    return diff.sum(axis=1), diff.sum(axis=0)


def gauss_nll(mu, logvar, x):
    return 0.5 * (logvar + (x - mu) ** 2 * np.exp(-logvar))


def gauss_nll_bw(g, mu, logvar, x):
    iv = np.exp(-logvar)
    r = x - mu
    return -g * r * iv, g * 0.5 * (r**2 * iv - 1), g * r * iv


def mvn_logpdf(x, mu, cov):
    r = x - mu
    return -0.5 * (np.sum(r * np.linalg.solve(cov, r.T).T, axis=1) + np.linalg.slogdet(cov)[1] + len(mu) * np.log(2 * np.pi))


def mvn_logpdf_bw(g, x, mu, cov):
    P = np.linalg.inv(cov)
    r = x - mu
    a = r @ P.T  # rows: P r_n
    b = r @ P  # rows: P^T r_n
    dr = -0.5 * g[:, None] * (a + b)
    dcov = -0.5 * np.einsum("n,ni,nj->ij", g, b, a) + 0.5 * g.sum() * P.T
    return dr, -dr.sum(axis=0), dcov


def gated_unit(x, h, Wz, Wn):
    xh = np.concatenate([x, h], axis=1)
    z = sigmoid(xh @ Wz)
    n = np.tanh(xh @ Wn)
    return (1 - z) * n + z * h


def gated_unit_bw(g, x, h, Wz, Wn):
    xh = np.concatenate([x, h], axis=1)
    z = sigmoid(xh @ Wz)
    n = np.tanh(xh @ Wn)
    daz = g * (n - h) * z * (1 - z)
    dan = g * (1 - z) * (1 - n**2)
    dxh = daz @ Wz.T + dan @ Wn.T
    d = x.shape[1]
    return dxh[:, :d], dxh[:, d:] + g * z, xh.T @ daz, xh.T @ dan


# ------------------------------------------------------------------ wrong-scale
def affine_bw_meanbias(g, x, W, b):
    return g @ W.T, x.T @ g, g.mean(axis=0)


def sdpa_bw_noscale(do, q, k, v):
    p = softmax(q @ k.T / np.sqrt(q.shape[-1]))
    dv = p.T @ do
    dp = do @ v.T
    ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True))
    dq = ds @ k
    dk = ds.T @ q
    return dq, dk, dv


MSE_T = rnd(801, 4, 2)


def mlp_mse(x, W1, W2):
    return np.mean((np.tanh(x @ W1) @ W2 - MSE_T) ** 2)


def mlp_mse_bw(g, x, W1, W2):
    h = np.tanh(x @ W1)
    out = h @ W2
    dout = g * (out - MSE_T) / MSE_T.size
    dz = dout @ W2.T * (1 - h**2)
    return dz @ W1.T, x.T @ dz, h.T @ dout


def mean_axis(x):
    return np.mean(x, axis=1)


def mean_axis_bw(g, x):
    return np.broadcast_to(g[:, None, :], x.shape) / x.size


KD_TEACHER = softmax(rnd(802, 4, 5))


def kd_kl(z, T=2.5):
    logq = z / T - lse(z / T)[:, None]
    return np.sum(KD_TEACHER * (np.log(KD_TEACHER) - logq)) / len(z)


def kd_kl_bw(g, z, T=2.5):
    q = softmax(z / T)
    return g * (q - KD_TEACHER) / len(z)


# ------------------------------------------------------------------ missing-factor
class TwoLayerNet:
    def __init__(self, seed=0, d_in=4, d_h=5, d_out=2):
        r = np.random.default_rng(seed)
        self.params = {
            "W1": r.normal(size=(d_in, d_h)) * 0.6,
            "b1": r.normal(size=d_h) * 0.3,
            "W2": r.normal(size=(d_h, d_out)),
            "b2": r.normal(size=d_out),
        }
        self.grads = {}

    def forward(self, x):
        p = self.params
        self.x = x
        self.a1 = np.tanh(x @ p["W1"] + p["b1"])
        return self.a1 @ p["W2"] + p["b2"]

    def backward(self, dout):
        p = self.params
        self.grads["W2"] = self.a1.T @ dout
        self.grads["b2"] = dout.sum(axis=0)
        da1 = dout @ p["W2"].T
        self.grads["W1"] = self.x.T @ da1
        self.grads["b1"] = da1.sum(axis=0)
        return da1 @ p["W1"].T


def batch_norm(x, gamma, beta, eps=1e-5):
    return gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + eps) + beta


def batch_norm_bw_nogamma(dout, x, gamma, beta, eps=1e-5):
    N = x.shape[0]
    istd = 1 / np.sqrt(x.var(0) + eps)
    xhat = (x - x.mean(0)) * istd
    dbeta = dout.sum(0)
    dgamma = (dout * xhat).sum(0)
    dx = istd / N * (N * dout - dbeta - xhat * dgamma)
    return dx, dgamma, dbeta


def lstm_cell(x, h, c, W, b):
    n = h.shape[1]
    a = np.concatenate([x, h], axis=1) @ W + b
    i, f, o, u = sigmoid(a[:, :n]), sigmoid(a[:, n : 2 * n]), sigmoid(a[:, 2 * n : 3 * n]), np.tanh(a[:, 3 * n :])
    c_next = f * c + i * u
    return o * np.tanh(c_next), c_next


def lstm_cell_bw_forget(upstream, x, h, c, W, b):
    dh_next, dc_next = upstream
    n = h.shape[1]
    xh = np.concatenate([x, h], axis=1)
    a = xh @ W + b
    i, f, o, u = sigmoid(a[:, :n]), sigmoid(a[:, n : 2 * n]), sigmoid(a[:, 2 * n : 3 * n]), np.tanh(a[:, 3 * n :])
    tc = np.tanh(f * c + i * u)
    dc = dc_next + dh_next * o * (1 - tc**2)
    do = dh_next * tc * o * (1 - o)
    di = dc * u * i * (1 - i)
    df = dc * c
    du = dc * i * (1 - u**2)
    da = np.concatenate([di, df, do, du], axis=1)
    dxh = da @ W.T
    d = x.shape[1]
    return dxh[:, :d], dxh[:, d:], dc * f, xh.T @ da, da.sum(axis=0)


SEG = np.array([0, 2, 1, 2, 2, 0, 3])
SEG_COUNT = np.bincount(SEG)


def segment_mean(x):
    y = np.zeros((4, x.shape[1]))
    np.add.at(y, SEG, x)
    return y / SEG_COUNT[:, None]


def segment_mean_bw(g, x):
    return g[SEG]


CLASS_W = np.array([0.3, 1.0, 2.2])


def weighted_ce(logits, labels):
    n = np.arange(len(labels))
    return np.sum(CLASS_W[labels] * (lse(logits) - logits[n, labels])) / len(labels)


def weighted_ce_bw(g, logits, labels):
    d = softmax(logits)
    d[np.arange(len(labels)), labels] -= 1.0
    return g * d / len(labels), None


# ------------------------------------------------------------------ derivative-at-wrong-point
class SigmoidLayer:
    def forward(self, x):
        self.cache = x
        return 1 / (1 + np.exp(-x))

    def backward(self, grad):
        s = self.cache
        return grad * s * (1 - s)


@jax.custom_vjp
def _tanh_dense(x, W):
    return jnp.tanh(x @ W)


def _tanh_dense_fwd(x, W):
    z = x @ W
    return jnp.tanh(z), (x, W, z)


def _tanh_dense_bwd(res, g):
    x, W, z = res
    dz = g * (1 - z**2)
    return dz @ W.T, x.T @ dz


_tanh_dense.defvjp(_tanh_dense_fwd, _tanh_dense_bwd)


def tanh_dense_jax(x, W):
    return _tanh_dense(x, W)


def lstm_cell_bw_tanhc(upstream, x, h, c, W, b):
    gh, gc = upstream
    n, d = h.shape[1], x.shape[1]
    xh = np.hstack([x, h])
    a = xh @ W + b
    i, f, o, u = sigmoid(a[:, :n]), sigmoid(a[:, n : 2 * n]), sigmoid(a[:, 2 * n : 3 * n]), np.tanh(a[:, 3 * n :])
    c_next = f * c + i * u
    dc = gc + gh * o * (1 - c_next**2)
    da = np.hstack([dc * u * i * (1 - i), dc * c * f * (1 - f), gh * np.tanh(c_next) * o * (1 - o), dc * i * (1 - u**2)])
    dxh = da @ W.T
    return dxh[:, :d], dxh[:, d:], dc * f, xh.T @ da, da.sum(0)


def pendulum_step(q, p, dt=0.6, k=2.0):
    q1 = q + dt * p
    return q1, p - dt * k * np.sin(q1)


def pendulum_step_bw(upstream, q, p, dt=0.6, k=2.0):
    gq, gp = upstream
    dq1 = gq - gp * dt * k * np.cos(q)
    return dq1, gp + dt * dq1


# ------------------------------------------------------------------ wrong-axis
def softmax_cols(z):
    return softmax(z, axis=0)


def softmax_cols_bw(g, z):
    h = softmax(z, axis=0)
    return h * (g - (g * h).sum(axis=1, keepdims=True))


def batched_attention(q, k, v):
    return softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])) @ v


def batched_attention_bw(do, q, k, v):
    s = 1 / np.sqrt(q.shape[-1])
    P = softmax(q @ k.transpose(0, 2, 1) * s)
    dV = P.transpose(0, 2, 1) @ do
    dP = do @ v.transpose(0, 2, 1)
    D = (dP * P).sum(axis=-2, keepdims=True)
    dS = P * (dP - D)
    return dS @ k * s, dS.transpose(0, 2, 1) @ q * s, dV


def layer_norm(x, gamma, beta, eps=1e-5):
    return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) + beta


def layer_norm_bw_axis(g, x, gamma, beta, eps=1e-5):
    istd = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    xhat = (x - x.mean(-1, keepdims=True)) * istd
    dxh = g * gamma
    dx = istd * (dxh - dxh.mean(1, keepdims=True) - xhat * (dxh * xhat).mean(1, keepdims=True))
    return dx, (g * xhat).sum((0, 1)), g.sum((0, 1))


def seg_log_softmax(z):
    return z - np.expand_dims(lse(z, axis=1), 1)


def seg_log_softmax_bw(g, z):
    return g - softmax(z, axis=1) * g.sum(axis=-1, keepdims=True)


# ------------------------------------------------------------------ missing-broadcast-sum
def dense_sigmoid(x, W, b):
    return sigmoid(x @ W + b)


def dense_sigmoid_bw(g, x, W, b):
    a = sigmoid(x @ W + b)
    dZ = g * a * (1 - a)
    dW = x.T @ dZ
    db = dZ
    return dZ @ W.T, dW, db


def add_positions(tok, pos):
    return np.tanh(tok + pos)


def add_positions_bw(g, tok, pos):
    d = g * (1 - np.tanh(tok + pos) ** 2)
    return d, d[0]


def polyval(x, c):
    return np.vander(x, len(c), increasing=True) @ c


def polyval_bw(g, x, c):
    V = np.vander(x, len(c), increasing=True)
    dx = g * (V[:, :-1] @ (c[1:] * np.arange(1, len(c))))
    dc = g[:, None] * V
    return dx, dc


def conv2d_valid(x, w, b):
    N, C, H, Wd = x.shape
    F, _, kh, kw = w.shape
    y = np.zeros((N, F, H - kh + 1, Wd - kw + 1), x.dtype)
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            y[:, :, i, j] = np.tensordot(x[:, :, i : i + kh, j : j + kw], w, axes=([1, 2, 3], [1, 2, 3])) + b
    return y


def conv2d_valid_bw_bias(g, x, w, b):
    F, _, kh, kw = w.shape
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i in range(g.shape[2]):
        for j in range(g.shape[3]):
            dx[:, :, i : i + kh, j : j + kw] += np.tensordot(g[:, :, i, j], w, axes=(1, 0))
            dw += np.tensordot(g[:, :, i, j], x[:, :, i : i + kh, j : j + kw], axes=(0, 0))
    db = g.sum(axis=(2, 3))
    return dx, dw, db


# ------------------------------------------------------------------ missing-batch-coupling
def dense_bn_relu(x, W, gamma, beta):
    z = x @ W
    return np.maximum(0, gamma * (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) + beta)


def dense_bn_relu_bw(g, x, W, gamma, beta):
    z = x @ W
    istd = 1 / np.sqrt(z.var(0) + 1e-5)
    zhat = (z - z.mean(0)) * istd
    dy = g * (gamma * zhat + beta > 0)
    dgamma, dbeta = (dy * zhat).sum(0), dy.sum(0)
    dz = dy * gamma * istd
    return dz @ W.T, x.T @ dz, dgamma, dbeta


class BatchNorm2d:
    def __init__(self, c):
        self.params = {"gamma": uni(1301, 0.5, 2, c), "beta": rnd(1302, c)}
        self.grads = {"gamma": np.zeros(c), "beta": np.zeros(c)}

    def forward(self, x):
        self.std = np.sqrt(x.var(axis=(0, 2, 3), keepdims=True) + 1e-5)
        self.xn = (x - x.mean(axis=(0, 2, 3), keepdims=True)) / self.std
        return self.params["gamma"][:, None, None] * self.xn + self.params["beta"][:, None, None]

    def backward(self, g):
        self.grads["gamma"] = np.sum(g * self.xn, axis=(0, 2, 3))
        self.grads["beta"] = np.sum(g, axis=(0, 2, 3))
        d = g * self.params["gamma"][:, None, None]
        return d / self.std


def inbatch_nce(q, k, tau=0.7):
    s = q @ k.T / tau
    return lse(s) - np.diag(s)


def inbatch_nce_bw(g, q, k, tau=0.7):
    p = softmax(q @ k.T / tau)
    ds = g[:, None] * (p - np.eye(len(q))) / tau
    dq = ds @ k
    dk = np.diag(ds)[:, None] * q  # each key with its own query
    return dq, dk


def centre_batch(x):
    return np.tanh(x - x.mean(axis=0))


def centre_batch_bw(g, x):
    t = np.tanh(x - x.mean(axis=0))
    d = g * (1 - t**2)
    return d


# ------------------------------------------------------------------ spurious-batch-coupling
def layer_norm_plain(x):
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)


def layer_norm_plain_bw(g, x):
    rstd = 1 / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    xhat = (x - x.mean(1, keepdims=True)) * rstd
    c1 = np.mean(xhat * g)
    c2 = np.mean(g)
    return (g - (xhat * c1 + c2)) * rstd


def temp_softmax(z, T=0.5):
    return softmax(z / T)


def temp_softmax_bw(g, z, T=0.5):
    h = softmax(z / T)
    return h * (g - np.sum(g * h)) / T


def mlp(x, W1, W2):
    return np.tanh(x @ W1) @ W2


def mlp_bw_meandelta(g, x, W1, W2):
    h = np.tanh(x @ W1)
    dW2 = h.T @ g
    delta = np.mean(g @ W2.T, axis=0)
    dz = delta * (1 - h**2)
    return dz @ W1.T, x.T @ dz, dW2


def bmm(A, B):
    return np.einsum("bij,bjk->bik", A, B)


def bmm_bw(g, A, B):
    dA = np.einsum("bik,bjk->bij", g, B)
    dB = np.einsum("bij,bik->jk", A, g) + np.zeros_like(B)
    return dA, dB


# ------------------------------------------------------------------ missing-accumulation
def embed(E, idx):
    return E[idx]


def embed_bw(g, E, idx):
    dE = np.zeros_like(E)
    dE[idx] += g
    return dE, None


def highway(x, Wh, Wt):
    t = sigmoid(x @ Wt - 0.5)
    return t * np.tanh(x @ Wh) + (1 - t) * x


def highway_bw(g, x, Wh, Wt):
    t, h = sigmoid(x @ Wt - 0.5), np.tanh(x @ Wh)
    dzh = g * t * (1 - h**2)
    dzt = g * (h - x) * t * (1 - t)
    dx = dzh @ Wh.T + dzt @ Wt.T
    return dx, x.T @ dzh, x.T @ dzt


def self_attention(x, Wq, Wk, Wv):
    q, k, v = x @ Wq, x @ Wk, x @ Wv
    return softmax(q @ k.T / np.sqrt(q.shape[1])) @ v


def self_attention_bw(g, x, Wq, Wk, Wv):
    q, k, v = x @ Wq, x @ Wk, x @ Wv
    s = 1 / np.sqrt(q.shape[1])
    p = softmax(q @ k.T * s)
    dp = g @ v.T
    ds = p * (dp - (dp * p).sum(1, keepdims=True)) * s
    grads = {}
    dx = np.zeros_like(x)
    for name, W, d in (("q", Wq, ds @ k), ("k", Wk, ds.T @ q), ("v", Wv, p.T @ g)):
        grads[name] = x.T @ d
        dx = d @ W.T
    return dx, grads["q"], grads["k"], grads["v"]


def rnn_seq(xs, Wx, Wh):
    h = np.zeros((xs.shape[1], Wh.shape[0]))
    for x in xs:
        h = np.tanh(x @ Wx + h @ Wh)
    return h


def rnn_seq_bw(g, xs, Wx, Wh):
    hs = [np.zeros((xs.shape[1], Wh.shape[0]))]
    for x in xs:
        hs.append(np.tanh(x @ Wx + hs[-1] @ Wh))
    dxs, dWx, dWh = np.zeros_like(xs), np.zeros_like(Wx), np.zeros_like(Wh)
    dh = g
    for t in range(len(xs) - 1, -1, -1):
        dz = dh * (1 - hs[t + 1] ** 2)
        dxs[t] = dz @ Wx.T
        dWx += xs[t].T @ dz
        if t > 0:
            dWh = hs[t].T @ dz
        dh = dz @ Wh.T
    return dxs, dWx, dWh


def conv2d_nobias(x, w):
    return conv2d_valid(x, w, np.zeros(w.shape[0]))


def conv2d_nobias_bw(g, x, w):
    kh, kw = w.shape[2:]
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i in range(g.shape[2]):
        for j in range(g.shape[3]):
            dw += np.tensordot(g[:, :, i, j], x[:, :, i : i + kh, j : j + kw], axes=(0, 0))
            dx[:, :, i : i + kh, j : j + kw] = np.tensordot(g[:, :, i, j], w, axes=(1, 0))
    return dx, dw


def quadratic_form(x, A):
    return x @ A @ x


def quadratic_form_bw(g, x, A):
    return g * (A @ x), g * np.outer(x, x)


# ------------------------------------------------------------------ stale-state
class TanhOnce:
    def __init__(self):
        self.y = None

    def forward(self, x):
        y = np.tanh(x)
        if self.y is None:
            self.y = y
        return y

    def backward(self, g):
        return g * (1 - self.y**2)


class DenseTape:
    def __init__(self):
        self.params = {"W": rnd(1601, 3, 4), "b": rnd(1602, 4)}
        self.grads = {}
        self.tape = []

    def forward(self, x):
        y = sigmoid(x @ self.params["W"] + self.params["b"])
        self.tape.append((x.copy(), y))
        return y

    def backward(self, g):
        x, y = self.tape[0]
        dz = g * y * (1 - y)
        self.grads["W"] = x.T @ dz
        self.grads["b"] = dz.sum(axis=0)
        return dz @ self.params["W"].T


class MaxPool1d:
    def __init__(self, k):
        self.k, self.winners = k, {}

    def forward(self, x):
        xr = x.reshape(x.shape[0], -1, self.k)
        if x.shape not in self.winners:  # do not recompute for the same shape
            self.winners[x.shape] = xr.argmax(axis=2)
        self.shape = x.shape
        return xr.max(axis=2)

    def backward(self, g):
        d = np.zeros((self.shape[0], self.shape[1] // self.k, self.k))
        np.put_along_axis(d, self.winners[self.shape][:, :, None], g[:, :, None], axis=2)
        return d.reshape(self.shape)


class SoftmaxDoubleBuffer:
    def __init__(self):
        self.buf, self.i = [None, None], 0

    def forward(self, x):
        h = softmax(x)
        self.i = 1 - self.i
        self.buf[self.i] = h
        if self.buf[1 - self.i] is None:
            self.buf[1 - self.i] = h
        return h

    def backward(self, g):
        h = self.buf[1 - self.i]
        return h * (g - (g * h).sum(axis=-1, keepdims=True))


# ------------------------------------------------------------------ input-mutated
def softmax_inplace(x):
    x -= x.max(axis=1, keepdims=True)
    e = np.exp(x)
    return e / e.sum(axis=1, keepdims=True)


def softmax_inplace_bw(g, x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    h = e / e.sum(axis=1, keepdims=True)
    return h * (g - (g * h).sum(axis=1, keepdims=True))


def dense_relu_bw_inplace(dout, x, W):
    z = x @ W
    dz = dout
    dz[z <= 0] = 0
    return dz @ W.T, x.T @ dz


class LeakyReLUFn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x > 0, x, 0.2 * x)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        grad_output[x <= 0] *= 0.2
        return grad_output


def leaky_relu_torch(x):
    return LeakyReLUFn.apply(x)


def affine_bw_sgd(g, x, W, b, lr=0.05):
    dx = g @ W.T
    dW = x.T @ g
    db = g.sum(axis=0)
    W -= lr * dW
    b -= lr * db
    return dx, dW, db


# ------------------------------------------------------------------ nondeterministic
class Dropout:
    def __init__(self, p=0.5):
        self.p = p

    def forward(self, x):
        self.mask = (np.random.rand(*x.shape) > self.p) / (1 - self.p)
        return x * self.mask

    def backward(self, g):
        return g * self.mask


def reparameterize(mu, logvar):
    eps = np.random.default_rng().normal(size=mu.shape)
    return mu + np.exp(0.5 * logvar) * eps


def reparameterize_bw(g, mu, logvar):
    eps = np.random.default_rng().normal(size=mu.shape)
    return g, g * 0.5 * np.exp(0.5 * logvar) * eps


SS_LABELS = np.array([4, 0, 2])


def full_ce(z):
    return np.mean(lse(z) - z[np.arange(3), SS_LABELS])


def full_ce_bw_sampled(g, z, n_neg=3):
    d = np.zeros_like(z)
    p = softmax(z)
    for i, y in enumerate(SS_LABELS):
        neg = np.random.choice([c for c in range(z.shape[1]) if c != y], n_neg, replace=False)
        d[i, neg] = p[i, neg] * (z.shape[1] - 1) / n_neg
        d[i, y] = p[i, y] - 1
    return g * d / len(z)


def _filled(module, seed):
    r = np.random.default_rng(seed)
    module = module.double()
    with torch.no_grad():
        for prm in module.parameters():
            prm.copy_(torch.from_numpy(r.normal(size=tuple(prm.shape)) * 0.7))
    return module


torch_mlp_dropout = _filled(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.4), nn.Linear(5, 2)), 1801)


# ------------------------------------------------------------------ wrong-at-some-entries
def ce_ignore(logits, labels, ignore=-100):
    keep = labels != ignore
    safe = np.where(keep, labels, 0)
    nll = lse(logits) - logits[np.arange(len(labels)), safe]
    return (nll * keep).sum() / keep.sum()


def ce_ignore_bw(g, logits, labels, ignore=-100):
    keep = labels != ignore
    d = softmax(logits)
    rows = np.where(keep)[0]
    d[rows, labels[rows]] -= 1
    return g * d / keep.sum(), None


def huber(pred, target, delta=0.8):
    d = pred - target
    return np.where(np.abs(d) < delta, 0.5 * d**2, delta * (np.abs(d) - 0.5 * delta))


def huber_bw(g, pred, target, delta=0.8):
    d = pred - target
    dd = g * np.where(d < delta, d, delta * np.sign(d))
    return dd, -dd


def avg_pool1d_ceil(x, k=3):
    n_out = -(-x.shape[1] // k)
    return np.stack([x[:, i * k : (i + 1) * k].mean(axis=1) for i in range(n_out)], axis=1)


def avg_pool1d_ceil_bw(g, x, k=3):
    return np.repeat(g / k, k, axis=1)[:, : x.shape[1]]


EXPONENTS = np.array([2, 0, 3, 1, 0, 2, 4, 1])


def power(x):
    return x**EXPONENTS


def power_bw(g, x):
    n = EXPONENTS
    return g * np.where(n == 0, np.ones_like(x), n * x ** np.maximum(n - 1, 0))


def diffusion_step(u, a=0.3):
    up = np.pad(u, ((0, 0), (1, 1)), mode="edge")
    return u + a * (up[:, :-2] - 2 * u + up[:, 2:])


def diffusion_step_bw(g, u, a=0.3):
    gp = np.pad(g, ((0, 0), (1, 1)))
    return g + a * (gp[:, :-2] - 2 * g + gp[:, 2:])


# ------------------------------------------------------------------ wrong-shape
def affine_bw_dwt(g, x, W, b):
    return g @ W.T, g.T @ x, g.sum(axis=0)


def conv2d_same(x, w):
    return conv2d_nobias(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), w)


def conv2d_same_bw(g, x, w):
    xp = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(g.shape[2]):
        for j in range(g.shape[3]):
            dw += np.tensordot(g[:, :, i, j], xp[:, :, i : i + 3, j : j + 3], axes=(0, 0))
            dxp[:, :, i : i + 3, j : j + 3] += np.tensordot(g[:, :, i, j], w, axes=(1, 0))
    return dxp, dw


def flatten_dense(x, W):
    return x.reshape(len(x), -1) @ W


def flatten_dense_bw(g, x, W):
    flat = x.reshape(len(x), -1)
    dflat = g @ W.T
    return dflat, flat.T @ g


TOKENS = np.array([5, 1, 3, 0])


def word_vectors(E):
    return np.tanh(E[TOKENS])


def word_vectors_bw(g, E):
    return g * (1 - np.tanh(E[TOKENS]) ** 2)


# ------------------------------------------------------------------ wrong-dtype
def max_pool2d(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))


def max_pool2d_bw(g, x):
    n, c, h, w = x.shape
    dx = np.zeros(x.shape, dtype=np.float32)
    for i in range(h // 2):
        for j in range(w // 2):
            win = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            top = win == win.max(axis=(2, 3), keepdims=True)
            dx[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] += top * g[:, :, i, j][:, :, None, None]
    return dx


def circular_conv(x, k):
    return np.fft.ifft(np.fft.fft(x) * np.fft.fft(k)).real


def circular_conv_bw(g, x, k):
    G = np.fft.fft(g)
    dx = np.fft.ifft(G * np.conj(np.fft.fft(k)))
    dk = np.fft.ifft(G * np.conj(np.fft.fft(x)))
    return dx, dk


def top2(x):
    idx = np.argsort(-x, axis=1)[:, :2]
    return np.take_along_axis(x, idx, axis=1)


def top2_bw(g, x):
    idx = np.argsort(-x, axis=1)[:, :2]
    dx = np.zeros(x.shape, dtype=idx.dtype)
    for r in range(len(x)):
        dx[r, idx[r]] = g[r]
    return dx


def glu(a, b):
    return a * sigmoid(b)


def glu_bw(g, a, b):
    s = sigmoid(b)
    da = g * s
    db = g * a * s * (1 - s)
    return da.astype(np.float16), db.astype(np.float16)


# ------------------------------------------------------------------ non-finite
def cumprod(x):
    return np.cumprod(x, axis=1)


def cumprod_bw(g, x):
    with np.errstate(all="ignore"):
        y = np.cumprod(x, axis=1)
        return np.flip(np.cumsum(np.flip(g * y, 1), axis=1), 1) / x


def safe_sqrt_jax(x):
    return jnp.where(x > 0, jnp.sqrt(x), 0.5 * x)


def logsumexp(x):
    return lse(x)


def logsumexp_bw(g, x):
    with np.errstate(all="ignore"):
        e = np.exp(x)
        return g[:, None] * e / e.sum(axis=1, keepdims=True)


class BinaryFocal:
    """focal loss for positives from the logit, gamma = 2"""

    def forward(self, z):
        self.z = z
        logp = -np.logaddexp(np.zeros_like(z), -z)
        self.p = np.exp(logp)
        return -((1 - self.p) ** 2) * logp

    def backward(self, g):
        p = self.p
        with np.errstate(all="ignore"):
            return g * (1 - p) ** 2 * (2 * p * np.log(p) - (1 - p))


# ------------------------------------------------------------------ zero-gradient
class DetachedLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(4, 3)

    def forward(self, x):
        feats = x.detach().clone()
        return torch.tanh(self.lin(feats))


def cosine_stop_jax(p, z):
    p = jax.lax.stop_gradient(p)
    pn = p / jnp.linalg.norm(p, axis=1, keepdims=True)
    zn = z / jnp.linalg.norm(z, axis=1, keepdims=True)
    return 2 - 2 * jnp.mean(jnp.sum(pn * zn, axis=1))


def gru_cell(x, h, Wz, Wr, Wn):
    xh = np.concatenate([x, h], 1)
    z, r = sigmoid(xh @ Wz), sigmoid(xh @ Wr)
    n = np.tanh(np.concatenate([x, r * h], 1) @ Wn)
    return (1 - z) * n + z * h


def gru_cell_bw(g, x, h, Wz, Wr, Wn):
    d = x.shape[1]
    xh = np.concatenate([x, h], 1)
    z, r = sigmoid(xh @ Wz), sigmoid(xh @ Wr)
    xrh = np.concatenate([x, r * h], 1)
    n = np.tanh(xrh @ Wn)
    dn = g * (1 - z) * (1 - n**2)
    dz = g * (h - n) * z * (1 - z)
    dxrh = dn @ Wn.T
    dr = dxrh[:, d:] * h * r * (1 - r)
    dxh = dz @ Wz.T + dr @ Wr.T
    dx = dxh[:, :d] + dxrh[:, :d]
    dh = np.zeros_like(h)
    return dx, dh, xh.T @ dz, xh.T @ dr, xrh.T @ dn


CHARGES = np.array([1.0, -2.0, 0.7, 1.5])


def coulomb(pos):
    e = 0.0
    for i in range(len(pos)):
        for j in range(i):
            e += CHARGES[i] * CHARGES[j] / np.linalg.norm(pos[i] - pos[j])
    return np.asarray(e)


def coulomb_bw(g, pos):
    grad = np.zeros_like(pos)
    for i, gi in enumerate(grad):
        for j in range(len(pos)):
            if i != j:
                r = pos[i] - pos[j]
                gi = gi - g * CHARGES[i] * CHARGES[j] * r / np.linalg.norm(r) ** 3
    return grad


# ------------------------------------------------------------------ fused-twice
def smooth_ce(z, labels, eps=0.1):
    t = np.full(z.shape, eps / z.shape[1])
    t[np.arange(len(labels)), labels] += 1 - eps
    return -np.sum(t * (z - lse(z)[:, None])) / len(z)


def smooth_ce_bw(g, z, labels, eps=0.1):
    t = np.full(z.shape, eps / z.shape[1])
    t[np.arange(len(labels)), labels] += 1 - eps
    h = softmax(z)
    dloss = g * (h - t) / len(z)
    return h * (dloss - (dloss * h).sum(axis=1, keepdims=True)), None


NLL_T = np.eye(3)[[2, 0, 1, 2]]


def nll_probs(h):
    return -np.sum(NLL_T * np.log(h), axis=1)


def nll_probs_bw(g, h):
    return g[:, None] * (h - NLL_T)


def classifier_loss(x, W1, W2, labels):
    z = np.tanh(x @ W1) @ W2
    return np.mean(lse(z) - z[np.arange(len(labels)), labels])


def classifier_loss_bw(g, x, W1, W2, labels):
    a = np.tanh(x @ W1)
    h = softmax(a @ W2)
    delta = h.copy()
    delta[np.arange(len(labels)), labels] -= 1
    delta *= g / len(labels)
    dz2 = np.empty_like(delta)
    for n in range(len(x)):
        dz2[n] = (np.diag(h[n]) - np.outer(h[n], h[n])) @ delta[n]
    dz1 = dz2 @ W2.T * (1 - a**2)
    return dz1 @ W1.T, x.T @ dz1, a.T @ dz2, None


BCE_T = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


class BCEWithLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        p = torch.sigmoid(z)
        ctx.save_for_backward(p)
        return -(BCE_T * torch.log(p) + (1 - BCE_T) * torch.log(1 - p)).mean()

    @staticmethod
    def backward(ctx, g):
        (p,) = ctx.saved_tensors
        dp = g * (p - BCE_T) / p.numel()
        return dp * p * (1 - p)


def bce_logits_torch(z):
    return BCEWithLogits.apply(z)


# ------------------------------------------------------------------ swapped-gradients
def outer(u, v):
    return np.outer(u, v)


def outer_bw(g, u, v):
    return g.T @ u, g @ v


def lstm_cell_bw_swapped(upstream, x, h, c, W, b):
    gh, gc = upstream
    d = x.shape[1]
    xh = np.hstack([x, h])
    i, f, o, u = np.split(xh @ W + b, 4, axis=1)
    i, f, o, u = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(u)
    tc = np.tanh(f * c + i * u)
    dc = gc + gh * o * (1 - tc * tc)
    da = np.hstack([dc * u * i * (1 - i), dc * c * f * (1 - f), gh * tc * o * (1 - o), dc * i * (1 - u * u)])
    dxh = da @ W.T
    dx, dh_prev, dc_prev = dxh[:, :d], dxh[:, d:], dc * f
    return dx, dc_prev, dh_prev, xh.T @ da, da.sum(axis=0)


def bilinear_score(u, W, v):
    return np.einsum("ni,ij,nj->n", u, W, v)


def bilinear_score_bw(g, u, W, v):
    return g[:, None] * (u @ W), np.einsum("n,ni,nj->ij", g, u, v), g[:, None] * (v @ W.T)


def triplet(a, p, n, margin=1.0):
    return np.mean(np.maximum(0, ((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1) + margin))


def triplet_bw(g, a, p, n, margin=1.0):
    active = ((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1) + margin > 0
    k = g * 2 * active[:, None] / len(a)
    da = k * (n - p)
    dn = k * (a - n)
    dp = k * (p - a)
    return da, dn, dp


# ------------------------------------------------------------------ unknown
def conv1d_stride2(x, w):
    n = (x.shape[1] - len(w)) // 2 + 1
    return np.stack([x[:, 2 * t : 2 * t + len(w)] @ w for t in range(n)], axis=1)


def conv1d_stride2_bw(g, x, w):
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for t in range(g.shape[1]):
        dx[:, t : t + len(w)] += g[:, t : t + 1] * w
        dw += g[:, t] @ x[:, 2 * t : 2 * t + len(w)]
    return dx, dw


FEEDBACK = rnd(2601, 2, 5)


def mlp_bw_feedback(g, x, W1, W2):
    h = np.tanh(x @ W1)
    dh = g @ FEEDBACK
    dz = dh * (1 - h**2)
    return dz @ W1.T, x.T @ dz, h.T @ g


def cholesky(A):
    return np.linalg.cholesky(0.5 * (A + A.T))


def cholesky_bw(g, A):
    L = cholesky(A)
    Phi = np.tril(L.T @ g)
    Li = np.linalg.inv(L)
    S = Li.T @ Phi @ Li
    return 0.5 * (S + S.T)


_M = rnd(2603, 3, 3)
SPD = _M @ _M.T + 2 * np.eye(3)
_C = rnd(705, 3, 3)
COV = _C @ _C.T + np.eye(3)
LSTM_IN = (rnd(901, 2, 3), rnd(902, 2, 2), rnd(903, 2, 2), rnd(904, 5, 8, scale=0.7), rnd(905, 8, scale=0.5))


CASES = [
    # missing-cross-terms
    Case(
        "attention probabilities (3-D softmax): h(1-h) only", "missing-cross-terms", attn_probs, (rnd(1, 2, 3, 4),), attn_probs_bw
    ),
    Case(
        "two-layer net with a softmax hidden layer: hidden Jacobian taken as diagonal",
        "missing-cross-terms",
        softmax_mlp,
        (rnd(2, 3, 4), rnd(3, 4, 5), rnd(4, 5, 2)),
        softmax_mlp_bw,
    ),
    Case(
        "unit vector x/|x|: derivative of each component with respect to itself only",
        "missing-cross-terms",
        unit_vector,
        (rnd(5, 6),),
        unit_vector_bw,
    ),
    Case(
        "mixture of experts: gate softmax differentiated as p(1-p)",
        "missing-cross-terms",
        moe,
        (rnd(6, 3, 4), rnd(7, 4, 3), rnd(8, 3, 4, 2)),
        moe_bw,
    ),
    Case(
        "scaled dot-product attention: ds = dp p (1-p)",
        "missing-cross-terms",
        sdpa,
        (rnd(9, 3, 4), rnd(10, 5, 4), rnd(11, 5, 2)),
        sdpa_bw_diag,
    ),
    # missing-normalizer-term
    Case(
        "instance norm: path through the variance left out",
        "missing-normalizer-term",
        instance_norm,
        (rnd(201, 2, 2, 2, 3),),
        instance_norm_bw,
    ),
    Case(
        "group norm: path through the mean left out",
        "missing-normalizer-term",
        group_norm,
        (rnd(202, 2, 4, 2, 2), uni(203, 0.5, 2, 4), rnd(204, 4)),
        group_norm_bw,
        input=0,
    ),
    Case(
        "weight-normalised linear: norm of v taken as constant",
        "missing-normalizer-term",
        weight_norm_linear,
        (rnd(205, 3, 4), rnd(206, 4, 5), uni(207, 0.5, 2, 5)),
        weight_norm_linear_bw,
        input=1,
    ),
    Case(
        "RMSNorm autograd.Function: dx = dout * weight * rrms",
        "missing-normalizer-term",
        rms_norm_torch,
        (torch.from_numpy(rnd(208, 2, 3, 4)), torch.from_numpy(uni(209, 0.5, 2, 4))),
        input=0,
    ),
    Case(
        "NT-Xent contrastive loss: projection of the embeddings' normalisation left out",
        "missing-normalizer-term",
        nt_xent,
        (rnd(210, 4, 5), rnd(211, 4, 5)),
        nt_xent_bw,
    ),
    # transposed
    Case(
        "RNN cell: dh = dz @ Wh",
        "transposed",
        rnn_cell,
        (rnd(301, 2, 3), rnd(302, 2, 4), rnd(303, 3, 4, scale=0.6), rnd(304, 4, 4, scale=0.6), rnd(305, 4, scale=0.3)),
        rnn_cell_bw,
        input=1,
    ),
    Case("cumsum: backward is a forward cumsum", "transposed", cumsum_rows, (rnd(306, 3, 5),), cumsum_rows_bw),
    Case("matrix inverse: -Y g Y", "transposed", inverse, (rnd(309, 3, 3) + 2 * np.eye(3),), inverse_bw),
    Case("sort: gathered with argsort instead of scattered", "transposed", sort_rows, (rnd(308, 3, 6),), sort_rows_bw),
    # rows-summed
    Case("spherical to Cartesian coordinates: g * J.sum(0)", "rows-summed", spherical, (uni(411, 0.4, 1.3, 4, 3),), spherical_bw),
    Case("log-softmax: g * jacobian.sum(0)", "rows-summed", log_softmax, (rnd(412, 3, 4),), log_softmax_bw_rows),
    Case(
        "tanh readout: Jacobian summed over the outputs",
        "rows-summed",
        tanh_readout,
        (rnd(413, 5, scale=0.5),),
        tanh_readout_bw,
        also=("upstream-ignored",),
    ),
    Case(
        "Lotka-Volterra right-hand side: g * J.sum(1)", "rows-summed", lotka_volterra, (uni(414, 0.3, 1.5, 4),), lotka_volterra_bw
    ),
    # upstream-ignored
    Case(
        "multiclass hinge per sample: upstream not used",
        "upstream-ignored",
        svm_hinge,
        (rnd(501, 5, 4), np.array([1, 3, 0, 2, 2])),
        svm_hinge_bw,
        input=0,
    ),
    Case(
        "log|det A| JAX custom_vjp: bwd drops the cotangent",
        "upstream-ignored",
        logabsdet_jax,
        (jnp.asarray(rnd(502, 3, 3) + 2 * np.eye(3), dtype=jnp.float32),),
    ),
    Case(
        "cross-entropy reduction=none autograd.Function: grad_output not used",
        "upstream-ignored",
        cross_entropy_none_torch,
        (torch.from_numpy(rnd(503, 4, 3)),),
    ),
    Case(
        "linear-chain CRF log partition: transition gradient not multiplied by upstream",
        "upstream-ignored",
        crf_log_z,
        (rnd(504, 4, 3), rnd(505, 3, 3)),
        crf_log_z_bw,
        input=1,
    ),
    # not-linear-in-upstream
    Case(
        "char RNN through time: weight gradients clipped inside",
        "not-linear-in-upstream",
        char_rnn,
        (rnd(601, 4, 3), rnd(602, 3, 4, scale=0.6), rnd(603, 4, 4, scale=0.5)),
        char_rnn_bw,
    ),
    Case(
        "dense: weight decay added in the backward only",
        "not-linear-in-upstream",
        affine,
        (rnd(604, 5, 3), rnd(605, 3, 4), rnd(606, 4)),
        affine_bw_decay,
        input=1,
    ),
    Case(
        "dense + ReLU: mask taken from the gradient",
        "not-linear-in-upstream",
        dense_relu,
        (rnd(607, 4, 3), rnd(608, 3, 5)),
        dense_relu_bw_guided,
    ),
    Case(
        "sigmoid (4-D): derivative evaluated at the upstream gradient",
        "not-linear-in-upstream",
        sigmoid_map,
        (rnd(609, 2, 2, 2, 3),),
        sigmoid_map_bw,
    ),
    # sign-flipped
    Case(
        "pairwise squared distances: sign of the second set",
        "sign-flipped",
        sq_dists,
        (rnd(701, 4, 3), rnd(702, 5, 3)),
        sq_dists_bw,
        input=1,
    ),
    Case(
        "Gaussian NLL: log-variance gradient negated",
        "sign-flipped",
        gauss_nll,
        (rnd(703, 3, 4), rnd(704, 3, 4, scale=0.5), rnd(706, 3, 4)),
        gauss_nll_bw,
        input=1,
    ),
    Case(
        "multivariate normal log-density: covariance gradient negated",
        "sign-flipped",
        mvn_logpdf,
        (rnd(707, 5, 3), rnd(708, 3), COV),
        mvn_logpdf_bw,
        input=2,
    ),
    Case(
        "gated recurrent unit: update gate gets n - h",
        "sign-flipped",
        gated_unit,
        (rnd(709, 2, 3), rnd(710, 2, 3), rnd(711, 6, 3, scale=0.6), rnd(712, 6, 3, scale=0.6)),
        gated_unit_bw,
    ),
    # wrong-scale
    Case(
        "dense: bias gradient averaged over the batch",
        "wrong-scale",
        affine,
        (rnd(811, 5, 3), rnd(812, 3, 4), rnd(813, 4)),
        affine_bw_meanbias,
        input=2,
        factor=1 / 5,
    ),
    Case(
        "attention: 1/sqrt(d) missing in dq, dk",
        "wrong-scale",
        sdpa,
        (rnd(814, 4, 3), rnd(815, 5, 3), rnd(816, 5, 2)),
        sdpa_bw_noscale,
        factor=float(np.sqrt(3)),
    ),
    Case(
        "tanh network with MSE: factor 2 of the square missing",
        "wrong-scale",
        mlp_mse,
        (rnd(817, 4, 3), rnd(818, 3, 5, scale=0.6), rnd(819, 5, 2)),
        mlp_mse_bw,
        factor=0.5,
    ),
    Case(
        "mean along an axis (3-D): divided by the total size",
        "wrong-scale",
        mean_axis,
        (rnd(820, 2, 3, 4),),
        mean_axis_bw,
        factor=1 / 8,
    ),
    Case("distillation KL with temperature: 1/T missing", "wrong-scale", kd_kl, (rnd(821, 4, 5),), kd_kl_bw, factor=2.5),
    # missing-factor
    Case(
        "two-layer net (object): tanh derivative of the hidden layer missing", "missing-factor", TwoLayerNet(906), (rnd(907, 3, 4),)
    ),
    Case(
        "batch norm: gamma missing in dx",
        "missing-factor",
        batch_norm,
        (rnd(908, 6, 3), np.array([0.4, 1.5, 2.3]), rnd(909, 3)),
        batch_norm_bw_nogamma,
        input=0,
    ),
    Case("LSTM cell: sigmoid derivative of the forget gate missing", "missing-factor", lstm_cell, LSTM_IN, lstm_cell_bw_forget),
    Case("segment mean: 1/count of the segment missing", "missing-factor", segment_mean, (rnd(910, 7, 3),), segment_mean_bw),
    Case(
        "class-weighted cross-entropy: class weight missing",
        "missing-factor",
        weighted_ce,
        (rnd(911, 6, 3), np.array([0, 2, 1, 1, 2, 0])),
        weighted_ce_bw,
        input=0,
    ),
    # derivative-at-wrong-point
    Case("sigmoid layer (object, 3-D): x(1-x) of the input", "derivative-at-wrong-point", SigmoidLayer(), (rnd(1001, 2, 3, 4),)),
    Case(
        "tanh dense JAX custom_vjp: 1 - z^2 of the pre-activation",
        "derivative-at-wrong-point",
        tanh_dense_jax,
        (jnp.asarray(rnd(1002, 3, 4), dtype=jnp.float32), jnp.asarray(rnd(1003, 4, 5, scale=0.5), dtype=jnp.float32)),
    ),
    Case(
        "LSTM cell: 1 - c^2 instead of 1 - tanh(c)^2",
        "derivative-at-wrong-point",
        lstm_cell,
        (rnd(1004, 2, 3), rnd(1005, 2, 2), rnd(1006, 2, 2), rnd(1007, 5, 8, scale=0.7), rnd(1008, 8, scale=0.5)),
        lstm_cell_bw_tanhc,
    ),
    Case(
        "pendulum, symplectic Euler step: cosine at the old position",
        "derivative-at-wrong-point",
        pendulum_step,
        (rnd(1009, 5), rnd(1010, 5)),
        pendulum_step_bw,
    ),
    # wrong-axis
    Case("softmax over columns: backward sums over rows", "wrong-axis", softmax_cols, (rnd(1101, 4, 3),), softmax_cols_bw),
    Case(
        "batched attention: softmax gradient summed over the queries",
        "wrong-axis",
        batched_attention,
        (rnd(1102, 2, 3, 2), rnd(1103, 2, 3, 2), rnd(1104, 2, 3, 2)),
        batched_attention_bw,
    ),
    Case(
        "layer norm (3-D): backward averages over the time axis",
        "wrong-axis",
        layer_norm,
        (rnd(1105, 2, 3, 4), uni(1106, 0.5, 2, 4), rnd(1107, 4)),
        layer_norm_bw_axis,
        input=0,
    ),
    Case(
        "pixel-wise log-softmax (N,C,H,W): sum over the last axis instead of the classes",
        "wrong-axis",
        seg_log_softmax,
        (rnd(1108, 2, 3, 2, 2),),
        seg_log_softmax_bw,
    ),
    # missing-broadcast-sum
    Case(
        "dense + sigmoid: bias gradient not summed over the batch",
        "missing-broadcast-sum",
        dense_sigmoid,
        (rnd(1201, 5, 3), rnd(1202, 3, 4), rnd(1203, 4)),
        dense_sigmoid_bw,
        input=2,
    ),
    Case(
        "positional embedding + tanh: only the first sample counted",
        "missing-broadcast-sum",
        add_positions,
        (rnd(1204, 3, 2, 4), rnd(1205, 2, 4)),
        add_positions_bw,
        input=1,
    ),
    Case(
        "polynomial: coefficient gradient kept per point",
        "missing-broadcast-sum",
        polyval,
        (uni(1206, -1.5, 1.5, 6), rnd(1207, 4)),
        polyval_bw,
        input=1,
    ),
    Case(
        "conv2d: bias gradient not summed over the batch",
        "missing-broadcast-sum",
        conv2d_valid,
        (rnd(1208, 2, 1, 4, 4), rnd(1209, 3, 1, 2, 3), rnd(1210, 3)),
        conv2d_valid_bw_bias,
        input=2,
    ),
    # missing-batch-coupling
    Case(
        "dense + batch norm + ReLU: batch statistics as constants",
        "missing-batch-coupling",
        dense_bn_relu,
        (rnd(1311, 5, 3), rnd(1312, 3, 4), uni(1313, 0.5, 2, 4), rnd(1314, 4, scale=0.3)),
        dense_bn_relu_bw,
    ),
    Case("batch norm 2d (object, 4-D): dx = gamma g / std", "missing-batch-coupling", BatchNorm2d(2), (rnd(1315, 3, 2, 2, 2),)),
    Case(
        "in-batch InfoNCE: key gradient from its own query only",
        "missing-batch-coupling",
        inbatch_nce,
        (rnd(1316, 4, 3), rnd(1317, 4, 3)),
        inbatch_nce_bw,
        input=1,
    ),
    Case(
        "batch centring + tanh: path through the batch mean left out",
        "missing-batch-coupling",
        centre_batch,
        (rnd(1318, 5, 3),),
        centre_batch_bw,
    ),
    # spurious-batch-coupling
    Case(
        "layer norm: means over the whole block",
        "spurious-batch-coupling",
        layer_norm_plain,
        (rnd(1401, 4, 5),),
        layer_norm_plain_bw,
    ),
    Case(
        "softmax with temperature: dot product over the whole array",
        "spurious-batch-coupling",
        temp_softmax,
        (rnd(1402, 3, 4, scale=0.5),),
        temp_softmax_bw,
    ),
    Case(
        "two-layer net: hidden delta averaged over the batch",
        "spurious-batch-coupling",
        mlp,
        (rnd(1403, 4, 3), rnd(1404, 3, 5, scale=0.6), rnd(1405, 5, 2)),
        mlp_bw_meandelta,
    ),
    Case(
        "batched matmul (einsum): dB summed over the batch",
        "spurious-batch-coupling",
        bmm,
        (rnd(1406, 3, 2, 3), rnd(1407, 3, 3, 2)),
        bmm_bw,
        input=1,
    ),
    # missing-accumulation
    Case(
        "embedding with repeated indices: dE[idx] += g",
        "missing-accumulation",
        embed,
        (rnd(1501, 6, 3), np.array([[1, 4, 1], [0, 4, 1]])),
        embed_bw,
        input=0,
    ),
    Case(
        "highway layer: carry path missing in dx",
        "missing-accumulation",
        highway,
        (rnd(1502, 3, 4), rnd(1503, 4, 4, scale=0.6), rnd(1504, 4, 4, scale=0.6)),
        highway_bw,
        input=0,
    ),
    Case(
        "self-attention: dx overwritten by the value path",
        "missing-accumulation",
        self_attention,
        (rnd(1505, 3, 4), rnd(1506, 4, 3), rnd(1507, 4, 3), rnd(1508, 4, 3)),
        self_attention_bw,
        input=0,
    ),
    Case(
        "RNN through time: dWh overwritten at each step",
        "missing-accumulation",
        rnn_seq,
        (rnd(1509, 4, 2, 3), rnd(1510, 3, 4, scale=0.6), rnd(1511, 4, 4, scale=0.6)),
        rnn_seq_bw,
        input=2,
    ),
    Case(
        "conv2d: overlapping windows of dx overwritten",
        "missing-accumulation",
        conv2d_nobias,
        (rnd(1512, 1, 2, 4, 5), rnd(1513, 2, 2, 2, 2)),
        conv2d_nobias_bw,
        input=0,
    ),
    Case(
        "quadratic form x'Ax: only A x",
        "missing-accumulation",
        quadratic_form,
        (rnd(1514, 5), rnd(1515, 5, 5)),
        quadratic_form_bw,
        input=0,
    ),
    # stale-state
    Case("tanh layer (object): output cached at the first forward only", "stale-state", TanhOnce(), (rnd(1603, 3, 4),)),
    Case("dense sigmoid layer (object): backward reads the first tape entry", "stale-state", DenseTape(), (rnd(1604, 4, 3),)),
    Case("max pool 1d (object): winners cached per shape", "stale-state", MaxPool1d(3), (rnd(1605, 3, 6),)),
    Case("softmax layer (object): backward reads the other buffer", "stale-state", SoftmaxDoubleBuffer(), (rnd(1606, 3, 4),)),
    # input-mutated
    Case("softmax: forward shifts its input in place", "input-mutated", softmax_inplace, (rnd(1701, 3, 4),), softmax_inplace_bw),
    Case(
        "dense + ReLU: backward masks upstream in place",
        "input-mutated",
        dense_relu,
        (rnd(1702, 4, 3), rnd(1703, 3, 5)),
        dense_relu_bw_inplace,
    ),
    Case(
        "leaky ReLU autograd.Function: grad_output scaled in place",
        "input-mutated",
        leaky_relu_torch,
        (torch.from_numpy(rnd(1704, 3, 5)),),
    ),
    Case(
        "dense: backward already takes the SGD step on W and b",
        "input-mutated",
        affine,
        (rnd(1705, 5, 3), rnd(1706, 3, 4), rnd(1707, 4)),
        affine_bw_sgd,
    ),
    # nondeterministic
    Case("dropout layer (object): unseeded mask", "nondeterministic", Dropout(0.5), (rnd(1802, 4, 5),)),
    Case(
        "VAE reparameterisation: new noise at every call",
        "nondeterministic",
        reparameterize,
        (rnd(1803, 3, 4), rnd(1804, 3, 4, scale=0.5)),
        reparameterize_bw,
    ),
    Case(
        "cross-entropy: backward with randomly sampled negatives",
        "nondeterministic",
        full_ce,
        (rnd(1805, 3, 6),),
        full_ce_bw_sampled,
    ),
    Case(
        "torch MLP module: dropout left in training mode",
        "nondeterministic",
        torch_mlp_dropout,
        (torch.from_numpy(rnd(1806, 3, 4)),),
    ),
    # wrong-at-some-entries
    Case(
        "cross-entropy with ignore_index: ignored rows get a gradient",
        "wrong-at-some-entries",
        ce_ignore,
        (rnd(1901, 6, 3), np.array([2, -100, 0, 1, -100, 1])),
        ce_ignore_bw,
        input=0,
    ),
    Case("Huber loss: branch on d instead of |d|", "wrong-at-some-entries", huber, (rnd(1902, 4, 5), rnd(1903, 4, 5)), huber_bw),
    Case(
        "average pool 1d ceil mode: last window divided by the full size",
        "wrong-at-some-entries",
        avg_pool1d_ceil,
        (rnd(1904, 2, 10),),
        avg_pool1d_ceil_bw,
    ),
    Case(
        "x ** integer exponents: derivative 1 where the exponent is 0",
        "wrong-at-some-entries",
        power,
        (uni(1905, 0.5, 2, 8),),
        power_bw,
    ),
    Case(
        "diffusion step with reflecting ends: boundary as if absorbing",
        "wrong-at-some-entries",
        diffusion_step,
        (rnd(1906, 2, 8),),
        diffusion_step_bw,
    ),
    # wrong-shape
    Case(
        "dense: dW with shape (out, in)",
        "wrong-shape",
        affine,
        (rnd(2001, 5, 3), rnd(2002, 3, 4), rnd(2003, 4)),
        affine_bw_dwt,
        input=1,
    ),
    Case(
        "conv2d same padding: dx still padded",
        "wrong-shape",
        conv2d_same,
        (rnd(2004, 1, 2, 3, 3), rnd(2005, 2, 2, 3, 3)),
        conv2d_same_bw,
        input=0,
    ),
    Case(
        "flatten + dense: dx left flat",
        "wrong-shape",
        flatten_dense,
        (rnd(2006, 2, 2, 2, 3), rnd(2007, 12, 2)),
        flatten_dense_bw,
        input=0,
    ),
    Case("word vectors: gradient of the looked-up rows only", "wrong-shape", word_vectors, (rnd(2008, 6, 3),), word_vectors_bw),
    # wrong-dtype
    Case("max pool 2d: float32 buffer for a float64 input", "wrong-dtype", max_pool2d, (rnd(2101, 1, 2, 4, 4),), max_pool2d_bw),
    Case(
        "circular convolution by FFT: complex gradients",
        "wrong-dtype",
        circular_conv,
        (rnd(2102, 8), rnd(2103, 8)),
        circular_conv_bw,
    ),
    Case("top-2 values: integer gradient buffer", "wrong-dtype", top2, (rnd(2104, 3, 5),), top2_bw),
    Case(
        "gated linear unit float32: gradients returned in float16",
        "wrong-dtype",
        glu,
        (rnd(2105, 3, 4).astype(np.float32), rnd(2106, 3, 4).astype(np.float32)),
        glu_bw,
    ),
    # non-finite
    Case(
        "cumprod with a zero: division by x",
        "non-finite",
        cumprod,
        (np.array([[1.3, -0.7, 0.0, 1.9, 0.6], [0.8, 1.1, -1.4, 0.5, -0.9]]),),
        cumprod_bw,
    ),
    Case(
        "JAX where(x > 0, sqrt(x), x/2): 0 * nan in the untaken branch",
        "non-finite",
        safe_sqrt_jax,
        (jnp.asarray([1.7, -0.6, 0.9, -1.2, 2.4, 0.4], dtype=jnp.float32),),
    ),
    Case(
        "log-sum-exp: exp overflows in the backward",
        "non-finite",
        logsumexp,
        (np.array([[0.4, -1.2, 0.3, 1.1], [799.6, 800.9, 798.8, 800.1]]),),
        logsumexp_bw,
    ),
    Case(
        "focal loss (object, float32): p log p with p underflowed",
        "non-finite",
        BinaryFocal(),
        (np.array([0.7, -1.3, -120.0, 2.1, -140.0, -0.2], dtype=np.float32),),
    ),
    # zero-gradient
    Case(
        "torch module: input detached before the linear layer",
        "zero-gradient",
        _filled(DetachedLinear(), 2301),
        (torch.from_numpy(rnd(2302, 3, 4)),),
        input=0,
    ),
    Case(
        "cosine loss JAX: stop_gradient on the online branch",
        "zero-gradient",
        cosine_stop_jax,
        (jnp.asarray(rnd(2303, 3, 4), dtype=jnp.float32), jnp.asarray(rnd(2304, 3, 4), dtype=jnp.float32)),
        input=0,
    ),
    Case(
        "GRU cell: dh never filled",
        "zero-gradient",
        gru_cell,
        (rnd(2305, 2, 2), rnd(2306, 2, 3), rnd(2307, 5, 3, scale=0.7), rnd(2308, 5, 3, scale=0.7), rnd(2309, 5, 3, scale=0.7)),
        gru_cell_bw,
        input=1,
    ),
    Case("Coulomb energy: row variable rebound instead of written", "zero-gradient", coulomb, (rnd(2310, 4, 3),), coulomb_bw),
    # fused-twice
    Case(
        "label-smoothed cross-entropy: softmax Jacobian applied to h - t",
        "fused-twice",
        smooth_ce,
        (rnd(2401, 5, 4), np.array([0, 3, 1, 1, 2])),
        smooth_ce_bw,
        input=0,
    ),
    Case(
        "NLL of given probabilities: returns h - t without a softmax",
        "fused-twice",
        nll_probs,
        (softmax(rnd(2402, 4, 3)),),
        nll_probs_bw,
    ),
    Case(
        "tanh classifier with softmax cross-entropy: softmax Jacobian on top of h - t",
        "fused-twice",
        classifier_loss,
        (rnd(2403, 4, 3), rnd(2404, 3, 5), rnd(2405, 5, 3), np.array([2, 0, 1, 1])),
        classifier_loss_bw,
    ),
    Case(
        "sigmoid + BCE autograd.Function: p(1-p) applied to p - t",
        "fused-twice",
        bce_logits_torch,
        (torch.from_numpy(rnd(2406, 2, 3)),),
        also=("missing-factor",),
    ),
    # swapped-gradients
    Case("outer product: gradients of u and v exchanged", "swapped-gradients", outer, (rnd(2501, 4), rnd(2502, 4)), outer_bw),
    Case(
        "LSTM cell: dh and dc returned in the wrong order",
        "swapped-gradients",
        lstm_cell,
        (rnd(2503, 2, 3), rnd(2504, 2, 2), rnd(2505, 2, 2), rnd(2506, 5, 8, scale=0.7), rnd(2507, 8, scale=0.5)),
        lstm_cell_bw_swapped,
    ),
    Case(
        "bilinear score u'Wv: gradients of u and v exchanged",
        "swapped-gradients",
        bilinear_score,
        (rnd(2508, 3, 4), rnd(2509, 4, 4), rnd(2510, 3, 4)),
        bilinear_score_bw,
    ),
    Case(
        "triplet loss: positive and negative exchanged",
        "swapped-gradients",
        triplet,
        (rnd(2511, 4, 3), rnd(2512, 4, 3), rnd(2513, 4, 3)),
        triplet_bw,
    ),
    # unknown
    Case(
        "strided conv1d: dx placed without the stride",
        "unknown",
        conv1d_stride2,
        (rnd(2611, 2, 9), rnd(2612, 3)),
        conv1d_stride2_bw,
        input=0,
    ),
    Case(
        "two-layer net: random feedback matrix instead of W2'",
        "unknown",
        mlp,
        (rnd(2613, 3, 4), rnd(2614, 4, 5, scale=0.6), rnd(2615, 5, 2)),
        mlp_bw_feedback,
    ),
    Case("Cholesky: diagonal not halved", "unknown", cholesky, (SPD,), cholesky_bw),
]
