"""`save` and `load`: a network in one file."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from backproof._errors import ArgumentTypeError, BackproofError, DoubleSoftmaxWarning, ModelFileError
from backproof.network import Network
from backproof.saving import container
from backproof.saving.files import require_free
from backproof.saving.spec import network_from_spec, network_to_spec

_LONGEST_MESSAGE = 400  # a foreign file chooses the words


def save(network: Network, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write `network` (layers, loss, parameters, metadata) to `path`, whole or not at all; returns the path.

    The file is safetensors: other programs read the parameters by name ("1.weight"), and loading runs no code.
    Raises `OutputExistsError` if the file exists and `overwrite` is not set, `ArgumentError` for layers that are not of
    `backproof.layers` and for metadata that JSON cannot hold.

    >>> import numpy as np, tempfile, pathlib
    >>> from backproof import Linear, Network
    >>> folder = tempfile.TemporaryDirectory()
    >>> network = Network([Linear(2)]).initialise(np.zeros((1, 3)), seed=0)
    >>> file = save(network, pathlib.Path(folder.name) / "model.safetensors")
    >>> bool((load(file).parameters == network.parameters).all())
    True
    >>> folder.cleanup()
    """
    require_network("save", network)
    target = Path(path)
    require_free(target, overwrite, "give overwrite=True to replace it")
    spec, tensors = network_to_spec(network)
    container.write(target, "model", spec, tensors)
    return target


def load(path: str | os.PathLike[str]) -> Network:
    """The network in the file `path`, as it was saved.

    Raises `ModelFileError`, naming the file, if it is damaged, of another kind, or made by a version whose format is newer.
    Whatever is in the file, nothing else comes of it: it is safe to load a file from someone else.

    >>> import numpy as np, tempfile, pathlib
    >>> from backproof import Linear, Network, Tanh, save
    >>> network = Network([Linear(2), Tanh()]).initialise(np.zeros((1, 3)), seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load(save(network, pathlib.Path(folder) / "model.safetensors")).layers
    (Linear(2), Tanh())
    """
    source = Path(path)
    with refusals(source), warnings.catch_warnings():
        warnings.simplefilter("ignore", DoubleSoftmaxWarning)  # said when the network was made
        return network_from_spec(*container.read(source, "model"))


def require_network(owner: str, network: object) -> None:
    """Raise `ArgumentTypeError` unless `network` is one; of an estimator it says where that is."""
    if not isinstance(network, Network):
        hint = " (its network_ is one)" if hasattr(network, "network_") else ""
        raise ArgumentTypeError(f"{owner}: expected a Network, received a {type(network).__name__}{hint}")


@contextlib.contextmanager
def refusals(source: Path) -> Iterator[None]:
    """Everything that reading a foreign file can raise as one `ModelFileError` that names the file.

    The description is JSON of any shape: asking it for what it lacks is a KeyError or TypeError here, not a mistake of ours. A
    RuntimeError is NumPy's for more axes than it can broadcast.
    """
    try:
        yield
    except BackproofError as error:
        raise _refusal(source, str(error)) from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise _refusal(source, f"expected a description that makes sense, received a damaged one ({error!r})") from error


def _refusal(source: Path, said: str) -> ModelFileError:
    return ModelFileError(f"{source}: {said if len(said) <= _LONGEST_MESSAGE else said[:_LONGEST_MESSAGE] + ' ...'}")
