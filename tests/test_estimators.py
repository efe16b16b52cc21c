"""What the estimators promise: known optima, weights of every kind, going on where they ended, stopping, and clear errors."""

from __future__ import annotations

import pickle
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from scipy.special import expit, log_softmax
from sklearn.base import clone
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer, log_loss
from sklearn.utils.class_weight import compute_class_weight

import backproof as bp

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
RNG = np.random.default_rng(0)
UNEVEN = np.concatenate([np.arange(50), np.arange(50, 70), np.arange(100, 110)])  # 50, 20 and 10 of the three classes
SOFT = 0.9 * np.eye(3)[Y] + 0.1 * RNG.dirichlet(np.ones(3), size=len(Y))


def regression(**options) -> bp.SoftmaxClassifier:
    """Softmax regression to its optimum; scikit-learn's C is then 1 / (l2 * sum of the weights)."""
    return bp.SoftmaxClassifier(hidden=(), optimizer=bp.lbfgs(gradient_tolerance=1e-8), epochs=3000, l2=0.01, **options)


def logistic(weight_sum: float, **options) -> LogisticRegression:
    return LogisticRegression(C=1 / (0.01 * weight_sum), tol=1e-10, max_iter=10000, **options)


def small(**options) -> bp.SoftmaxClassifier:
    return bp.SoftmaxClassifier(**{"hidden": (8,), "epochs": 20, "learning_rate": 0.02, "random_state": 0, **options})


# --- optima that others find too -------------------------------------------------------------------------------------------
def test_softmax_regression_is_logistic_regression():
    ours, theirs = regression().fit(X, NAMES), logistic(len(X)).fit(X, NAMES)
    assert np.abs(ours.predict_proba(X) - theirs.predict_proba(X)).max() < 1e-5
    assert ours.classes_.tolist() == theirs.classes_.tolist()
    assert (ours.predict(X) == theirs.predict(X)).all()


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 2: 7.0}])
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weights_are_those_of_logistic_regression(class_weight, weighted):
    x, y = X[UNEVEN], Y[UNEVEN]
    w = np.random.default_rng(1).uniform(0.1, 2.0, len(y)) if weighted else np.ones(len(y))
    if class_weight == "balanced":
        given = dict(enumerate(compute_class_weight("balanced", classes=np.arange(3), y=y, sample_weight=w)))
    else:
        given = {0: 1.0, 1: 1.0, 2: 7.0}
    total = sum(w[i] * given[label] for i, label in enumerate(y))
    ours = regression(class_weight=class_weight).fit(x, y, sample_weight=w if weighted else None)
    theirs = logistic(total, class_weight=given).fit(x, y, sample_weight=w)
    assert np.abs(ours.predict_proba(X) - theirs.predict_proba(X)).max() < 1e-5


def test_probabilities_as_targets_are_weighted_labels():
    """-sum_k p_k ln h_k is the loss of an example that stands there once a class, with the weight p_k."""
    ours = regression(targets="probabilities").fit(X, SOFT)
    theirs = logistic(len(X)).fit(np.repeat(X, 3, axis=0), np.tile(np.arange(3), len(X)), sample_weight=SOFT.ravel())
    assert np.abs(ours.predict_proba(X) - theirs.predict_proba(X)).max() < 1e-5
    assert ours.score(X, SOFT) == ours.score(X, SOFT.argmax(1))


def test_smoothed_labels_are_probabilities():
    smooth = regression(label_smoothing=0.3).fit(X, Y)
    soft = regression(targets="probabilities").fit(X, 0.7 * np.eye(3)[Y] + 0.1)
    assert np.abs(smooth.predict_proba(X) - soft.predict_proba(X)).max() < 1e-5


