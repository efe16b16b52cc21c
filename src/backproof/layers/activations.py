"""Elementwise activations: one table, a line each, of value, slope and curvature as functions of the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from backproof._errors import ArgumentError
from backproof.arrays import Array, as_floats
from backproof.kernels import elementwise as f
from backproof.layers.base import Kept, Layer, Params, diagonal_jacobian, require_number


class Rule(NamedTuple):
    """f, f' and f'' of one activation."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    curvature: Callable[[Array], Array]


RULES: dict[str, Rule] = {
    "Identity": Rule(f.identity, f.ones, f.zeros),
    "Sigmoid": Rule(f.sigmoid, f.sigmoid_slope, f.sigmoid_curvature),
    "Tanh": Rule(f.tanh, f.tanh_slope, f.tanh_curvature),
    "ReLU": Rule(f.relu, f.relu_slope, f.zeros),
    "Softplus": Rule(f.softplus, f.sigmoid, f.sigmoid_slope),
    "SiLU": Rule(f.silu, f.silu_slope, f.silu_curvature),
    "GELU": Rule(f.gelu, f.gelu_slope, f.gelu_curvature),
    "GELU-tanh": Rule(f.gelu_tanh, f.gelu_tanh_slope, f.gelu_tanh_curvature),
}


@dataclass(frozen=True, repr=False, eq=False)
class Elementwise(Layer):
    """y = f(x), entry by entry: the Jacobian is diagonal, so dx = f'(x) dy, ty = f'(x) tx, and d(dx) = f'(x) tdy + f''(x) tx dy."""

    @property
    def rule(self) -> Rule:
        """Value, slope and curvature."""
        return RULES[type(self).__name__]

    def forward(
        self, params: Params, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Kept]:
        x = as_floats(x, "x")
        return self.rule.value(x), x

    def backward(self, params: Params, kept: Kept, dy: Array) -> tuple[Array, Params]:
        return self.rule.slope(kept) * dy, {}

    def jvp(self, params: Params, kept: Kept, tx: Array, tparams: Params | None) -> Array:
        return self.rule.slope(kept) * tx

    def backward_jvp(
        self, params: Params, kept: Kept, dy: Array, tx: Array, tparams: Params | None, tdy: Array
    ) -> tuple[Array, Params]:
        return self.rule.slope(kept) * tdy + self.rule.curvature(kept) * tx * dy, {}

    def jacobian(self, params: Params, x: Array) -> Array:
        """diag(f'(x)) for each example: (N, *features, *features)."""
        return diagonal_jacobian(self.rule.slope(as_floats(x, "x")))


class Identity(Elementwise):
    """y = x. The canonical output of squared error: identity + half squared error gives y - t.

    >>> Identity()
    Identity()
    """

    link: ClassVar[str | None] = "identity"
    produces: ClassVar[str] = "same"


class Sigmoid(Elementwise):
    """y = 1 / (1 + exp(-x)), dy/dx = y (1 - y), formed as e / (1 + e)^2 with e = exp(-|x|) so that no digit is lost at either end.

    The canonical output of binary cross-entropy: sigmoid + binary cross-entropy gives y - t (Bishop 1995, section 6.7).

    >>> import numpy as np
    >>> Sigmoid().jacobian({}, np.zeros((1, 1))).item()
    0.25
    """

    link: ClassVar[str | None] = "sigmoid"
    produces: ClassVar[str] = "probabilities"


class Tanh(Elementwise):
    """y = tanh(x), dy/dx = 1 - y^2 = 1 / cosh(x)^2 (LeCun et al., Efficient BackProp, 1998, section 4.4). x has any shape (N, ...).

    >>> import numpy as np
    >>> Tanh().jacobian({}, np.zeros((1, 1))).item()
    1.0
    """


class ReLU(Elementwise):
    """y = max(x, 0), dy/dx = 1 where x > 0, else 0; the derivative at 0 is 0 (Glorot, Bordes & Bengio, AISTATS 2011).

    >>> import numpy as np
    >>> y, kept = ReLU().forward({}, np.array([[-2.0, 0.0, 2.0]]))
    >>> y.tolist(), ReLU().backward({}, kept, np.ones((1, 3)))[0].tolist()
    ([[0.0, 0.0, 2.0]], [[0.0, 0.0, 1.0]])
    """


class Softplus(Elementwise):
    """y = log(1 + exp(x)), dy/dx = sigmoid(x) (Dugas et al., NIPS 2000).

    >>> import numpy as np
    >>> Softplus().forward({}, np.array([[-800.0, 0.0, 800.0]]))[0].round(4).tolist()
    [[0.0, 0.6931, 800.0]]
    """


class SiLU(Elementwise):
    """y = x sigmoid(x), dy/dx = s + x s (1 - s) (Elfwing, Uchibe & Doya, Neural Networks 107, 2018); also called swish.

    >>> import numpy as np
    >>> SiLU().forward({}, np.array([[-1.0, 0.0, 1.0]]))[0].round(4).tolist()
    [[-0.2689, 0.0, 0.7311]]
    """


@dataclass(frozen=True, repr=False, eq=False)
class LeakyReLU(Elementwise):
    """y = x where x > 0, else slope x; the derivative at 0 is `slope` (Maas, Hannun & Ng, ICML 2013).

    Raises `ArgumentError` for a slope that is no finite number.

    >>> import numpy as np
    >>> LeakyReLU(0.1).forward({}, np.array([[-2.0, 2.0]]))[0].tolist()
    [[-0.2, 2.0]]
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        require_number("LeakyReLU", "slope", self.slope, low=-np.inf, open_low=True)
        object.__setattr__(self, "slope", float(self.slope))

    @property
    def rule(self) -> Rule:
        """Value, slope and curvature."""
        return Rule(lambda x: f.leaky_relu(x, self.slope), lambda x: f.leaky_relu_slope(x, self.slope), f.zeros)


@dataclass(frozen=True, repr=False, eq=False)
class GELU(Elementwise):
    """y = x Phi(x), Phi the normal distribution function (Hendrycks & Gimpel, arXiv 1606.08415).

    `approximate="tanh"` is their x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))); "none" is exact. Raises
    `ArgumentError` for another word.

    >>> import numpy as np
    >>> GELU().forward({}, np.ones((1, 1)))[0].item(), GELU("tanh").forward({}, np.ones((1, 1)))[0].item()
    (0.8413447460685429, 0.8411919906082768)
    """

    approximate: str = "none"

    def __post_init__(self) -> None:
        if self.approximate not in ("none", "tanh"):
            raise ArgumentError(f"GELU: expected approximate to be 'none' or 'tanh', received {self.approximate!r}")

    @property
    def rule(self) -> Rule:
        """Value, slope and curvature."""
        return RULES["GELU-tanh" if self.approximate == "tanh" else "GELU"]
