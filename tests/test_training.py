"""Training end to end: known optima, reproducibility, stopping, and what happens when numbers run away."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import sklearn.datasets
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import backproof as bp

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(loc=m, size=(40, 3)) for m in (-1.5, 0.0, 1.5)])
T = np.repeat([0, 1, 2], 40)


def network(**options) -> bp.Network:
    return bp.Network([bp.Linear(8), bp.Tanh(), bp.Dropout(0.1), bp.Linear(3), bp.Softmax()], bp.CrossEntropy(), **options)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_softmax_regression_by_lbfgs_is_logistic_regression(name):
    """The penalised problem is convex: any two good optimisers meet. sklearn's C = 1 is l2 = 1/N on the mean loss."""
    x, t = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    model = bp.Network([bp.Linear(int(t.max()) + 1, init_weights="zeros"), bp.Softmax()], bp.CrossEntropy(), l2=1 / len(x))
    *_, record = bp.train(model, x, t, optimizer=bp.lbfgs(gradient_tolerance=1e-7), epochs=2000, seed=0)
    # For two classes sklearn fits one vector w, our softmax +-w/2 with half the penalty: |w|^2 / 4 is |w|^2 / (2 C) at C = 2.
    c = 2.0 if t.max() == 1 else 1.0
    reference = LogisticRegression(C=c, tol=1e-8, max_iter=10000).fit(x, t)
    assert np.abs(model.predict(x) - reference.predict_proba(x)).max() <= 1e-4
    optimum = {"iris": 0.209191788405, "wine": 0.067923234685, "digits": 0.063149668770}.get(name)
    if optimum is not None:
        assert record.train_loss == pytest.approx(optimum, abs=1e-9)


def test_same_seed_same_weights_and_another_seed_others():
    def weights(seed: int) -> bytes:
        model = network()
        for _ in bp.train(model, X, T, epochs=3, seed=seed):
            pass
        return model.parameters.tobytes()

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [bp.adam(0.01), bp.sgd(0.1, momentum=0.9, nesterov=True), bp.rmsprop(0.01), bp.lbfgs()])
def test_every_optimizer_learns(optimizer, dtype):
    model = bp.Network([bp.Linear(8), bp.Tanh(), bp.Linear(3), bp.Softmax()], bp.CrossEntropy(), l2=1e-3, dtype=dtype)
    records = list(bp.train(model, X, T, optimizer=optimizer, epochs=30, seed=0))
    assert records[-1].train_loss < 0.5 * records[0].train_loss or records[-1].train_loss < 0.5
    assert model.parameters.dtype == dtype
    assert [r.epoch for r in records] == list(range(1, len(records) + 1))


@pytest.mark.parametrize(("epochs", "options", "compiled"), [(3, {}, False), (5000, {}, True), (5000, {"ignore_index": 1}, False)])
def test_the_compiled_step_is_taken_where_the_layers_would_need_long(monkeypatch, epochs, options, compiled):
    """By the sizes, and by whether there is one; nothing else decides."""
    taken = []

    class Noted(bp.TrainingStep):
        def __init__(self, *arguments, compiled, **others):
            taken.append(compiled)
            super().__init__(*arguments, compiled=compiled, **others)

    monkeypatch.setattr("backproof.training.TrainingStep", Noted)
    model = bp.Network([bp.Linear(8), bp.Tanh(), bp.Dropout(0.1), bp.Linear(3), bp.Softmax()], bp.CrossEntropy(**options))
    next(bp.train(model, X, T, epochs=epochs, seed=0))
    assert taken == [compiled]


def test_standardising_once_is_standardising_in_every_batch():
    """The same inputs, so the same weights, bit for bit; layer numbers in messages stay those of the network."""
    layers = [bp.Standardize.fit(X), bp.Linear(8), bp.Tanh(), bp.Linear(3), bp.Softmax()]
    model, twin = (bp.Network(layers, bp.CrossEntropy(), dtype="float32").initialise(X, seed=0) for _ in range(2))
    *_, record = bp.train(model, X, T, validation=(X[:9], T[:9]), epochs=2, batch_size=50, seed=7, compiled=False)
    step, rng = bp.TrainingStep(twin, bp.adam()), np.random.default_rng(7)
    for _ in range(2):
        order = rng.permutation(len(X))
        for start in range(0, len(X), 50):
            step(X[order[start : start + 50]], T[order[start : start + 50]])
    assert np.array_equal(model.parameters, twin.parameters)
    assert record.validation_loss == model.loss(X[:9], T[:9])