def test_several_labels_are_as_many_logistic_regressions():
    x, y = make_multilabel_classification(n_samples=200, n_features=6, n_classes=4, random_state=0)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    ours = regression().fit(x, y)
    theirs = np.column_stack([logistic(len(x)).fit(x, y[:, k]).predict_proba(x)[:, 1] for k in range(4)])
    assert np.abs(ours.predict_proba(x) - theirs).max() < 1e-5
    assert np.allclose(expit(ours.decision_function(x)), ours.predict_proba(x), atol=1e-14)
    assert np.array_equal(ours.predict(x), (theirs > 0.5).astype(int))
    assert np.allclose(ours.predict_log_proba(x), np.log(theirs), atol=1e-4)
    assert ours.classes_.tolist() == [0, 1, 2, 3]
    assert np.array_equal(regression().fit(x, scipy.sparse.csr_array(y)).predict(x), ours.predict(x))


def test_weights_by_label_draw_towards_that_label_being_right():
    x, y = make_multilabel_classification(n_samples=200, n_features=6, n_classes=3, random_state=0)
    plain, weighted = regression().fit(x, y), regression(class_weight={1: 50.0}).fit(x, y)

    def losses(model):
        return [log_loss(y[:, k], model.predict_proba(x)[:, k]) for k in range(3)]

    assert losses(weighted)[1] < losses(plain)[1]
    assert losses(weighted)[0] == pytest.approx(losses(plain)[0], abs=1e-5)  # without hidden units each label is on its own


def test_smoothed_label_matrices_end_at_the_smoothed_share():
    y = np.tile([[1, 0]], (20, 1))
    model = regression(label_smoothing=0.2).set_params(l2=0.0).fit(np.zeros((20, 1)), y)
    assert np.allclose(model.predict_proba(np.zeros((1, 1))), [[0.9, 0.1]], atol=1e-5)


@pytest.mark.parametrize("outputs", [1, 3])
def test_linear_regression_is_ridge(outputs):
    targets = X @ RNG.normal(size=(4, outputs)) + RNG.normal(size=(len(X), outputs))
    ours = bp.NetworkRegressor(hidden=(), optimizer=bp.lbfgs(gradient_tolerance=1e-9), epochs=3000, l2=0.1).fit(X, targets)
    theirs = Ridge(alpha=0.1 * len(X)).fit(X, targets)
    assert ours.predict(X).shape == targets.shape
    assert np.abs(ours.predict(X) - theirs.predict(X).reshape(targets.shape)).max() < 1e-6


@pytest.mark.parametrize(
    "loss", ["kl-divergence", "squared-error", "huber", bp.CrossEntropy(label_smoothing=0.1), bp.SquaredError()]
)
def test_every_loss_trains_a_classifier(loss):
    model = small(loss=loss, epochs=60).fit(X, NAMES)
    assert model.score(X, NAMES) > 0.9
    assert np.allclose(model.predict_proba(X).sum(axis=1), 1.0)
    z = model.decision_function(X)
    assert np.allclose(log_softmax(z, axis=1), model.predict_log_proba(X), atol=1e-12)
    assert np.array_equal(z, model.network_.logits(X)) == (
        getattr(loss, "link", loss) not in ("squared-error", "huber", "identity")
    )


@pytest.mark.parametrize("loss", ["huber", bp.Huber(0.5), bp.SquaredError()])
def test_every_loss_trains_a_regressor(loss):
    model = bp.NetworkRegressor(hidden=(16,), activation="tanh", loss=loss, epochs=100, learning_rate=0.01, random_state=0)
    assert model.fit(X[:, :3], X[:, 3]).score(X[:, :3], X[:, 3]) > 0.9


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd", "lbfgs", bp.chain(bp.clip_by_norm(1.0), bp.sgd(0.1))])
@pytest.mark.parametrize("activation", ["relu", "softmax", bp.LeakyReLU(0.2)])
def test_every_optimizer_and_activation(optimizer, activation):
    rate = None if not isinstance(optimizer, str) or optimizer == "lbfgs" else 0.03
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = small(optimizer=optimizer, activation=activation, learning_rate=rate, epochs=100).fit(X, Y)
    assert model.score(X, Y) > 0.9


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "warm-up", bp.cosine(0.02, 100)])
def test_every_schedule(schedule):
    model = small(schedule=schedule, learning_rate=None if callable(schedule) else 0.02, epochs=40).fit(X, Y)
    assert model.score(X, Y) > 0.9


