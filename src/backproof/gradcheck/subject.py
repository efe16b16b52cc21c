"""What is under test, whoever wrote it: arrays in, arrays out, and the vector-Jacobian product that is claimed to belong to it.

The check knows this protocol and nothing else; `backproof.adapters` turn functions, objects, layers, networks, torch and JAX
functions into Subjects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

from backproof.arrays import Array

Arrays: TypeAlias = tuple[Array, ...]
Gradients: TypeAlias = tuple["Array | None", ...]


class Subject(ABC):
    """A differentiable function of NumPy arrays, with the derivatives that somebody wrote for it.

    Everything that can be differentiated is an input: the arguments of the call first, in their order, then parameters (of a
    module,
    a layer, an object). Nothing that is passed in is copied here: the caller does so where that matters, because whether a function
    writes into its arguments is one of the things to be found out.

    Attributes:
        name: what is under test, for the report ("Softmax", "my_file.loss").
        inputs: the point of the check, as the user gave it; any dtype.
        names: one name an input, as the report should call it ("x", "input 0", "weight", "0.bias").
        wrt: positions of the inputs whose gradients are to be checked; all of floating dtype.
        arguments: how many of `inputs` are arguments of the call (the others are parameters).
        packed: True if the function returned a tuple of outputs (even of one), False if one bare array.
        device: where it runs, for the report.
        library: whose arrays it is called on, by the name that the replay lines write: "np", "torch" or "jnp".
    """

    name: str
    inputs: Arrays
    names: tuple[str, ...]
    wrt: tuple[int, ...]
    arguments: int
    packed: bool = False
    device: str = "cpu"
    library: str = "np"

    @abstractmethod
    def forward(self, inputs: Sequence[Array]) -> Arrays:
        """The outputs at `inputs`: always a tuple. Inputs may have another float dtype than `self.inputs` (an up-cast to
        float64, on
        the same values); the function is evaluated in what it is given if its framework can do so."""

    @abstractmethod
    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        """The claimed vector-Jacobian product at `inputs`, one gradient an input (None: it has none; also for those not in `wrt`).

        `upstream` has one array an output. What the subject needs of a forward pass at `inputs` is run before. Gradients come back
        exactly as the code under test made them: shape, dtype and all; a gradient that is not an array is passed on as
        np.asarray of it.
        """

    def backward_after(self, upstream: Sequence[Array], inputs: Sequence[Array], other: Sequence[Array]) -> Gradients | None:
        """`backward` at `inputs` when a forward call at `other` has come in between, where the code could be led astray by it.

        A function pair: forward(inputs), forward(other), backward(inputs). A torch function: the same on two graphs. A
        stateful object,
        whose cache the last forward owns: forward(other), forward(inputs), backward. None: the subject cannot hold any state.
        """
        return None

    def jvp(self, tangents: Sequence[Array], inputs: Sequence[Array]) -> Arrays | None:
        """The claimed Jacobian-vector product (forward mode): one tangent an input in, one an output out; None: there is none.

        Tangents of inputs that are not in `wrt` are zeros.
        """
        return None

    def second_order(self, upstream: Sequence[Array]) -> Subject | None:
        """The gradient map `inputs -> backward(upstream, inputs)` (of the inputs in `wrt`, in that order) as a Subject of its own.

        Its backward is the code's own second derivative (double backward, Hessian product). None: the code has none.
        """
        return None

    def replay(self) -> str:
        """A line or two of Python by which `check` would be called on `inputs`, which the report prints with the arrays filled
        in."""
        return f"backproof.check({self.name}, {', '.join(self.names[: self.arguments])})"
