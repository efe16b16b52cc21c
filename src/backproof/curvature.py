"""Products of a network's Hessian, and of its Gauss-Newton approximation, with a vector: three passes over the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from backproof.arrays import Array

if TYPE_CHECKING:
    from backproof.network import Network


def second_order_product(network: Network, x: object, t: object, v: npt.ArrayLike, sample_weight: object, *, exact: bool) -> Array:
    """H v, or G v with `exact=False`.

    With R{.} the derivative along v: the forward pass gives z and R{z}; the loss gives dz and R{dz} = H_L R{z}; then
        H v = R{dtheta}, the directional derivative of the backward pass,
        G v = J^T H_L J v, the backward pass itself applied to R{dz}.
    They differ by what the second derivative of the layers adds, which vanishes where the residual does.
    """
    store, loss = network.store, network.objective
    direction = store.checked(v, "v").astype(network.dtype, copy=False)
    data, tangents = network.prepared(x), store.tree_of(direction)
    still = np.zeros_like(data)
    z, kept = network.trunk.forward(store.tree, data)
    tz = network.trunk.jvp(store.tree, kept, still, tangents)
    tdz = loss.hessian_product(z, t, tz, sample_weight)
    if exact:
        dz = loss.reduced(z, t, sample_weight)[1]
        _, product = network.trunk.backward_jvp(store.tree, kept, dz, still, tangents, tdz)
    else:
        product = network.trunk.parameter_gradient(store.tree, kept, tdz)
    result = store.layout.pack(product, np.empty_like(direction))
    if network.l2:
        result += network.dtype.type(network.l2) * (store.penalised * direction)
    return result