def test_records_say_what_happened():
    model = network()
    records = list(bp.train(model, X, T, validation=(X[:30], T[:30]), epochs=4, batch_size=50, seed=0))
    assert [r.step for r in records] == [3, 6, 9, 12]
    last = records[-1]
    assert last.validation_loss == pytest.approx(model.loss(X[:30], T[:30]), rel=1e-12)
    assert last.metrics["validation_accuracy"] == np.mean(model.predict(X[:30]).argmax(1) == T[:30])
    assert last.gradient_norm > 0
    assert records[0].seconds <= last.seconds


@pytest.mark.parametrize("optimizer", [bp.adam(bp.cosine(0.01, 40)), bp.chain(bp.clip_by_norm(0.1), bp.sgd(0.1, momentum=0.9))])
def test_training_in_two_calls_takes_the_steps_of_one(optimizer):
    once, twice = network(), network()
    list(bp.train(once, X, T, optimizer=optimizer, epochs=6, seed=np.random.default_rng(4)))
    rng = np.random.default_rng(4)
    state = optimizer.init(twice.initialise(X, rng).parameters)
    for epochs in (4, 2):
        list(bp.train(twice, X, T, optimizer=optimizer, epochs=epochs, seed=rng, optimizer_state=state))
    assert np.array_equal(once.parameters, twice.parameters)


@pytest.mark.parametrize("optimizer", [bp.adam(0.01), bp.lbfgs()])
def test_a_sparse_x_is_trained_on_as_a_dense_one(optimizer):
    layers = [bp.Standardize.fit(X), bp.Linear(4), bp.Tanh(), bp.Linear(3), bp.Softmax()]
    x, models = np.where(abs(X) > 0.5, X, 0.0), []
    for kind in (np.asarray, scipy.sparse.csr_array, scipy.sparse.coo_matrix):
        models.append(bp.Network(layers, bp.CrossEntropy()))
        records = list(bp.train(models[-1], kind(x), T, validation=(kind(x), T), optimizer=optimizer, epochs=5, seed=0))
        assert records[-1].validation_loss == pytest.approx(models[0].loss(x, T), rel=1e-12)
    assert np.array_equal(models[0].parameters, models[1].parameters)
    assert np.array_equal(models[0].parameters, models[2].parameters)
    x[3, 1] = np.nan
    with pytest.raises(bp.ArgumentError, match="expected finite numbers, received nan"):
        bp.train(models[0], scipy.sparse.csr_array(x), T)


def test_weighted_validation_is_the_loss_of_copies():
    model, weights = network(), np.where(np.arange(120) < 20, 3.0, 1.0)
    *_, record = bp.train(model, X, T, validation=(X, T, weights), epochs=2, seed=0)
    copies = model.loss(np.repeat(X, weights.astype(int), axis=0), np.repeat(T, weights.astype(int)))
    assert record.validation_loss == pytest.approx(copies, rel=1e-12)
    assert record.validation_loss != pytest.approx(model.loss(X, T), rel=1e-3)


def test_the_penalty_is_in_the_reported_loss_and_in_the_gradient():
    model = bp.Network([bp.Linear(3), bp.Softmax()], bp.CrossEntropy(), l2=0.5).initialise(X, seed=0)
    bare = bp.Network(model.chain, bp.CrossEntropy()).initialise(X, seed=0)
    weight = model.named_parameters()["0.weight"]
    assert model.loss(X, T) - bare.loss(X, T) == pytest.approx(0.25 * np.sum(weight**2), rel=1e-12)
    difference = model.loss_and_gradient(X, T)[1] - bare.loss_and_gradient(X, T)[1]
    assert np.allclose(difference, np.concatenate([0.5 * weight.ravel(), np.zeros(3)]), atol=1e-15)


