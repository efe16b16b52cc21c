"""Model files: what is saved is what is loaded, and a damaged file is one clear error."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import backproof as bp
from tests.test_layers import CASES
from tests.test_losses import CASES as LOSS_CASES

X = np.random.default_rng(0).normal(size=(3, 4))


PUBLIC = [case for case in CASES if type(case[0]).__name__ in bp.layers.__all__]


@pytest.mark.parametrize(("layer", "shapes"), PUBLIC, ids=lambda value: repr(value)[:80])
def test_every_layer_survives(layer, shapes, tmp_path):
    network = bp.Network([layer], dtype="float32").initialise_shape(shapes[0], seed=0)
    again = bp.load(bp.save(network, tmp_path / "m.safetensors"))
    x = np.random.default_rng(1).normal(size=(2, *shapes[0]))
    assert repr(again) == repr(network)
    assert again.predict(x).tobytes() == network.predict(x).tobytes()


@pytest.mark.parametrize("loss", [loss for loss, _ in LOSS_CASES], ids=repr)
def test_every_loss_survives(loss, tmp_path):
    network = bp.Network([bp.Linear(4)], loss, l2=0.25, metadata={"classes": ["a", "ü"], "n": 3}).initialise(X, seed=0)
    again = bp.load(bp.save(network, tmp_path / "m.safetensors"))
    assert (again.loss_function, again.l2, again.metadata) == (loss, 0.25, network.metadata)
    assert again.parameters.tobytes() == network.parameters.tobytes()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    network = bp.Network([bp.Standardize.fit(X), bp.Linear(2), bp.Softmax()], bp.CrossEntropy()).initialise(X, seed=0)
    return bp.save(network, tmp_path / "m.safetensors")


def test_other_programs_read_the_parameters_by_name(saved):
    assert set(load_file(saved)) == {"1.weight", "1.bias", "layers.0.mean", "layers.0.scale"}


def test_an_existing_file_is_kept_unless_told_otherwise(saved):
    before = saved.read_bytes()
    other = bp.Network([bp.Linear(3)]).initialise(X, seed=1)
    with pytest.raises(bp.OutputExistsError, match=r"m\.safetensors: exists already"):
        bp.save(other, saved)
    assert saved.read_bytes() == before
    bp.save(other, saved, overwrite=True)
    assert bp.load(saved).layers[0].outputs == 3
    assert [p.name for p in saved.parent.iterdir()] == ["m.safetensors"]  # no temporary file is left


def test_a_file_cut_short_anywhere_is_one_clear_error(saved, tmp_path):
    content = saved.read_bytes()
    for length in [0, 1, 7, 8, 20, len(content) // 2, len(content) - 1]:
        short = tmp_path / "short.safetensors"
        short.write_bytes(content[:length])
        with pytest.raises(bp.ModelFileError, match=r"short\.safetensors: expected a whole safetensors file"):
            bp.load(short)


def change(saved: Path, **changes: object) -> Path:
    from safetensors import safe_open

    with safe_open(saved, framework="np") as file:
        spec = json.loads(file.metadata()["backproof"])
    spec.update(changes)
    save_file(load_file(saved), saved, metadata={"backproof": json.dumps(spec)})
    return saved


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "expected format 1, received 99"),
        ({"layers": [{"layer": "Evil"}]}, "unknown layer 'Evil'"),
        ({"layers": [{"layer": "Layer"}]}, "unknown layer 'Layer'"),
        ({"layers": [{"layer": "Linear", "outputs": -1}]}, "Linear cannot be made"),
        ({"layers": [{"layer": "Linear", "outputs": 3}]}, "expected the tensor '0.weight' of shape"),
        ({"layers": [{"layer": "Standardize", "mean": {"tensor": "x"}, "scale": 1}]}, "expected the tensor 'x'"),
        ({"loss": {"loss": "os.system"}}, "unknown loss"),
        ({"in_shape": 4}, "damaged description"),
        ({"dtype": "object"}, "float32 or float64"),
    ],
)
def test_a_description_that_makes_no_sense_is_one_clear_error(saved, changes, message):
    with pytest.raises(bp.ModelFileError, match=r"m\.safetensors") as caught:
        bp.load(change(saved, **changes))
    assert message in str(caught.value)


def test_other_files_and_no_files(tmp_path):
    save_file({"a": np.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(bp.ModelFileError, match="safetensors file of something else"):
        bp.load(tmp_path / "other.safetensors")
    with pytest.raises(bp.ModelFileError, match="no such file"):
        bp.load(tmp_path / "none.safetensors")
    with pytest.raises(bp.ModelFileError, match="a folder"):
        bp.load(tmp_path)


def test_layers_of_ones_own_cannot_be_saved_unknowingly(tmp_path):
    @dataclass(frozen=True, repr=False)
    class Mine(bp.Identity):
        rule = bp.Identity().rule

    network = bp.Network([bp.Linear(2), Mine()]).initialise(X, seed=0)
    with pytest.raises(bp.ArgumentError, match=r"expected layers of backproof\.layers, received Mine\(\)"):
        bp.save(network, tmp_path / "m.safetensors")
