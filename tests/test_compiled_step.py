"""The compiled training step makes the same steps as the layers do, for every network that has one."""

from __future__ import annotations

import numpy as np
import pytest

import backproof as bp
from backproof.plan import compiled_plan, obstacle
from tests.numerical import relative_error

RNG = np.random.default_rng(4)
X = RNG.normal(size=(37, 6))
LABELS, BITS, REALS = RNG.integers(0, 3, 37), (RNG.random((37, 3)) > 0.5).astype(float), RNG.normal(size=(37, 3))
ACTIVATIONS = [bp.Sigmoid(), bp.Tanh(), bp.ReLU(), bp.LeakyReLU(0.2), bp.Softplus(), bp.SiLU(), bp.GELU(), bp.GELU("tanh")]

CASES = (
    [([bp.Linear(5), activation, bp.Linear(3), bp.Softmax()], bp.CrossEntropy(), LABELS) for activation in ACTIVATIONS]
    + [
        ([bp.Linear(3), bp.Softmax()], bp.CrossEntropy(), LABELS),
        ([bp.Linear(3)], bp.CrossEntropy(), RNG.dirichlet(np.ones(3), 37)),
        (
            [bp.Standardize.fit(X), bp.Linear(7, bias=False), bp.Tanh(), bp.Linear(4), bp.ReLU(), bp.Linear(3)],
            bp.CrossEntropy(),
            LABELS,
        ),
        ([bp.Linear(5), bp.Tanh(), bp.Linear(3), bp.Sigmoid()], bp.BinaryCrossEntropy(), BITS),
        ([bp.Linear(5), bp.Tanh(), bp.Linear(3), bp.Identity()], bp.SquaredError(), REALS),
        ([bp.Linear(5), bp.Tanh(), bp.Linear(1)], bp.SquaredError(), REALS[:, 0]),
        ([bp.Linear(19), bp.Linear(3)], bp.CrossEntropy(label_smoothing=0.1), LABELS),
        ([bp.Linear(3)], bp.CrossEntropy(label_smoothing=0.3, class_weight=[1.0, 2.5, 0.0]), LABELS),
        ([bp.Linear(3)], bp.CrossEntropy(label_smoothing=1.0, reduction="sum"), LABELS),
        ([bp.Linear(3)], bp.CrossEntropy(class_weight=[0.5, 0.0, 3.0]), LABELS),
        ([bp.Linear(3)], bp.CrossEntropy(label_smoothing=0.2, class_weight=[0.5, 0.1, 3.0]), RNG.dirichlet(np.ones(3), 37)),
        ([bp.Linear(3)], bp.SquaredError(reduction="sum"), REALS),
    ]
    + [
        (
            [bp.Linear(21), activation, bp.Dropout(0.3), bp.Linear(9), bp.Dropout(0.5), bp.Linear(3), bp.Softmax()],
            bp.CrossEntropy(),
            LABELS,
        )
        for activation in (bp.Identity(), bp.ReLU(), bp.LeakyReLU(0.2), bp.Tanh(), bp.GELU())
    ]
)


@pytest.mark.parametrize(("layers", "loss", "t"), CASES, ids=lambda value: repr(value)[:90])
@pytest.mark.parametrize("weights", [None, np.where(np.arange(37) % 3, 2.0, 0.0)], ids=["even", "weighted"])
@pytest.mark.parametrize("l2", [0.0, 0.7])
def test_loss_and_gradient_are_the_layers(layers, loss, t, weights, l2):
    """Dropout's numbers included, step after step: both draw them from generators of one seed."""
    network = bp.Network(layers, loss, l2=l2, dtype="float64").initialise(X, seed=0)
    step = bp.TrainingStep(network, bp.sgd(0.0), np.random.default_rng(5), compiled=True)
    rng = np.random.default_rng(5)
    for rows in (37, 37, 20):
        some = None if weights is None else weights[:rows]
        value = step(X[:rows], t[:rows], some)
        expected, gradient = network.loss_and_gradient(X[:rows], t[:rows], some, train=True, rng=rng)
        assert value == pytest.approx(expected, rel=1e-13)
        assert relative_error(step.gradient, gradient) <= 1e-12
    assert step.rng.random() == rng.random()


