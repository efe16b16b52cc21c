"""The exception tree: one class for each kind of mistake, all under `BackproofError`.

    BackproofError
    ├── ArgumentError (also ValueError)          an argument has a wrong value
    │   ├── ShapeError                           ... a wrong shape
    │   ├── LabelError (also IndexError)         ... a class label outside the classes
    │   ├── DataError                            a table or file of data cannot be used
    │   └── ModelFileError                       a model file cannot be read
    ├── ArgumentTypeError (also TypeError)       an argument has a wrong type or dtype
    ├── OutputExistsError (also FileExistsError) something is there already and would be overwritten
    ├── NotInitialisedError (also RuntimeError)  the network has no parameters yet
    └── DivergenceError (also ArithmeticError)   training met a nan or an infinity

    DoubleSoftmaxWarning (UserWarning)           probabilities are about to be normalised a second time
    CheckpointWarning (UserWarning)              a checkpoint could not be written or read; training goes on

Every message names the argument or file, says what was expected and what was received. The second base is what callers of other
libraries already catch.
"""


class BackproofError(Exception):
    """Base of everything that this library raises on purpose.

    >>> from backproof import BackproofError, Dropout
    >>> try:
    ...     Dropout(1.5)
    ... except BackproofError as error:
    ...     print(error)
    Dropout: expected rate to be a number at least 0.0 and below 1.0, received 1.5
    """


class ArgumentError(BackproofError, ValueError):
    """An argument has a value that makes no sense here.

    >>> from backproof import Dropout
    >>> Dropout(1.5)
    Traceback (most recent call last):
    backproof._errors.ArgumentError: Dropout: expected rate to be a number at least 0.0 and below 1.0, received 1.5
    """


class ShapeError(ArgumentError):
    """An array has another shape than the operation needs.

    >>> import numpy as np
    >>> from backproof import SquaredError
    >>> SquaredError()(np.zeros((2, 3)), np.zeros((2, 4)))
    Traceback (most recent call last):
    backproof._errors.ShapeError: target: expected shape (2, 3), received (2, 4)
    """


class LabelError(ArgumentError, IndexError):
    """A class label lies outside the classes that there are.

    >>> import numpy as np
    >>> from backproof import CrossEntropy
    >>> CrossEntropy()(np.zeros((1, 3)), [3])
    Traceback (most recent call last):
    backproof._errors.LabelError: target: expected labels from 0 to 2, received 3
    """


class DataError(ArgumentError):
    """A table or a data file cannot be used as it is.

    >>> from backproof.data import read
    >>> read("iris", "species")
    Traceback (most recent call last):
    backproof._errors.DataError: iris: expected no target for a bundled data set, received 'species'
    """


class ModelFileError(ArgumentError):
    """A model file is damaged, cut short, or of another kind.

    >>> import pathlib, tempfile
    >>> from backproof import ModelFileError, load
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder) / "model.safetensors"
    ...     _ = file.write_bytes(b"something else")
    ...     try:
    ...         load(file)
    ...     except ModelFileError as error:
    ...         print("received one that is damaged" in str(error))
    True
    """


class ArgumentTypeError(BackproofError, TypeError):
    """An argument has the wrong type or dtype.

    >>> import numpy as np
    >>> from backproof import CrossEntropy
    >>> CrossEntropy()(np.zeros((1, 3)), [0.5])
    Traceback (most recent call last):
    backproof._errors.ArgumentTypeError: target: expected whole-number labels (dtype int), received dtype float64
    """


class OutputExistsError(BackproofError, FileExistsError):
    """The output is there already; it is overwritten only on request.

    >>> import numpy as np, pathlib, tempfile
    >>> from backproof import Linear, Network, OutputExistsError, save
    >>> network = Network([Linear(2)]).initialise(np.zeros((1, 3)), seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = save(network, pathlib.Path(folder) / "model.safetensors")
    ...     try:
    ...         save(network, file)
    ...     except OutputExistsError as error:
    ...         print(str(error).removeprefix(str(file)))
    : exists already and is not overwritten; give overwrite=True to replace it
    """


class NotInitialisedError(BackproofError, RuntimeError):
    """The network has no parameters yet: it has not seen the shape of its input.

    >>> import numpy as np
    >>> from backproof import Linear, Network
    >>> Network([Linear(2)]).predict(np.zeros((1, 3)))
    Traceback (most recent call last):
    backproof._errors.NotInitialisedError: the network has no parameters yet: call network.initialise(x, seed) or train it first
    """


class DivergenceError(BackproofError, ArithmeticError):
    """A loss or gradient became nan or infinite during training.

    >>> import numpy as np
    >>> from backproof import DivergenceError, Linear, Network, SquaredError, sgd, train
    >>> network = Network([Linear(2)], SquaredError())
    >>> x, t = np.ones((4, 1), np.float32), np.ones((4, 2), np.float32)
    >>> try:
    ...     for record in train(network, x, t, optimizer=sgd(1e30), epochs=9, seed=0):
    ...         pass
    ... except DivergenceError as error:
    ...     print(bool(np.isfinite(network.parameters).all()), "|", str(error).partition(":")[0])
    True | training stopped at step 3
    """


class DoubleSoftmaxWarning(UserWarning):
    """Probabilities are normalised a second time: a softmax (or sigmoid) on top of another.

    >>> import warnings
    >>> from backproof import CrossEntropy, Linear, Network, Softmax
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     _ = Network([Linear(3), Softmax(), Softmax()], CrossEntropy())
    >>> print(told[0].message)
    Softmax() normalises what are probabilities already: a softmax of a softmax
    """


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written, or not be read again; training goes on without it.

    >>> import warnings
    >>> from backproof import CheckpointWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", CheckpointWarning)     # within this, it ends the training
    """
