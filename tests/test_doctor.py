"""The doctor says what is wrong with runs that are made wrong, and nothing about a healthy one."""

import dataclasses
import math

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

import backproof
from backproof import CrossEntropy, Linear, Network, Softmax, adam, sgd, train
from backproof.doctor import RULES, Doctor, LayerVitals, Vitals, rules
from backproof.layers import ReLU, Sigmoid


def examples(n=400, features=5, classes=3, seed=0):
    """Three clouds that overlap a little."""
    rng = np.random.default_rng(seed)
    t = rng.integers(0, classes, n)
    return rng.normal(size=(n, features)) + 1.5 * rng.normal(size=(classes, features))[t], t


def network(*hidden):
    return Network([*hidden, Linear(3), Softmax()], CrossEntropy())


def remarks(net, x, t, optimizer, epochs=8, **options):
    """All remarks, joined."""
    records = train(net, x, t, optimizer=optimizer, epochs=epochs, seed=0, doctor=Doctor(share=1.0), **options)
    return " | ".join(remark for record in records for remark in record.remarks)


def test_a_healthy_run_hears_nothing():
    x, t = examples()
    assert remarks(network(Linear(16), ReLU()), x, t, adam(3e-3), epochs=20, validation=(x[:100], t[:100])) == ""


def test_saturated_sigmoids():
    x, t = examples()
    assert "are saturated" in remarks(network(Linear(8), Sigmoid()), 1e3 * x, t, adam(1e-3))


def test_dead_rectifiers():
    x, t = examples()
    net = network(Linear(8), ReLU()).initialise(x, seed=0)
    net.named_parameters()["0.bias"][:5] = -1e3
    assert "layer 1 (ReLU): 62% of its units give the same for every example" in remarks(net, x, t, adam(1e-3))


def test_a_vanished_gradient():
    x, t = examples()
    deep = [part for _ in range(8) for part in (Linear(8), Sigmoid())]
    assert "layer 0 (Linear): its gradient is" in remarks(network(*deep), x, t, sgd(1e-2))


def test_steps_that_are_too_large_and_too_small():
    x, t = examples()
    fast = Vitals(3, 100, (LayerVitals(0, "Linear", gradient=1.0, update=0.2, weight=1.0),), (1.0,), (), (1.0,))
    assert "layer 0 (Linear): a step changes its weights by 20% of their size" in str(rules.large_steps(fast))
    assert rules.large_steps(dataclasses.replace(fast, step=10)) is None
    assert "try a higher learning rate" in remarks(network(Linear(8), ReLU()), x, t, sgd(1e-9))


def test_overfitting():
    x, t = examples(40)
    other, labels = examples(200, seed=1)  # other clouds: nothing of these can be learnt
    text = remarks(network(Linear(64), ReLU()), x, t, adam(1e-2), epochs=60, validation=(other, labels))
    assert "the held-out loss rises since epoch" in text


def test_labels_that_have_nothing_to_do_with_the_examples():
    x, t = examples(4000)
    text = remarks(network(), x, np.random.default_rng(5).permutation(t), sgd(1e-3), epochs=6)
    assert "no better than guessing by the classes' frequencies" in text


def test_the_baseline_is_the_loss_of_biases_alone():
    """Against the optimum that training finds on features that are all 0, smoothing included."""
    _, t = examples(300)
    for smoothing in (0.0, 0.2):
        net = Network([Linear(3), Softmax()], CrossEntropy(label_smoothing=smoothing), dtype="float64")
        *_, last = train(net, np.zeros((300, 2)), t, optimizer=backproof.lbfgs(), epochs=100, seed=0)
        assert rules.baseline(t, 3, smoothing) == pytest.approx(last.train_loss, rel=1e-9)


def test_imbalance_and_a_leak():
    x, t = examples(400)
    t[5:] = np.minimum(t[5:], 1)
    t[:5] = 2
    assert "times as many examples as the smallest" in remarks(network(), x, t, adam(1e-3), epochs=1)
    x, t = examples(400)
    x[:, 3] = t + 0.1 * np.random.default_rng(0).normal(size=400)
    assert "feature 3 alone tells the classes apart (100.0% of" in remarks(network(), x, t, adam(1e-3), epochs=1)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("wrong", [0, 5, 100])
