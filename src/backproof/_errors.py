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
    """Base of everything that this library raises on purpose."""


class ArgumentError(BackproofError, ValueError):
    """An argument has a value that makes no sense here."""


class ShapeError(ArgumentError):
    """An array has another shape than the operation needs."""


class LabelError(ArgumentError, IndexError):
    """A class label lies outside the classes that there are."""


class DataError(ArgumentError):
    """A table or a data file cannot be used as it is."""


class ModelFileError(ArgumentError):
    """A model file is damaged, cut short, or of another kind."""


class ArgumentTypeError(BackproofError, TypeError):
    """An argument has the wrong type or dtype."""


class OutputExistsError(BackproofError, FileExistsError):
    """The output is there already; it is overwritten only on request."""


class NotInitialisedError(BackproofError, RuntimeError):
    """The network has no parameters yet: it has not seen the shape of its input."""


class DivergenceError(BackproofError, ArithmeticError):
    """A loss or gradient became nan or infinite during training."""


class DoubleSoftmaxWarning(UserWarning):
    """Probabilities are normalised a second time: a softmax (or sigmoid) on top of another."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written, or not be read again; training goes on without it."""
