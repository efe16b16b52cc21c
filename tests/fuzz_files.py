"""Feed damaged files to a reader, in a process of its own: python -m tests.fuzz_files model 0 1000 EMPTY_FOLDER

For each seed a file is damaged (tests/mutations.py) and read. What may happen: a `ModelFileError` that names the file, or something
that works, within a second of processor time and within 200 MB more address space than the process had before. Damage that does
not come with a new digest may at most leave what is read unchanged. Prints one JSON object; a crash is the process's exit code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import backproof as bp
from backproof.saving import container
from tests.mutations import mutated

MEMORY, SECONDS = 200 * 2**20, 1.0
X = np.random.default_rng(0).normal(size=(4, 6))


class Reader(NamedTuple):
    """`originals` writes whole files; `read` reads one; `works` uses what was read, and returns what identifies it."""

    originals: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]
    works: Callable[[Any, Path], Any]


def models(folder: Path) -> list[Path]:
    mask = np.array([True, False, True])
    networks = [
        bp.Network(
            [bp.Standardize.fit(X), bp.Linear(5), bp.ReLU(), bp.Dropout(0.2), bp.Linear(3), bp.Softmax()], bp.CrossEntropy()
        ),
        bp.Network(
            [
                bp.Residual(bp.Linear(6), bp.GELU("tanh")),
                bp.Concatenate(bp.Linear(2), bp.Softmax()),
                bp.Linear(3),
                bp.Softmax(mask=mask),
            ],
            bp.CrossEntropy(class_weight=[1.0, 2.0, 0.5]),
            l2=0.1,
            dtype="float32",
            metadata={"classes": ["a", "b", "c"], "features": list("uvwxyz"), "data": {"from": [1, 2.5, None]}},
        ),
        bp.Network([bp.Linear(64), bp.LeakyReLU(0.1), bp.Linear(1, bias=False)], bp.Huber(2.0)),
    ]
    return [bp.save(network.initialise(X, seed=i), folder / f"{i}.model") for i, network in enumerate(networks)]


def model_works(network: bp.Network, folder: Path) -> Any:
    with np.errstate(all="ignore"):
        if 0 < np.prod(network.in_shape, dtype=float) < 1e5:
            network.predict(np.zeros((1, *network.in_shape)))
    again = bp.load(bp.save(network, folder / "again", overwrite=True))
    assert (repr(again), again.metadata) == (repr(network), network.metadata)
    return repr(network), network.metadata, network.parameters.tobytes()


def resumed(path: Path) -> tuple[bp.Network, Iterator[bp.Record]]:
    """The training whose checkpoint is `path`, as another process goes on with it."""
    t = np.arange(len(X)) % 3
    network = bp.Network([bp.Linear(4), bp.Tanh(), bp.Dropout(0.1), bp.Linear(3), bp.Softmax()], bp.CrossEntropy())
    options = {"optimizer": bp.chain(bp.clip_by_norm(5.0), bp.adam(bp.cosine(0.1, 20))), "batch_size": 2, "seed": 0, "epochs": 5}
    early, keep = bp.EarlyStopping("validation_loss", patience=4), bp.Checkpoints(path.parent, every=5, unit="steps", resume=True)
    return network, bp.train(network, X, t, validation=(X, t), early_stopping=early, checkpoint=keep, **options)


def checkpoints(folder: Path) -> list[Path]:
    """Two of one training: within an epoch, and after one."""
    (folder / "whole").mkdir()
    for _ in resumed(folder / "whole" / "first")[1]:
        pass
    return list((folder / "whole").iterdir())


def checkpoint_works(given: tuple[bp.Network, Iterator[bp.Record]], folder: Path) -> Any:
    """Train on, without further checkpoints: it ends, if it may be with weights that have run away."""
    network, records = given
    seen = []
    with np.errstate(all="ignore"), contextlib.suppress(bp.DivergenceError):
        for record in records:
            seen.append(repr(dataclasses.replace(record, seconds=0.0)))
    for path in (folder / "damaged").iterdir():
        path.unlink()
    return network.parameters.tobytes(), seen


READERS = {
    "model": Reader(models, bp.load, model_works),
    "checkpoint": Reader(checkpoints, resumed, checkpoint_works),
}


def limit_memory() -> None:
    """No more address space than now and 200 MB: what asks for more gets a MemoryError, which no reader may let out."""
    if sys.platform != "linux":
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, resource.RLIM_INFINITY))


def main(kind: str, first: int, count: int, folder: Path) -> dict[str, Any]:
    reader = READERS[kind]
    originals = [path.read_bytes() for path in reader.originals(folder)]
    target = folder / "damaged" / "step-000000000005.safetensors"
    target.parent.mkdir()
    identities = []
    for content in originals:
        target.write_bytes(content)
        identities.append(reader.works(reader.read(target), folder))
    refused = same = other = 0
    slowest, failures = 0.0, []
    limit_memory()
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        which = int(rng.integers(len(originals)))
        content = mutated(rng, originals[which])
        target.write_bytes(content)
        start = time.process_time()
        try:
            read = reader.read(target)
        except bp.ModelFileError as error:
            refused += 1
            if str(target) not in str(error) or len(str(error)) > 1000:
                failures.append(f"{seed}: the message is {str(error)[:300]!r}")
        except BaseException:
            failures.append(f"{seed}: {traceback.format_exc()[-1500:]}")
        else:
            fits = _fits(target)
            try:
                unchanged = reader.works(read, folder) == identities[which]
                same, other = same + unchanged, other + (not unchanged)
                if not unchanged and not fits:
                    failures.append(f"{seed}: read something else, although the digest does not fit")
            except Exception:
                failures.append(f"{seed}: in use: {traceback.format_exc()[-1500:]}")
        seconds = time.process_time() - start
        slowest = max(slowest, seconds)
        if seconds > SECONDS:
            failures.append(f"{seed}: took {seconds:.2f} s")
    return {"count": count, "refused": refused, "same": same, "other": other, "slowest": slowest, "failures": failures}


def _fits(path: Path) -> bool:
    text, tensors = container._contents(path)
    description = json.loads(text or "{}")
    return bool(description.pop("sha256", None) == container.digest_of(description, tensors))


if __name__ == "__main__":
    warnings.simplefilter("error")
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))))