@pytest.mark.parametrize("optimizer", [bp.adam(bp.cosine(0.01, 8)), bp.adamw(0.01, weight_decay=0.1), bp.sgd(0.1, momentum=0.9)])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 2e-4)])
def test_many_steps_lead_to_the_same_weights(optimizer, dtype, tolerance):
    ends = []
    for compiled in (False, True):
        layers = [bp.Linear(9), bp.Tanh(), bp.Dropout(0.4), bp.Linear(3), bp.Softmax()]
        network = bp.Network(layers, bp.CrossEntropy(label_smoothing=0.1), l2=0.01, dtype=dtype).initialise(X, seed=0)
        start = network.parameters.copy()
        step = bp.TrainingStep(network, optimizer, np.random.default_rng(1), compiled=compiled)
        for i in range(8):
            step(X, LABELS, norm=i == 4)  # a step whose gradient is formed, among others whose gradient is not
        ends.append(network.parameters - start)
        assert step.count == 8
    assert relative_error(ends[1], ends[0]) <= tolerance


def test_training_is_the_same_by_either_way_and_reproducible():
    def run(compiled: bool) -> tuple[bp.Record, bytes]:
        network = bp.Network([bp.Linear(8), bp.ReLU(), bp.Linear(3), bp.Softmax()], bp.CrossEntropy())
        *_, record = bp.train(network, X, LABELS, epochs=5, batch_size=16, seed=3, compiled=compiled)
        return record, network.parameters.tobytes()

    (by_layers, _), (record, weights) = run(False), run(True)
    assert record.train_loss == pytest.approx(by_layers.train_loss, rel=1e-10)
    assert record.gradient_norm == pytest.approx(by_layers.gradient_norm, rel=1e-9)
    assert run(True)[1] == weights


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_a_run_that_diverges_goes_back_to_the_last_good_weights(rate):
    layers = [bp.Linear(8), bp.ReLU(), bp.Dropout(rate), bp.Linear(3)]
    network = bp.Network(layers, bp.SquaredError(), dtype="float32").initialise(X, seed=0)
    step = bp.TrainingStep(network, bp.adam(1e25), np.random.default_rng(0), compiled=True)
    with pytest.raises(bp.DivergenceError, match="layer"):
        [step(X, REALS) for _ in range(5)]
    assert np.isfinite(network.loss(X, REALS))


def test_the_last_good_weights_are_those_before_the_last_update():
    network = bp.Network([bp.Linear(8), bp.ReLU(), bp.Linear(3)], bp.SquaredError()).initialise(X, seed=0)
    step, passed = bp.TrainingStep(network, bp.adam(0.1), compiled=True), []
    for _ in range(3):
        passed.append(network.parameters.copy())
        step(X, REALS)
    with pytest.raises(bp.DivergenceError, match="the input x"):
        step(np.full_like(X, np.inf), REALS)
    assert np.array_equal(network.parameters, passed[-1])
    assert step.count == 3


def test_batches_of_any_shape_and_type_in_any_order():
    """A batch like the last one takes a shorter way; every other must be noticed, and none changes what a step is."""
    x32, weights = X.astype(np.float32), np.where(np.arange(37) % 3, 2.0, 0.0)
    fixed = x32.copy()
    fixed.flags.writeable = False
    batches = [
        (x32, LABELS, None), (x32[::-1].copy(), LABELS[::-1].copy(), None), (x32[:5], LABELS[:5], None),
        (x32[5:10], LABELS[5:10], None), (X, LABELS, None),
        (X, LABELS, None), (x32, LABELS.astype(np.int16), None), (x32, LABELS, None), (fixed, LABELS, None),
        (np.asfortranarray(x32), LABELS, None), (x32, LABELS[::-1], None), (x32, LABELS, weights), (x32, LABELS, None),
        (x32, np.eye(3)[LABELS], None), (x32, LABELS, None), (x32.tolist(), LABELS.tolist(), None), (x32, LABELS, None),
    ]  # fmt: skip
    one, two = (
        bp.Network([bp.Linear(9), bp.Tanh(), bp.Linear(3), bp.Softmax()], bp.CrossEntropy(), dtype="float32").initialise(X, seed=0)
        for _ in range(2)
    )
    step, fresh = bp.TrainingStep(one, bp.adam(0.01), compiled=True), bp.adam(0.01)
    state = fresh.init(two.parameters)
    for x, t, w in batches:
        expected, gradient = two.loss_and_gradient(np.asarray(x), np.asarray(t), w)
        assert step(x, t, w) == pytest.approx(expected, rel=1e-5)
        change, state = fresh.update(gradient, state, two.parameters)
        two.parameters += change
    assert relative_error(one.parameters, two.parameters) <= 1e-4