def test_sample_weights_count_like_copies():
    twice = np.concatenate([X, X[:20]]), np.concatenate([T, T[:20]])
    weights = np.where(np.arange(len(X)) < 20, 2.0, 1.0)
    model = bp.Network([bp.Linear(3), bp.Softmax()], bp.CrossEntropy()).initialise(X, seed=0)
    assert model.loss(X, T, weights) == pytest.approx(model.loss(*twice), rel=1e-13)
    assert np.allclose(model.loss_and_gradient(X, T, weights)[1], model.loss_and_gradient(*twice)[1], atol=1e-14)
    copies, weighted = (bp.Network(model.chain, bp.CrossEntropy(), l2=0.01) for _ in range(2))
    list(bp.train(copies, *twice, optimizer=bp.lbfgs(), epochs=200, seed=0))
    list(bp.train(weighted, X, T, sample_weight=weights, optimizer=bp.lbfgs(), epochs=200, seed=0))
    assert np.abs(copies.predict(X) - weighted.predict(X)).max() <= 1e-4


def test_early_stopping_puts_the_best_weights_back():
    model = network()
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 3, 40)  # labels without meaning: the validation loss soon gets worse
    stop = bp.EarlyStopping("validation_loss", patience=5)
    validation = (X[::3], rng.integers(0, 3, 40))
    records = list(
        bp.train(model, X[1::3], noise, validation=validation, optimizer=bp.adam(0.05), epochs=200, seed=0, early_stopping=stop)
    )
    losses = [r.validation_loss for r in records]
    assert len(records) < 200
    assert len(records) - 1 - int(np.argmin(losses)) == 5
    assert model.loss(*validation) == pytest.approx(min(losses), rel=1e-12)


def test_best_weights_are_put_back_also_when_the_caller_leaves():
    model = network()
    seen = []
    run = bp.train(model, X, T, validation=(X, T), epochs=50, seed=0, early_stopping=bp.EarlyStopping("validation_accuracy"))
    for record in run:
        seen.append((record.metrics["validation_accuracy"], model.parameters.copy()))
        if record.epoch == 6:
            break
    run.close()
    best = max(range(6), key=lambda i: (seen[i][0], -i))
    assert np.array_equal(model.parameters, seen[best][1])


def test_leaving_an_lbfgs_run_ends_its_thread():
    import threading

    model = bp.Network([bp.Linear(3), bp.Softmax()], bp.CrossEntropy())
    run = bp.train(model, X, T, optimizer=bp.lbfgs(), epochs=100, seed=0)
    first = next(run)
    kept = model.parameters.copy()
    run.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "lbfgs"]
    assert first.epoch == 1
    assert np.array_equal(model.parameters, kept)


def test_a_loss_that_runs_away_names_the_layer_and_keeps_the_last_good_weights():
    model = bp.Network([bp.Linear(4), bp.ReLU(), bp.Linear(1), bp.Identity()], bp.SquaredError(), dtype="float32")
    run = bp.train(model, X, X[:, :1], optimizer=bp.sgd(1e6), epochs=50, seed=0)
    with pytest.raises(bp.DivergenceError, match=r"expected finite numbers, but .*layer \d, Linear") as caught:
        list(run)
    assert np.isfinite(model.parameters).all()
    assert np.isfinite(model.loss(X, X[:, :1]))
    assert "learning rate" in str(caught.value)


def test_a_regression_that_runs_away_says_so_without_warnings():
    """The metrics of the last epoch are computed before the next step notices."""
    with pytest.raises(bp.DivergenceError):
        list(bp.train(bp.Network([bp.Linear(1)], bp.SquaredError()), X, X[:, :1], optimizer=bp.sgd(1e30), epochs=50, seed=0))
    assert bp.metrics.r2(np.full((3, 1), 1e200), np.array([[1.0], [2.0], [3.0]])) == -np.inf


@pytest.mark.parametrize("rate", [1e37, 1e40])  # logits overflow; parameters do
def test_a_last_step_that_runs_away_is_noticed(rate):
    model = bp.Network([bp.Linear(3), bp.Softmax()], bp.CrossEntropy(), dtype="float32")
    with pytest.raises(bp.DivergenceError, match="expected finite numbers"):
        list(bp.train(model, 1000 * X, T, optimizer=bp.sgd(rate), epochs=1, batch_size=120, seed=0))
    assert np.isfinite(model.loss(1000 * X, T))