def test_hidden_layers_are_sizes_and_layers():
    model = small(hidden=[8, bp.Residual(bp.Linear(8), bp.Tanh()), 4], activation="silu", dropout=0.1).fit(X, Y)
    kinds = [type(layer).__name__ for layer in model.network_.layers]
    assert kinds == ["Linear", "SiLU", "Dropout", "Residual", "Linear", "SiLU", "Dropout", "Linear", "Softmax"]
    assert [type(layer).__name__ for layer in small(hidden=6).fit(X, Y).network_.layers] == ["Linear", "ReLU", "Linear", "Softmax"]
    standardised = small(hidden=[bp.Standardize.fit(X + 1e6), 8], loss="squared-error").fit(X + 1e6, Y)
    assert standardised.score(X + 1e6, Y) > 0.9
    assert np.allclose(standardised.predict_proba(X + 1e6), standardised.network_.predict(X + 1e6))


# --- what comes out --------------------------------------------------------------------------------------------------------
def test_logarithms_of_probabilities_stay_finite():
    model = small().fit(X, Y)
    model.network_.parameters *= 200.0
    z = model.decision_function(X)
    assert (model.predict_proba(X) == 0).any()
    assert np.isfinite(model.predict_log_proba(X)).all()
    assert np.allclose(model.predict_log_proba(X), log_softmax(z.astype(np.longdouble), axis=1).astype(float), rtol=1e-12)


