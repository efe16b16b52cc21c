"""Softmax and log-softmax as layers: anywhere in a network, every output depending on every input.

    h_i = exp(z_i) / sum_j exp(z_j)      dh_i/dz_j = J_ij = h_i (delta_ij - h_j)      (Bridle 1990; Bishop 1995, section 6.9)

J is full and symmetric: the error is carried back by the product J^T s = h * (s - <h, s>), a vector again. The sigmoid's
h (1 - h) is only its diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from backproof._errors import ArgumentTypeError, ShapeError
from backproof.arrays import Array, Shape, as_floats
from backproof.kernels import chosen
from backproof.layers.base import FixedMap, Kept, Params, require_number


@dataclass(frozen=True, repr=False, eq=False)
class Scores(FixedMap):
    """The logits that a tempered, masked softmax normalises: x / temperature, and -inf where `mask` is False.

    It is the part of `Softmax` that remains when cross-entropy takes over the normalisation. A masked entry is a constant, so no
    gradient passes through it.
    """

    temperature: float = 1.0
    mask: Any = None
    produces: ClassVar[str] = "same"

    def __post_init__(self) -> None:
        require_number(type(self).__name__, "temperature", self.temperature, low=0.0, open_low=True)
        object.__setattr__(self, "temperature", float(self.temperature))
        if self.mask is not None:
            mask = np.array(self.mask)
            mask.flags.writeable = False
            if mask.dtype != bool:
                raise ArgumentTypeError(
                    f"{type(self).__name__}: expected mask to be boolean (True: the class takes part), received dtype {mask.dtype}"
                )
            object.__setattr__(self, "mask", mask)

    def out_shape(self, in_shape: Shape) -> Shape:
        if self.mask is not None:
            self._require_fitting_mask(in_shape)
        return in_shape

    def _require_fitting_mask(self, in_shape: Shape) -> None:
        try:
            fits = np.broadcast_shapes(self.mask.shape, (1, *in_shape)) == (1, *in_shape)
        except ValueError:
            fits = False
        if not fits:
            raise ShapeError(
                f"{type(self).__name__}: expected a mask that broadcasts to examples of shape {in_shape}, "
                f"received shape {self.mask.shape}"
            )

    def _through(self, tangent: Array) -> Array:
        """The (diagonal) Jacobian: 1 / temperature, 0 at masked entries."""
        scaled = tangent if self.temperature == 1.0 else tangent / self.temperature
        return scaled if self.mask is None else np.where(self.mask, scaled, scaled.dtype.type(0))

    def _scores(self, x: Array) -> Array:
        x = as_floats(x, "x")
        if self.mask is not None:
            self._require_fitting_mask(x.shape[1:])
        scaled = x if self.temperature == 1.0 else x / self.temperature
        return scaled if self.mask is None else np.where(self.mask, scaled, scaled.dtype.type(-np.inf))

    def forward(
        self, params: Params, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Kept]:
        return self._scores(x), None

    def backward(self, params: Params, kept: Kept, dy: Array) -> tuple[Array, Params]:
        return self._through(dy), {}

    def jvp(self, params: Params, kept: Kept, tx: Array, tparams: Params | None) -> Array:
        return self._through(tx)


@dataclass(frozen=True, repr=False, eq=False)
class _Normalising(Scores):
    """What softmax and log-softmax share: the axis, the scores, and Jacobians block by block."""

    temperature: float = 1.0
    mask: Any = None
    axis: int = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.axis, bool) or not isinstance(self.axis, int | np.integer):
            raise ArgumentTypeError(f"{type(self).__name__}: expected axis to be a whole number, received {self.axis!r}")

    def out_shape(self, in_shape: Shape) -> Shape:
        if not -len(in_shape) - 1 <= self.axis <= len(in_shape):
            raise ShapeError(
                f"{type(self).__name__}: expected an array with axis {self.axis}, received examples of shape {in_shape} "
                f"({len(in_shape) + 1} axes with the batch)"
            )
        return super().out_shape(in_shape)

    @property
    def mixes_examples(self) -> bool:
        return self.axis == 0

    @property
    def scores(self) -> Scores:
        """The layer that stays when a loss on logits takes over the normalisation."""
        return Scores(self.temperature, self.mask)

    def _block(self, kept: Array) -> Array:
        """The Jacobian of one normalised vector with respect to its scores: (..., C) -> (..., C, C)."""
        raise NotImplementedError

    def jacobian(self, params: Params, x: Array) -> Array:
        """The explicit Jacobian of each example, (N, *features, *features): a block for each normalised vector, 0 between."""
        self._require_separate_examples()
        _, kept = self.forward(params, x)
        last = np.moveaxis(kept, self.axis, -1)  # (N, *rest, C)
        n, rest, c = x.shape[0], last.shape[1:-1], last.shape[-1]
        if c == 0 or n == 0:
            return np.zeros((*x.shape, *x.shape[1:]), dtype=kept.dtype)
        positions = int(np.prod(rest))
        full = np.zeros((n, positions, c, positions, c), dtype=kept.dtype)
        blocks = self._block(last).reshape(n, positions, c, c)
        for p in range(positions):
            full[:, p, :, p, :] = blocks[:, p]
        full = full.reshape(n, *rest, c, *rest, c)
        home = (self.axis if self.axis > 0 else x.ndim + self.axis) - 1  # among the feature axes
        features = x.ndim - 1
        full = np.moveaxis(np.moveaxis(full, features, 1 + home), -1, 1 + features + home)
        return self._through(full)  # the mask aligns with the trailing axes: those of the input


class Softmax(_Normalising):
    """h = softmax(x / temperature) along `axis`, as a hidden layer or at the output.

        dx = h * (s - <h, s>) / temperature,   s the upstream gradient          (Bridle 1990; Bishop 1995, section 6.9)

    `mask` (boolean, the same for every example; True: takes part) gives the other entries probability 0 and gradient exactly 0;
    a row with no True gives zeros. At the end of a network whose loss is cross-entropy the two are one object, with the gradient
    h - t.

    >>> import numpy as np
    >>> h, kept = Softmax().forward({}, np.log([[1.0, 2.0, 5.0]]))
    >>> h.round(3).tolist()
    [[0.125, 0.25, 0.625]]
    >>> Softmax().backward({}, kept, np.array([[1.0, 0.0, 0.0]]))[0].round(4).tolist()   # a row of J: h_0 (delta_0j - h_j)
    [[0.1094, -0.0312, -0.0781]]
    """

    link: ClassVar[str | None] = "softmax"
    produces: ClassVar[str] = "probabilities"

    def forward(
        self, params: Params, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Kept]:
        h = chosen.softmax(self._scores(x), self.axis)
        return h, h

    def backward(self, params: Params, kept: Kept, dy: Array) -> tuple[Array, Params]:
        return self._through(chosen.softmax_vjp(kept, dy, self.axis)), {}

    def jvp(self, params: Params, kept: Kept, tx: Array, tparams: Params | None) -> Array:
        return chosen.softmax_vjp(kept, self._through(tx), self.axis)  # J is symmetric

    def backward_jvp(
        self, params: Params, kept: Kept, dy: Array, tx: Array, tparams: Params | None, tdy: Array
    ) -> tuple[Array, Params]:
        # With th = J tz:  d[h * (s - <h,s>)] = th * (s - <h,s>) - h <th, s> + h * (ts - <h,ts>);
        # th sums to zero, so <th, s> may be taken of the centred s.
        h, th = kept, self.jvp(params, kept, tx, None)
        centred = dy - np.sum(h * dy, axis=self.axis, keepdims=True)
        moved = th * centred - h * np.sum(th * centred, axis=self.axis, keepdims=True)
        return self._through(moved + chosen.softmax_vjp(h, tdy, self.axis)), {}

    def _block(self, kept: Array) -> Array:
        # -h_i h_j off the diagonal; on it h_i (1 - h_i) = h_i sum over j != i of h_j, minus the rest of its row
        block = -kept[..., :, None] * kept[..., None, :]
        i = np.arange(kept.shape[-1])
        block[..., i, i] = 0
        block[..., i, i] = -block.sum(axis=-1)
        return np.asarray(block)


class LogSoftmax(_Normalising):
    """y = log softmax(x / temperature) along `axis`: y_i = d_i - log1p(s), never log of a rounded probability.

        dx = (s - h sum(s)) / temperature,   h = exp(y), s the upstream gradient          (Goodfellow et al. 2016, section 6.2.2.3)

    Its outputs are logits again (softmax(y) = softmax(x)), so a loss on logits takes them as they are.

    >>> import numpy as np
    >>> LogSoftmax().forward({}, np.array([[0.0, -800.0]]))[0].tolist()
    [[0.0, -800.0]]
    """

    produces: ClassVar[str] = "log-probabilities"

    def forward(
        self, params: Params, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Kept]:
        y = chosen.log_softmax(self._scores(x), self.axis)
        return y, y

    def backward(self, params: Params, kept: Kept, dy: Array) -> tuple[Array, Params]:
        return self._through(chosen.log_softmax_vjp(kept, dy, self.axis)), {}

    def jvp(self, params: Params, kept: Kept, tx: Array, tparams: Params | None) -> Array:
        return chosen.log_softmax_jvp(kept, self._through(tx), self.axis)

    def backward_jvp(
        self, params: Params, kept: Kept, dy: Array, tx: Array, tparams: Params | None, tdy: Array
    ) -> tuple[Array, Params]:
        # d[s - h sum(s)] = ts - h sum(ts) - th sum(s),  th = J_softmax tz
        h = np.exp(kept)
        th = chosen.softmax_vjp(h, self._through(tx), self.axis)
        change = chosen.log_softmax_vjp(kept, tdy, self.axis) - th * np.sum(dy, axis=self.axis, keepdims=True)
        return self._through(change), {}

    def _block(self, kept: Array) -> Array:
        return np.asarray(np.eye(kept.shape[-1], dtype=kept.dtype) - np.exp(kept)[..., None, :])
