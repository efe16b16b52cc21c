"""Right losses and masked functions: confident, saturated, masked with -inf, ignored labels, targets on the edge."""

from __future__ import annotations

import numpy as np

from tests.broken.tables import Case, draw, length, log_softmax, logsumexp, one_hot, sigmoid, softmax

LABELS = np.array([1, 0, -1, 2])
CAUSAL = np.where(np.tril(np.ones((4, 4))) > 0, 0.0, -np.inf)
BITS = (draw(471, 4, 5) > 0).astype(float)
TARGETS = draw(472, 4, 3)
SMOOTH = 0.9 * one_hot(np.array([0, 2, 1, 1]), 3) + 0.1 / 3
KEYS, VALUES = draw(473, 4, 3), draw(474, 4, 2)


def cross_entropy(z):
    return -log_softmax(z)[:, 0].mean()


def cross_entropy_backward(g, z):
    return g * (softmax(z) - one_hot(np.zeros(len(z), int), z.shape[1])) / len(z)


def kept_losses(z):
    keep = LABELS >= 0
    return -(log_softmax(z) * one_hot(LABELS, 4) * keep[:, None]).sum() / keep.sum()


def kept_losses_backward(g, z):
    keep = LABELS >= 0
    return g * (softmax(z) - one_hot(LABELS, 4)) * keep[:, None] / keep.sum()


def masked_softmax(z):
    return softmax(z + CAUSAL)


def softmax_backward(g, h):
    return h * (g - (g * h).sum(axis=-1, keepdims=True))


def attention(q):
    return softmax(q @ KEYS.T / np.sqrt(3) + CAUSAL) @ VALUES


def attention_backward(g, q):
    h = softmax(q @ KEYS.T / np.sqrt(3) + CAUSAL)
    return softmax_backward(g @ VALUES.T, h) @ KEYS / np.sqrt(3)


def huber(y):
    d = y - TARGETS
    return np.where(np.abs(d) < 1, 0.5 * d**2, np.abs(d) - 0.5).sum(axis=1)


def kl(z):
    """Targets against softmax(z); a target of zero adds nothing."""
    p = one_hot(np.array([0, 2, 1, 1]), 3) * 0.5 + 0.25
    p[:, 0] = 0
    p = p / p.sum(axis=1, keepdims=True)
    return (np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0) - p * log_softmax(z)).sum(), p


def cosine_loss(x):
    return 1 - (x * TARGETS).sum(axis=1) / (length(x) * length(TARGETS))[:, 0]


def cosine_loss_backward(g, x):
    n = length(x)
    c = 1 - cosine_loss(x)[:, None]
    return -g[:, None] * (TARGETS / (n * length(TARGETS)) - c * x / n**2)


def focal(z):
    p = sigmoid(z * (2 * BITS - 1))
    return (-((1 - p) ** 2) * np.log(p)).mean()


def focal_backward(g, z):
    s = 2 * BITS - 1
    p = sigmoid(z * s)
    dp = 2 * (1 - p) * np.log(p) - (1 - p) ** 2 / p
    return g * dp * p * (1 - p) * s / z.size


def contrastive(x):
    """Each row against all others of the batch: the samples are coupled."""
    s = x @ x.T / 0.5 - 1e9 * np.eye(len(x))
    return (logsumexp(s) - s[np.arange(len(x)), np.roll(np.arange(len(x)), 1)]).mean()


def contrastive_backward(g, x):
    n = len(x)
    s = x @ x.T / 0.5 - 1e9 * np.eye(n)
    ds = (softmax(s) - one_hot(np.roll(np.arange(n), 1), n)) / n
    return g * (ds + ds.T) @ x / 0.5


CASES = [
    Case(
        "cross-entropy: confident and right",
        "",
        cross_entropy,
        (np.array([[40.0, 0.0, -3.0], [25.0, 1.0, 2.0]]),),
        cross_entropy_backward,
    ),
    Case(
        "cross-entropy: confident and wrong",
        "",
        cross_entropy,
        (np.array([[0.0, 700.0, -3.0], [-25.0, 1.0, 30.0]]),),
        cross_entropy_backward,
    ),
    Case("cross-entropy: uniform", "", cross_entropy, (np.zeros((3, 4)),), cross_entropy_backward),
    Case("cross-entropy: ignored label", "", kept_losses, (draw(475, 4, 4),), kept_losses_backward),
    Case(
        "cross-entropy: smoothed labels",
        "",
        lambda z: -(SMOOTH * log_softmax(z)).sum() / 4,
        (draw(476, 4, 3),),
        lambda g, z: g * (softmax(z) - SMOOTH) / 4,
    ),
    Case(
        "softmax: -inf above the diagonal",
        "",
        masked_softmax,
        (draw(477, 2, 4, 4),),
        lambda g, z: softmax_backward(g, masked_softmax(z)),
    ),
    Case("causal attention: -inf mask", "", attention, (draw(478, 4, 3),), attention_backward),
    Case(
        "BCE: saturated both ways",
        "",
        lambda z: (np.logaddexp(0, z) - BITS * z).mean(),
        (draw(479, 4, 5, scale=30),),
        lambda g, z: g * (sigmoid(z) - BITS) / z.size,
    ),
    Case("MSE: mean", "", lambda y: ((y - TARGETS) ** 2).mean(), (draw(480, 4, 3),), lambda g, y: 2 * g * (y - TARGETS) / y.size),
    Case(
        "MSE: at its minimum",
        "",
        lambda y: ((y - TARGETS) ** 2).mean(),
        (TARGETS.copy(),),
        lambda g, y: 2 * g * (y - TARGETS) / y.size,
    ),
    Case(
        "Huber: some exactly at the joint",
        "",
        huber,
        (TARGETS + np.array([[1.0, 0.2, -1.0]]),),
        lambda g, y: g[:, None] * np.clip(y - TARGETS, -1, 1),
    ),
    Case("KL divergence: zero targets", "", lambda z: kl(z)[0], (draw(481, 4, 3),), lambda g, z: g * (softmax(z) - kl(z)[1])),
    Case("cosine loss: rows", "", cosine_loss, (draw(482, 4, 3),), cosine_loss_backward),
    Case("focal loss: mean", "", focal, (draw(483, 4, 5),), focal_backward),
    Case("contrastive loss: in-batch negatives", "", contrastive, (draw(484, 5, 3),), contrastive_backward),
    Case(
        "hinge: no margin violated", "", lambda x: np.maximum(0, 1 - x).sum(), (draw(485, 5, shift=10),), lambda g, x: -g * (x < 1)
    ),
    Case(
        "logsumexp: one entry -inf",
        "",
        lambda z: logsumexp(z + np.array([0, -np.inf, 0, 0])),
        (draw(486, 3, 4),),
        lambda g, z: g[:, None] * softmax(z + np.array([0, -np.inf, 0, 0])),
    ),
]