def test_two_classes_have_one_logit():
    model = small().fit(X[:100], NAMES[:100])
    z = model.decision_function(X)
    assert z.shape == (len(X),)
    assert np.allclose(expit(z), model.predict_proba(X)[:, 1], atol=1e-14)
    assert np.array_equal(model.predict(X) == "versicolor", z > 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_precision_of_x_is_kept(dtype):
    model = small().fit(X.astype(dtype), Y)
    assert model.network_.dtype == dtype
    assert {model.predict_proba(X.astype(dtype)).dtype, model.decision_function(X.astype(dtype)).dtype} == {np.dtype(dtype)}
    assert small().fit((10 * X).astype(int), Y).network_.dtype == np.float64
    assert bp.NetworkRegressor((4,), epochs=1).fit(X.astype(dtype), Y).predict(X.astype(dtype)).dtype == dtype


@pytest.mark.parametrize("frame", [pd.DataFrame, lambda values: pl.DataFrame(dict(zip("abcd", values.T, strict=True)))])
def test_frames_and_names(frame):
    columns = frame(X)
    if isinstance(columns, pd.DataFrame):
        columns.columns = list("abcd")
    y = pd.Series(NAMES) if isinstance(columns, pd.DataFrame) else pl.Series(NAMES)
    model = small(early_stopping=True, scoring="accuracy").fit(columns, y)
    assert model.feature_names_in_.tolist() == list("abcd")
    assert model.network_.metadata == {"classes": ["setosa", "versicolor", "virginica"], "features": list("abcd")}
    assert np.array_equal(model.predict(columns), small(early_stopping=True, scoring="accuracy").fit(X, NAMES).predict(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(columns[["b", "a", "c", "d"]])


def test_the_columns_of_a_frame_of_probabilities_name_the_classes():
    model = small(targets="probabilities").fit(X, pd.DataFrame(SOFT, columns=["a", "b", "c"]))
    assert set(model.predict(X)) == {"a", "b", "c"}
    assert np.mean(model.predict(X) == np.array(["a", "b", "c"])[Y]) > 0.9


@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, scipy.sparse.csc_matrix, scipy.sparse.coo_array])
@pytest.mark.parametrize(
    "options",
    [{"early_stopping": True}, {"optimizer": "lbfgs", "activation": "tanh", "learning_rate": None, "l2": 0.1, "epochs": 500}],
)
def test_sparse_input_is_dense_input(kind, options):
    x = np.where(np.abs(X) > 0.5, X, 0.0)
    dense, sparse = small(**options).fit(x, Y), small(**options).fit(kind(x), Y)
    assert np.array_equal(dense.network_.parameters, sparse.network_.parameters)
    assert np.array_equal(dense.predict_proba(x), sparse.predict_proba(kind(x)))


def test_sparse_input_is_never_dense_as_a_whole():
    """20,000 x 5,000 numbers are 800 MB; the fit and the prediction must do with a small part of them."""
    x = scipy.sparse.random_array((20_000, 5_000), density=0.001, format="csr", rng=np.random.default_rng(0), dtype=np.float64)
    y = np.asarray(x[:, :500].sum(axis=1)).ravel() > np.asarray(x[:, 500:1000].sum(axis=1)).ravel()
    tracemalloc.start()
    try:
        small(epochs=1, batch_size=256, compiled=False).fit(x, y).partial_fit(x, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 80e6


def test_the_same_seed_gives_the_same_network():
    first = small(dropout=0.2, early_stopping=True).fit(X, Y).network_.parameters
    assert np.array_equal(first, small(dropout=0.2, early_stopping=True).fit(X, Y).network_.parameters)
    assert not np.array_equal(first, small(dropout=0.2, early_stopping=True, random_state=1).fit(X, Y).network_.parameters)
    for make in (np.random.default_rng, np.random.RandomState):
        again = [small(random_state=make(3)).fit(X, Y).network_.parameters for _ in range(2)]
        assert np.array_equal(*again)


def test_a_saved_network_predicts_what_the_estimator_does(tmp_path):
    model = small().fit(X, NAMES)
    bp.save(model.network_, tmp_path / "model.safetensors")
    assert np.array_equal(bp.load(tmp_path / "model.safetensors").predict(X), model.network_.predict(X))


@pytest.mark.parametrize("options", [{}, {"dropout": 0.2, "label_smoothing": 0.1, "l2": 1e-3, "class_weight": "balanced"}])
def test_compiled_steps_are_those_of_the_layers(options):
    x, y = X[UNEVEN], Y[UNEVEN]
    layers, compiled = (small(compiled=way, epochs=5, **options).fit(x, y) for way in (False, True))
    assert np.abs(layers.network_.parameters - compiled.network_.parameters).max() < 1e-9
    assert compiled.history_["loss"] == pytest.approx(layers.history_["loss"], rel=1e-9)
    with pytest.raises(bp.ArgumentError, match="expected a plain network with compiled=True"):
        small(compiled=True, activation="softmax").fit(x, y)


def test_the_way_is_the_same_for_a_fit_and_for_passes_one_by_one():
    x, y = np.tile(X, (8, 1)), np.tile(Y, 8)
    whole = small(epochs=12).fit(x, y)  # long enough to be compiled; the step's rounding is not the layers'
    pieces = small(epochs=12)
    for _ in range(12):
        pieces.partial_fit(x, y)
    assert np.array_equal(whole.network_.parameters, pieces.network_.parameters)
    assert not np.array_equal(whole.network_.parameters, small(epochs=12, compiled=False).fit(x, y).network_.parameters)


# --- weights of examples ---------------------------------------------------------------------------------------------------
def test_weights_of_zero_leave_out():
    kept = np.arange(len(X)) % 3 > 0
    assert np.array_equal(
        small().fit(X, Y, sample_weight=kept).network_.parameters, small().fit(X[kept], Y[kept]).network_.parameters
    )


# --- going on --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd", "dropout": 0.3}, {"optimizer": bp.adam(bp.cosine(0.02, 30))}])
def test_passes_one_by_one_are_those_of_a_fit(options):
    if "optimizer" in options and not isinstance(options["optimizer"], str):
        options = {**options, "learning_rate": None}
    whole = small(epochs=3, **options).fit(X, Y)
    pieces = small(**options)
    for _ in range(3):
        pieces.partial_fit(X, Y)
    assert np.array_equal(whole.network_.parameters, pieces.network_.parameters)
    assert whole.history_["loss"] == pieces.history_["loss"]
    warm = small(epochs=2, warm_start=True, **options).fit(X, Y).set_params(epochs=1).fit(X, Y)
    assert np.array_equal(whole.network_.parameters, warm.network_.parameters)
    assert warm.n_iter_ == len(warm.loss_curve_) == 3


def test_a_pickled_estimator_goes_on_like_the_other():
    model = small(optimizer=bp.adam(bp.warm_up(0.02, 10)), learning_rate=None, dropout=0.1).partial_fit(X, NAMES)
    twin = pickle.loads(pickle.dumps(model))
    for estimator in (model, twin):
        estimator.partial_fit(X, NAMES)
    assert np.array_equal(model.network_.parameters, twin.network_.parameters)
    assert np.array_equal(model.predict_proba(X), twin.predict_proba(X))


def test_a_fit_without_warm_start_begins_anew():
    model = small(random_state=5)
    first = model.fit(X, Y).network_.parameters.copy()
    assert np.array_equal(model.fit(X, Y).network_.parameters, first)
    assert model.n_iter_ == 20


def test_a_named_schedule_begins_anew_with_each_fit():
    model = small(schedule="cosine", epochs=5, warm_start=True).fit(X, Y)
    before = model.network_.parameters.copy()
    model.fit(X, Y)
    assert np.abs(model.network_.parameters - before).max() > 0.01  # at the cosine's end the rate was 0


def test_passes_over_a_matrix_of_labels():
    x, y = make_multilabel_classification(n_samples=60, n_features=5, n_classes=3, random_state=0)
    model = small().partial_fit(x[:30], y[:30])
    assert model.partial_fit(x[30:], y[30:]).predict(x).shape == y.shape
    with pytest.raises(bp.ShapeError, match=r"y: expected shape \(N, 3\)"):
        model.partial_fit(x, y[:, :2])


def test_a_class_that_comes_later_must_be_announced():
    model = small().partial_fit(X[:100], NAMES[:100], classes=np.unique(NAMES))
    assert model.partial_fit(X, NAMES).classes_.tolist() == ["setosa", "versicolor", "virginica"]
    model = small().partial_fit(X[:100], NAMES[:100])
    before = model.network_.parameters.copy()
    with pytest.raises(bp.LabelError, match=r"y: expected the classes \['setosa', 'versicolor'\], received 'virginica' besides"):
        model.partial_fit(X, NAMES)
    assert np.array_equal(model.network_.parameters, before)
    with pytest.raises(bp.LabelError, match=r"y: expected the classes"):
        model.partial_fit(X, Y)


@pytest.mark.parametrize("changed", [{"hidden": (9,)}, {"loss": "squared-error"}, {"activation": "tanh"}, {"dropout": 0.5}])
def test_another_network_in_a_warm_start_is_an_error(changed):
    model = small(warm_start=True).fit(X, Y)
    with pytest.raises(bp.ArgumentError, match="expected layers and loss as they were begun with"):
        model.set_params(**changed).fit(X, Y)
    assert model.set_params(**changed, warm_start=False).fit(X, Y).score(X, Y) > 0.8


def test_another_optimizer_or_penalty_in_a_warm_start():
    model = small(warm_start=True).fit(X, Y).set_params(optimizer="sgd", l2=10.0, epochs=30).fit(X, Y)
    assert np.abs(model.network_.named_parameters()["0.weight"]).max() < 0.01
    assert model.network_.loss(X, Y) == pytest.approx(np.log(3), abs=0.01)


def test_changed_class_weights_count_from_then_on():
    model = small(epochs=60, warm_start=True).fit(X[UNEVEN], Y[UNEVEN])
    weighted = clone(model).set_params(class_weight={2: 100.0}).fit(X[UNEVEN], Y[UNEVEN])
    model.set_params(class_weight={2: 100.0}).fit(X[UNEVEN], Y[UNEVEN])
    for estimator in (model, weighted):
        assert (estimator.predict(X[100:]) == 2).mean() > 0.9


# --- stopping --------------------------------------------------------------------------------------------------------------
NOISE = RNG.integers(0, 3, len(X))  # labels without meaning: what is learnt of them is soon worth nothing elsewhere


@pytest.mark.parametrize("scoring", ["loss", "neg_log_loss", "f1_macro", None, get_scorer("accuracy")])
def test_early_stopping_keeps_the_best_weights(scoring):
    model = small(hidden=(64,), early_stopping=True, scoring=scoring, n_iter_no_change=4, epochs=200)
    model.fit(X[::2], NOISE[::2], X_val=X[1::2], y_val=NOISE[1::2])
    by_loss = scoring == "loss"
    curve = np.array(model.history_["validation_loss" if by_loss else "validation_score"])
    best = curve.min() if by_loss else curve.max()
    scorer = {"loss": get_scorer("neg_log_loss"), None: get_scorer("accuracy")}.get(scoring) or get_scorer(scoring)
    now = scorer(model, X[1::2], NOISE[1::2])
    assert (-now if by_loss else now) == pytest.approx(best, rel=1e-12)
    assert len(curve) < 200
    assert len(curve) == model.n_iter_ == len(model.history_["loss"]) == len(model.history_["validation_loss"])
    assert len(curve) - 1 - int(curve.argmin() if by_loss else curve.argmax()) == 4


def test_early_stopping_holds_a_part_back_in_proportion():
    def is_even(estimator, x, y):
        return float(np.unique(y, return_counts=True)[1].tolist() == [10, 10, 10])

    model = small(early_stopping=True, validation_fraction=0.2, scoring=is_even).fit(X, NAMES)
    assert set(model.history_["validation_score"]) == {1.0}


def test_early_stopping_with_few_examples_or_lonely_classes():
    few = np.concatenate([X[:8], X[60:61], X[120:122]]), np.concatenate([Y[:8], Y[60:61], Y[120:122]])
    model = small(early_stopping=True).fit(*few)
    assert len(model.history_["validation_loss"]) == model.n_iter_
    assert model.classes_.tolist() == [0, 1, 2]


def test_early_stopping_on_the_training_data():
    model = small(early_stopping=True, validation_fraction=None, tol=10.0, n_iter_no_change=3).fit(X, Y)
    assert model.n_iter_ == 4
    assert "validation_loss" not in model.history_


def test_a_validation_set_is_watched_without_early_stopping():
    model = small(epochs=5).fit(X[::2], Y[::2], X_val=X[1::2], y_val=Y[1::2], sample_weight_val=np.arange(75.0))
    expected = log_loss(Y[1::2], model.predict_proba(X[1::2]), sample_weight=np.arange(75.0))
    assert model.history_["validation_loss"][-1] == pytest.approx(expected, rel=1e-12)
    assert len(model.history_["validation_loss"]) == 5


def test_the_validation_part_stays_the_same_in_a_warm_start():
    seen = []
    model = small(early_stopping=True, warm_start=True, scoring=lambda e, x, y: float(seen.append(x.copy()) or 0.0), epochs=2)
    model.fit(X, Y).fit(X, Y)
    assert all(np.array_equal(part, seen[0]) for part in seen)


def test_lbfgs_says_that_it_has_not_converged():
    with pytest.warns(ConvergenceWarning, match="L-BFGS stopped after 2 iterations with a gradient of norm"):
        bp.SoftmaxClassifier(optimizer="lbfgs", epochs=2, random_state=0).fit(X, Y)


def test_numbers_that_run_away_are_an_error_and_leave_the_last_good_weights():
    model = bp.NetworkRegressor(hidden=(8,), optimizer="sgd", learning_rate=1e9, random_state=0)
    with pytest.raises(bp.DivergenceError, match="learning rate"):
        model.fit(X, 1e3 * X[:, 0])
    assert np.isfinite(model.predict(X)).all()


# --- shown and called back -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_progress_is_shown(optimizer, capsys):
    small(verbose=1, epochs=4, optimizer=optimizer, learning_rate=None).fit(X, Y)
    assert "epoch    4/4" in capsys.readouterr().out
    small(epochs=4).fit(X, Y)
    assert capsys.readouterr().out == ""


def test_scikit_learns_callbacks_see_each_epoch_and_may_stop():
    callback = pytest.importorskip("sklearn.callback")

    class Watch(callback.FitCallback):
        def __init__(self):
            self.scores, self.ended = [], 0

        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...

        def on_fit_task_end(self, estimator, context, *, fitted_estimator, X, y):
            if context.task_name == "epoch":
                self.scores.append(fitted_estimator.score(X, y))
            else:
                self.ended += 1
            return len(self.scores) == 7

    watch = Watch()
    model = small(epochs=30).set_callbacks(watch).fit(X, NAMES)
    assert model.n_iter_ == len(watch.scores) == 7
    assert watch.ended == 1
    assert watch.scores[-1] == model.score(X, NAMES)


# --- errors ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": (8, 0)}, "expected hidden to be whole numbers from 1"),
        ({"hidden": "8"}, "expected hidden"),
        ({"activation": "rely"}, "expected activation to be 'relu' or"),
        ({"optimizer": "adagrad"}, "expected optimizer to be 'adam' or"),
        ({"learning_rate": 0}, "expected learning_rate to be None or a number above 0, received 0"),
        ({"dropout": 1.0}, "expected dropout to be a number at least 0 and below 1, received 1.0"),
        ({"epochs": 2.5}, "expected epochs to be a whole number from 1, received 2.5"),
        ({"batch_size": True}, "expected batch_size"),
        ({"class_weight": "even"}, "expected class_weight to be None or 'balanced' or a dictionary"),
        ({"class_weight": {7: 1.0}}, r"expected class_weight by the classes \[0, 1, 2\], received 7"),
        ({"class_weight": {1: -1.0}}, "expected class_weight to be finite and not negative"),
        ({"loss": "binary-cross-entropy"}, "expected a loss for y that is labels"),
        ({"loss": "hinge"}, "expected loss to be 'auto' or"),
        ({"loss": "kl-divergence", "label_smoothing": 0.1}, "expected no label_smoothing beside the loss KLDivergence"),
        ({"optimizer": bp.adam(), "learning_rate": 0.1}, "expected both in an optimizer that is no name"),
        ({"optimizer": "lbfgs", "learning_rate": 0.1}, "expected no learning_rate"),
        ({"schedule": bp.cosine(0.1, 10), "learning_rate": 0.1}, "expected learning_rate=None beside a schedule"),
        ({"early_stopping": 1}, "expected early_stopping to be True or False, received 1"),
        ({"random_state": "x"}, "expected random_state"),
        ({"targets": "soft"}, "expected targets to be 'labels' or 'probabilities'"),
        ({"targets": "probabilities"}, r"y: expected shape \(N, classes\)"),
    ],
)
def test_what_makes_no_sense_is_named(options, message):
    with pytest.raises(bp.ArgumentError, match=message) as caught:
        small(**{"learning_rate": None, **options}).fit(X, Y)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (2 * SOFT, r"rows that sum to 1 .* received the sum 2 in row"),
        (np.array([1.5, -0.5, 0.0]) * np.ones_like(SOFT), "finite and not negative"),
    ],
)
def test_targets_that_are_no_probabilities_are_named(y, message):
    with pytest.raises(bp.ArgumentError, match=message):
        small(targets="probabilities").fit(X, y)


def test_other_calls_that_make_no_sense():
    with pytest.raises(bp.ArgumentError, match="expected class_weight as a dictionary"):
        small(class_weight="balanced").partial_fit(X, Y)
    with pytest.raises(bp.ArgumentError, match="partial_fit: expected schedule='constant' or a function"):
        small(schedule="cosine").partial_fit(X, Y)
    with pytest.raises(bp.ArgumentError, match="expected X_val and y_val together"):
        small().fit(X, Y, X_val=X)
    with pytest.raises(bp.ArgumentError, match="sample_weight: expected numbers that are finite and not negative"):
        small().fit(X, Y, sample_weight=-np.ones(len(X)))
    with pytest.raises(bp.ArgumentError, match="expected a loss for numbers"):
        bp.NetworkRegressor(loss=bp.CrossEntropy()).fit(X, Y)
    with pytest.raises(bp.ShapeError, match=r"or probabilities with targets='probabilities', received shape \(150, 3\)"):
        small().fit(X, SOFT)
    with pytest.raises(bp.ArgumentError, match="class_weight by label for a matrix"):
        small(class_weight="balanced").fit(X, np.eye(3, dtype=int)[Y])