def test_a_bad_batch_after_good_ones_is_named_and_changes_nothing():
    network = bp.Network([bp.Linear(3), bp.Softmax()], bp.CrossEntropy()).initialise(X, seed=0)
    step = bp.TrainingStep(network, bp.adam(), compiled=True)
    step(X, LABELS)
    step(X, LABELS)
    for x, t, kind in (
        (X, LABELS + 1, bp.LabelError), (X, LABELS[:5], bp.ShapeError), (X[:5], LABELS, bp.ShapeError),
        (X[:, :2], LABELS, bp.ShapeError),
    ):  # fmt: skip
        step(X, LABELS, norm=False)
        before = network.parameters.copy()
        with pytest.raises(kind):
            step(x, t)
        assert np.array_equal(network.parameters, before)


def test_a_network_initialised_anew_is_the_one_that_is_trained():
    network = bp.Network([bp.Linear(3), bp.Softmax()], bp.CrossEntropy()).initialise(X, seed=0)
    step = bp.TrainingStep(network, bp.adam(), compiled=True)
    step(X, LABELS)
    step(X, LABELS)
    start = network.initialise(X, seed=1).parameters.copy()
    assert step(X, LABELS) == pytest.approx(network.loss(X, LABELS, parameters=start), rel=1e-12)
    assert not np.array_equal(network.parameters, start)


def test_bad_targets_are_named():
    network = bp.Network([bp.Linear(3), bp.Softmax()], bp.CrossEntropy()).initialise(X, seed=0)
    step = bp.TrainingStep(network, bp.adam(), compiled=True)
    for t, kind in ((LABELS + 1, bp.LabelError), (LABELS.astype(float), bp.ArgumentTypeError), (LABELS[:5], bp.ShapeError)):
        with pytest.raises(kind):
            step(X, t)
    with pytest.raises(bp.ShapeError, match="x: expected shape"):
        step(X[:, :2], LABELS)


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (bp.Network([bp.Dropout(0.5), bp.Linear(3)], bp.CrossEntropy()), "Dropout"),
        (bp.Network([bp.Linear(3), bp.Dropout(0.5), bp.Tanh(), bp.Linear(3)], bp.CrossEntropy()), "Tanh() where a Linear"),
        (bp.Network([bp.Linear(3), bp.Tanh()], bp.SquaredError()), "Tanh() after the last"),
        (bp.Network([bp.Linear(3), bp.Dropout(0.5)], bp.SquaredError()), "Dropout(0.5) after the last"),
        (bp.Network([bp.Linear(3), bp.Softmax(temperature=2.0)], bp.CrossEntropy()), "Scores"),
        (bp.Network([bp.Linear(3)], bp.CrossEntropy(ignore_index=2)), "ignore_index"),
        (bp.Network([bp.Linear(3)], bp.BinaryCrossEntropy(class_weight=[1.0, 2.0, 1.0])), "class_weight"),
        (bp.Network([bp.Linear(3)], bp.Huber()), "Huber"),
    ],
    ids=repr,
)
def test_what_keeps_a_network_from_being_compiled_is_said(network, why):
    network.initialise(X, seed=0)
    assert why in str(obstacle(network))
    with pytest.raises(bp.ArgumentError, match="expected a plain network with compiled=True"):
        bp.TrainingStep(network, bp.adam(), compiled=True)


def test_a_plan_has_the_layout_of_the_networks_parameters():
    network = bp.Network([bp.Linear(4), bp.Tanh(), bp.Linear(3)], bp.CrossEntropy()).initialise(X, seed=0)
    assert compiled_plan(network).size == network.parameters.size