def test_a_leak_is_found_behind_mistakes_and_among_many_features(classes, wrong):
    """The label's name in another code, with some of 2000 mistaken; scikit-learn's tree of one split a class says the same."""
    rng = np.random.default_rng(wrong + classes)
    t = rng.integers(0, classes, 2000)
    x = rng.normal(size=(2000, 50))
    x[:, 7] = rng.permutation(classes)[np.where(rng.permutation(2000) < wrong, rng.integers(0, classes, 2000), t)]
    said = rules.leak(rules.Examples(x, t, classes))
    tree = DecisionTreeClassifier(max_leaf_nodes=classes, random_state=0).fit(x, t)
    assert (said is not None) == (tree.score(x, t) > rules.LEAK) == (wrong < 100)
    assert said is None or "feature 7 alone" in said.text


def test_features_that_say_nothing_are_no_leak_even_if_the_examples_come_class_by_class():
    t = np.repeat([0, 1], 500)
    x = np.zeros((1000, 4))
    x[:, 1] = np.arange(1000) % 7
    said = [r for record in train(network(), x, t, epochs=1, seed=0, doctor=Doctor()) for r in record.remarks]
    assert not any("tells the classes apart" in remark for remark in said)


def test_an_exploding_gradient():
    vitals = Vitals(3, 100, (), (1.0, 1.0, 1.0), (), (1e-2, 1.0, 20.0))
    assert "2e+03 times as long" in str(rules.exploding(vitals))
    assert rules.exploding(Vitals(2, 100, (), (1.0, 1.0), (), (1e-2, 1.0))) is None


def test_each_thing_is_said_once():
    x, t = examples()
    net = network(Linear(8), Sigmoid())
    said = [r for record in train(net, 1e3 * x, t, epochs=6, seed=0, doctor=Doctor(share=1.0)) for r in record.remarks]
    assert len(said) == len(set(said)) >= 1


def test_looks_are_put_off_until_they_are_cheap():
    """No look but the first and the last where looking may take no time; all of them where it may take any."""
    x, t = examples()
    counts = []
    for share in (0.0, 1.0):
        doctor = Doctor(share=share)
        list(train(network(Linear(8), ReLU()), x, t, epochs=12, seed=0, doctor=doctor))
        counts.append(len(doctor.vitals))
    assert counts[0] <= 2
    assert counts[1] == 12


def test_measurements_by_hand():
    x, t = examples(50)
    net = network(Linear(4), ReLU())
    doctor = Doctor(share=1.0)
    list(train(net, x, t, epochs=1, batch_size=50, seed=0, optimizer=sgd(0.1), doctor=doctor))
    first = doctor.vitals[0].layers[0]
    weight = net.named_parameters()["0.weight"]
    assert first.weight == pytest.approx(math.sqrt((weight**2).mean()))
    assert first.update == pytest.approx(0.1 * first.gradient, rel=1e-6)
    hidden = np.maximum(x @ weight.T + net.named_parameters()["0.bias"], 0)
    assert doctor.vitals[0].layers[1].dead == np.mean(np.ptp(hidden, axis=0) == 0)


def test_weights_are_those_of_a_run_without_a_doctor():
    x, t = examples()
    ends = []
    for doctor in (None, Doctor(share=1.0)):
        net = network(Linear(8), ReLU())
        list(train(net, x, t, epochs=3, seed=0, doctor=doctor))
        ends.append(net.parameters.copy())
    assert np.array_equal(*ends)


def test_a_rule_is_a_function_of_the_vitals():
    calm = Vitals(1, 10, (LayerVitals(0, "Linear"),), (1.0,), (1.0,), (1.0,))
    assert all(rule(calm) is None for rule in RULES)


def test_bad_arguments():
    x, t = examples(10)
    with pytest.raises(backproof.BackproofError, match="doctor"):
        train(network(), x, t, doctor=True)
    with pytest.raises(backproof.BackproofError, match="sample"):
        Doctor(sample=0)