def test_lbfgs_names_what_is_not_finite_at_its_start():
    model = bp.Network([bp.Linear(1)], bp.SquaredError()).initialise(X, seed=0)
    model.parameters[:] = 1e200
    with pytest.raises(bp.DivergenceError, match="the loss"):
        list(bp.train(model, X, X[:, :1], optimizer=bp.lbfgs(), seed=0))


def test_lbfgs_that_begins_at_the_optimum_gives_one_record():
    model = bp.Network([bp.Linear(2, init_weights="zeros"), bp.Softmax()], bp.CrossEntropy())
    x, t = np.ones((4, 2)), np.array([0, 1, 0, 1])
    records = list(bp.train(model, x, t, optimizer=bp.lbfgs(), epochs=10, seed=0))
    assert [r.train_loss for r in records] == [pytest.approx(np.log(2))]


def test_an_interrupt_ends_an_lbfgs_run(monkeypatch):
    import threading

    model = bp.Network([bp.Linear(3), bp.Softmax()], bp.CrossEntropy())
    run = bp.train(model, X, T, optimizer=bp.lbfgs(), epochs=100, seed=0)
    next(run)
    with pytest.raises(KeyboardInterrupt):
        run.throw(KeyboardInterrupt)
    assert not [thread for thread in threading.enumerate() if thread.name == "lbfgs"]


def test_early_stopping_minds_nan_and_the_direction():
    stop = bp.EarlyStopping("train_mae", mode="min")
    assert stop.better(1.0, 2.0)
    assert not stop.better(2.0, 1.0)
    assert bp.EarlyStopping("validation_loss").better(5.0, float("nan"))
    assert not bp.EarlyStopping("validation_loss").better(float("nan"), 5.0)


def test_ignored_examples_do_not_count_in_the_accuracy():
    model = bp.Network([bp.Linear(3), bp.Softmax()], bp.CrossEntropy(ignore_index=-1)).initialise(X, seed=0)
    t = np.where(np.arange(120) % 2, -1, model.predict(X).argmax(1))
    *_, record = bp.train(model, X, t, optimizer=bp.sgd(0.0), epochs=1, seed=0)
    assert record.metrics["train_accuracy"] == 1.0


def test_a_nan_in_a_parameter_or_a_gradient_is_located():
    model = bp.Network([bp.Linear(4), bp.Sigmoid(), bp.Linear(3), bp.Softmax()], bp.CrossEntropy()).initialise(X, seed=0)
    model.named_parameters()["2.weight"][0, 0] = np.nan
    with pytest.raises(bp.DivergenceError, match=r"a parameter of layer 2, Linear\(3\)"):
        next(bp.train(model, X, T, epochs=1, seed=0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": -1}, "batch_size"),
        ({"sample_weight": np.ones(3)}, "sample_weight: expected 120 entries"),
        ({"early_stopping": bp.EarlyStopping("validation_loss")}, "expected score to be one of"),
        ({"early_stopping": True}, "expected early_stopping to be an EarlyStopping"),
        ({"optimizer": "adam"}, "expected an optimizer such as"),
        ({"optimizer": bp.lbfgs()}, "without dropout"),
        ({"validation": (X, T, np.ones(5))}, "validation sample_weight: expected 120 entries"),
        ({"validation": 0.2}, r"expected validation to be \(x, t\)"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(bp.BackproofError, match=message):
        list(bp.train(network(), X, T, **{"epochs": 2, **arguments}))


def test_bad_data_is_named():
    bad = X.copy()
    bad[3, 1] = np.nan
    with pytest.raises(bp.ArgumentError, match=r"x: expected finite numbers, received nan at index \(3, 1\)"):
        bp.train(network(), bad, T)
    with pytest.raises(bp.ShapeError, match="t: expected 120 targets"):
        bp.train(network(), X, T[:5])
    with pytest.raises(bp.ShapeError, match="at least one example"):
        bp.train(network(), X[:0], T[:0])
