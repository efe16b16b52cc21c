"""The command line. Exit codes: 0 done, 1 the gradient is wrong, 2 could not be done (bad input), 130 interrupted."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from backproof import __version__
from backproof._errors import BackproofError
from backproof.option_types import Real, every, names, size, sizes

F = TypeVar("F", bound=Callable[..., Any])


class _Examples(click.Command):
    """A command whose help ends in examples that can be pasted."""

    def __init__(self, *args: Any, examples: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for line in self.examples.strip().splitlines():
                formatter.write(f"  {line.strip()}\n")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Examples:  backproof train digits;  backproof check softmax.py:Softmax --shape 4,5",
)
@click.version_option(__version__, prog_name="backproof")
def cli() -> None:
    """Train softmax networks by backpropagation, with every gradient shown to be right; say why a gradient is wrong."""


def _train_options(command: F) -> F:
    from backproof.choices import ACTIVATIONS, LEARNING_RATES, SCHEDULES
    from backproof.job import Settings

    default = Settings()
    options = [
        click.option("--target", help="Column, array (NPZ) or file (NPY, IDX) with the class labels."),
        click.option("--categorical", callback=names, help="Columns of numbers that stand for categories: a,b."),
        click.option("--ignore", callback=names, help="Columns to leave out: a,b."),
        click.option("--image-size", callback=size, help="Height and width that images are brought to: 28,28."),
        click.option("--stream/--in-memory", default=None, help="Read the data a piece at a time.  [default: from 1 GiB on]"),
        click.option("--hidden", default=",".join(map(str, default.hidden)), callback=sizes, help="Sizes of the hidden layers."),
        click.option(
            "--activation", type=click.Choice(list(ACTIVATIONS)), default=default.activation, help="Of the hidden layers."
        ),
        click.option(
            "--dropout", type=Real(0, 1, max_open=True), help="Rate after each hidden layer.  [default: 0.3; 0 with lbfgs]"
        ),
        click.option(
            "--label-smoothing",
            type=Real(0, 1),
            default=default.label_smoothing,
            help="Share of the target given to all classes.",
        ),
        click.option("--l2", type=Real(min=0), default=default.l2, help="Penalty l2/2 |weights|^2, in loss and gradient."),
        click.option("--optimizer", type=click.Choice(list(LEARNING_RATES)), default=default.optimizer),
        click.option("--lr", type=Real(min=0), help="Learning rate.  [default: by optimizer]"),
        click.option("--schedule", type=click.Choice(SCHEDULES), default=default.schedule, help="Of the learning rate."),
        click.option("--clip-norm", type=Real(min=0, min_open=True), help="Longest gradient."),
        click.option("--epochs", type=click.IntRange(min=1), help="Passes over the data.  [default: 60, up to 500 for small data]"),
        click.option("--batch-size", type=click.IntRange(min=1), default=default.batch_size),
        click.option(
            "--test-fraction",
            type=Real(0, 1, min_open=True, max_open=True),
            default=default.test_fraction,
            help="Share held out.",
        ),
        click.option("--dtype", type=click.Choice(["float32", "float64"]), default=default.dtype),
        click.option(
            "--seed", type=click.IntRange(0, 2**32 - 1), default=default.seed, help="Of split, weights, order and dropout."
        ),
        click.option(
            "--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: backproof-NAME, numbered if taken]"
        ),
        click.option("--force", is_flag=True, help="Overwrite results in --out."),
        click.option(
            "--checkpoint-every",
            "every",
            callback=every,
            metavar="N [epochs|steps]",
            help="Keep the state of the training after so many epochs, or steps: 5, '200 steps'.  [default: when interrupted]",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command(
    cls=_Examples,
    examples="""
    backproof train digits
    backproof train my.csv --target label --hidden 64,64 --activation tanh --out run1
    backproof train people.parquet --target income --categorical zip --ignore name,id
    backproof train big.npy --target labels.npy --stream --epochs 2 --batch-size 256
    backproof train train-images-idx3-ubyte.gz
    backproof train photos --image-size 32,32
    backproof train my.npz --target y --optimizer lbfgs --hidden none --l2 0.01 --epochs 500
    backproof train my.csv --target label --out run2 --checkpoint-every 5
    backproof train --resume run2
    """,
    context_settings={"show_default": True},
)
@click.argument("data", required=False)
@_train_options
@click.option("--resume", type=click.Path(path_type=Path), help="Folder of a run that was ended early: go on with it, as it began.")
@click.pass_context
def train(
    context: click.Context,
    /,
    data: str | None,
    target: str | None,
    out: Path | None,
    force: bool,
    every: tuple[int, str] | None,
    resume: Path | None,
    **options: Any,
) -> None:
    """Train a softmax network on DATA and keep it.

    DATA is digits, iris, wine or breast-cancer (bundled with scikit-learn), a file (CSV, Parquet, NPZ, NPY, IDX) or a folder with
    a folder of images for each class. A part is held out, the gradient of this very network is checked numerically, then it is
    trained and tested. Writes model.safetensors, history.json and the page report.html into --out.

    Ctrl-C finishes the step and keeps the state of the training. With --resume FOLDER, the --out of that run, it ends with the
    very weights that it would have had.
    """
    from backproof.commands import resume_command, train_command
    from backproof.job import Settings
    from backproof.runs import Run

    reading = {name: options.pop(name) for name in ("categorical", "ignore", "image_size", "stream")}
    if resume is not None:
        given = [name for name in context.params if context.get_parameter_source(name) != click.core.ParameterSource.DEFAULT]
        if given != ["resume"]:
            raise click.UsageError("--resume: expected nothing beside the folder: the run goes on as it began")
        sys.exit(resume_command(resume))
    if data is None:
        raise click.MissingParameter(param_hint="'DATA'", param_type="argument")
    sys.exit(train_command(Run(data, target, Settings(**options), every, reading), out, force))


@cli.command(
    cls=_Examples,
    examples="""
    backproof predict backproof-digits/model.safetensors digits --target label
    backproof predict run1/model.safetensors new.csv --out predictions.csv
    """,
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@click.option("--target", help="Column, array or file with the true labels (images: folder): adds them, and prints the accuracy.")
@click.option("--out", type=click.Path(path_type=Path), help="CSV file to write.  [default: standard output]")
@click.option("--force", is_flag=True, help="Overwrite --out.")
def predict(model: Path, data: str, target: str | None, out: Path | None, force: bool) -> None:
    """Label the examples in DATA with MODEL: a CSV of labels and probabilities."""
    from backproof.commands import predict_command

    sys.exit(predict_command(model, data, target, out, force))


@cli.command(
    cls=_Examples,
    examples="""
    backproof check softmax.py:Softmax --shape 4,5
    backproof check losses.py:cross_entropy --backward cross_entropy_grad --shape 8,10 --shape 8:int10
    backproof check model.py:block --json
    """,
    context_settings={"show_default": True},
)
@click.argument("place", metavar="FILE.py:NAME")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    help="Of an input, once for each: 4,5 (standard normal), 4,5:positive, 4,5:unit (between 0 and 1), 4,5:probabilities, 4:bool, "
    "4:int10 (labels 0 to 9). Without it, `inputs` of NAME or of the file is taken.",
)
@click.option("--backward", help="Name of the backward function.  [default: NAME_backward or backward, if the file has one]")
@click.option(
    "--dtype",
    type=click.Choice(["float64", "float32", "float16"]),
    help="Of the inputs by --shape.  [default: float64; a torch module's own]",
)
@click.option("--wrt", multiple=True, help="Input to differentiate, by name or position; may be repeated.  [default: all floats]")
@click.option("--order", type=click.IntRange(1, 2), default=1, help="2 checks the second derivative as well.")
@click.option("--surrogate", is_flag=True, help="The gradient is meant not to be the derivative: compare no values.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Of the inputs and the directions.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--html", "out", type=click.Path(path_type=Path), help="HTML file of the report to write.")
@click.option("--force", is_flag=True, help="Overwrite --html.")
def check(place: str, wrt: tuple[str, ...], **options: Any) -> None:
    """Is this gradient right, and if not, why?

    NAME in FILE.py is a function with a backward beside it, a class or an instance with forward(x) and backward(upstream), or a
    torch or JAX function. Exit codes: 0 right, 1 wrong, 2 could not be run.
    """
    from backproof.check_commands import check_command

    chosen = [int(item) if item.lstrip("-").isdigit() else item for item in wrt]
    sys.exit(check_command(place, wrt=chosen or None, **options))


@cli.command(
    cls=_Examples,
    examples="""
    backproof explain
    backproof explain missing-cross-terms
    """,
)
@click.argument("cause", required=False)
def explain(cause: str | None) -> None:
    """What a CAUSE means: the mathematics, wrong and right code, a real case. Without CAUSE: the list of them."""
    from backproof.check_commands import explain_command

    sys.exit(explain_command(cause))


def main() -> None:
    """Entry point: one line for every mistake, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console that cannot show a letter shows "?" instead of a traceback
    log, notices = logging.getLogger("backproof"), _Notices()
    log.setLevel(logging.INFO)
    log.addHandler(notices)
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        click.echo("backproof: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(2)
    except BackproofError as error:
        _fail(str(error))
    except MemoryError as error:
        _fail(f"expected a job that fits into memory, received one that does not ({error or 'out of memory'})")
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}")
    finally:
        log.removeHandler(notices)
        log.setLevel(logging.NOTSET)


class _Notices(logging.Handler):
    """What the library logs, such as a kernel that is being compiled: a line each on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"backproof: {record.getMessage()}", err=True)


def _fail(message: str) -> None:
    click.echo(f"backproof: error: {' '.join(message.split())}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
