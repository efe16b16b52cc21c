"""Model files: what is saved is what is loaded, and a damaged file is one clear error."""

from __future__ import annotations

import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import backproof as bp
from backproof.saving.container import digest_of
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


def described(path: Path) -> dict:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return json.loads(file.metadata()["backproof"])


def rewrite(path: Path, description: dict, tensors: dict, **metadata: str) -> Path:
    """The file with another description and other tensors, and a digest that fits: as someone who means harm would write it."""
    description.pop("sha256", None)
    try:
        digest = digest_of(description, tensors)
    except ValueError:
        digest = ""  # nan: refused before
    save_file(tensors, path, metadata={"backproof": json.dumps({**description, "sha256": digest}), **metadata})
    return path


def change(saved: Path, **changes: object) -> Path:
    return rewrite(saved, described(saved) | changes, load_file(saved))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "expected format 1 or older, received 99: a newer version of backproof reads it"),
        ({"format": True}, "expected format 1, received True"),
        ({"format": "1"}, "expected format 1, received '1'"),
        ({"kind": "checkpoint"}, "expected a model, received a file that says it is 'checkpoint'"),
        ({"layers": [{"layer": "Evil"}]}, "unknown layer 'Evil'"),
        ({"layers": [{"layer": "Layer"}]}, "unknown layer 'Layer'"),
        ({"layers": [{"layer": "Linear", "outputs": -1}]}, "Linear cannot be made"),
        ({"layers": [{"layer": "Linear", "outputs": 3}]}, "expected the tensor '0.weight' of shape"),
        ({"layers": [{"layer": "Standardize", "mean": {"tensor": "x"}, "scale": 1}]}, "expected the tensor 'x'"),
        ({"loss": {"loss": "os.system"}}, "unknown loss"),
        ({"in_shape": 4}, "expected in_shape to be a list of sizes, received 4"),
        ({"in_shape": [2**40]}, "expected in_shape to be a list of sizes"),
        ({"in_shape": [2**30]}, "expected examples of shape (..., 4)"),
        ({"layers": [{"layer": "Linear", "outputs": 2**40}]}, "expected the tensor '0.weight' of shape (1099511627776, 4)"),
        ({"layers": 5}, "a damaged one (TypeError"),
        ({"loss": None, "l2": math.nan}, "the number NaN"),
        ({"loss": {"loss": "CrossEntropy", "ignore_index": 1e308}}, "expected ignore_index to be a whole number, received 1e+308"),
        ({"l2": 10**300}, "the number 1000"),
        ({"metadata": "x"}, "expected metadata by name"),
        ({"metadata": {"text": "\ud800"}}, "surrogates not allowed"),
        ({"dtype": "object"}, "float32 or float64"),
        ({"dtype": "float32"}, "expected the tensor '1.weight' of shape (2, 4), float32, received shape (2, 4), float64"),
    ],
)
def test_a_description_that_makes_no_sense_is_one_clear_error(saved, changes, message):
    with pytest.raises(bp.ModelFileError, match=r"m\.safetensors") as caught:
        bp.load(change(saved, **changes))
    assert message in str(caught.value)


def test_more_axes_than_numpy_can_broadcast_are_one_clear_error(tmp_path):
    network = bp.Network([bp.Softmax(mask=np.array([True, False, True]))]).initialise_shape((3,), seed=0)
    saved = bp.save(network, tmp_path / "m.safetensors")
    with pytest.raises(bp.ModelFileError, match=r"m\.safetensors: expected a description that makes sense"):
        bp.load(change(saved, in_shape=[1] * 62 + [3]))


def test_arrays_among_the_hyperparameters_keep_their_shape(tmp_path):
    network = bp.Network([bp.Softmax(mask=np.array(True))]).initialise_shape((3,), seed=0)
    assert bp.load(bp.save(network, tmp_path / "m.safetensors")).layers[0].mask.shape == ()


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


@pytest.mark.parametrize("function", [bp.save, bp.to_onnx, bp.to_torch])
def test_an_estimator_is_told_to_give_its_network(function, tmp_path):
    model = bp.SoftmaxClassifier((), epochs=1).fit(X, [0, 1, 1])
    options = () if function is bp.to_torch else (tmp_path / "m",)
    with pytest.raises(bp.ArgumentTypeError, match=r"expected a Network, received a SoftmaxClassifier \(its network_ is one\)"):
        function(model, *options)


def test_unknown_entries_are_left_alone(saved):
    """What a later version adds, this one reads past."""
    network = bp.load(saved)
    assert repr(bp.load(change(saved, added={"by": ["a", 2.0]}))) == repr(network)
    rewrite(saved, described(saved), load_file(saved) | {"more": np.ones(2)}, author="someone")
    assert bp.load(saved).parameters.tobytes() == network.parameters.tobytes()


def test_one_flipped_bit_of_the_weights_is_seen(saved):
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(bp.ModelFileError, match="SHA-256"):
        bp.load(saved)


def test_a_key_that_stands_twice_is_refused(saved):
    text = json.dumps(described(saved)).replace('"l2": 0.0', '"l2": 0.0, "l2": 1.0')
    save_file(load_file(saved), saved, metadata={"backproof": text})
    with pytest.raises(bp.ModelFileError, match="twice"):
        bp.load(saved)


@pytest.mark.parametrize("metadata", [{"x": math.inf}, {"x": {1, 2}}, {"x": 2**70}, {"x": "\ud800"}, {"x": object()}])
def test_metadata_that_could_not_be_read_back_is_not_written(metadata, tmp_path):
    network = bp.Network([bp.Linear(2)], metadata=metadata).initialise(X, seed=0)
    with pytest.raises(bp.ArgumentError, match=r"m\.safetensors: expected a description of JSON values"):
        bp.save(network, tmp_path / "m.safetensors")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("layer", "shapes"), PUBLIC, ids=lambda value: repr(value)[:80])
def test_parameter_shapes_are_those_of_init(layer, shapes):
    def shapes_of(tree):
        return {name: shapes_of(value) if isinstance(value, dict) else value.shape for name, value in tree.items()}

    for shape in shapes:
        made = shapes_of(layer.init(np.random.default_rng(0), shape))
        assert layer.parameter_shapes(shape) == made
        assert list(layer.parameter_shapes(shape)) == list(made)


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_a_saved_file_has_the_permissions_of_any_other(saved, tmp_path):
    (tmp_path / "other").write_text("")
    assert stat.S_IMODE(saved.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_layers_within_layers_may_be_32_deep(tmp_path):
    layer = bp.Tanh()
    for _ in range(32):
        layer = bp.Residual(layer)
    file = bp.save(bp.Network([layer]).initialise(X, seed=0), tmp_path / "m")
    assert repr(bp.load(file).layers[0]) == repr(layer)
    with pytest.raises(bp.ArgumentError, match="32 deep"):
        bp.save(bp.Network([bp.Residual(layer)]).initialise(X, seed=0), tmp_path / "n")
    deeper = {"layer": "Residual", "layers": [{"layer": "Tanh"}]}
    for _ in range(32):
        deeper = {"layer": "Residual", "layers": [deeper]}
    with pytest.raises(bp.ModelFileError, match="32 deep"):
        bp.load(change(file, layers=[deeper]))
