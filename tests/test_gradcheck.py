"""Numerical derivatives: right, and honest about how right. And the comparison of a gradient with them finds what is wrong."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import backproof as bp
from backproof.gradcheck import compare_gradient, derivative

FUNCTIONS = {
    "exp": (np.exp, mpmath.exp),
    "sin": (np.sin, mpmath.sin),
    "log": (np.log, mpmath.log),
    "sqrt": (np.sqrt, mpmath.sqrt),
    "offset": (lambda x: 1e6 + np.sin(x), lambda x: mpmath.mpf(10) ** 6 + mpmath.sin(x)),
    "steep": (lambda x: np.tanh(30 * x), lambda x: mpmath.tanh(30 * x)),
    "cubic": (lambda x: x**3 - 2 * x, lambda x: x**3 - 2 * x),
    "flat": (lambda x: 0 * x + 3.0, lambda x: mpmath.mpf(3) + 0 * x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("x", [0.3, 1.0, 7.5])
def test_the_error_bar_covers_the_error(name, x):
    function, exact = FUNCTIONS[name]
    value, error = derivative(lambda h: function(x + h), at=x)
    true = float(mpmath.diff(exact, mpmath.mpf(x), h=mpmath.mpf(10) ** -12)) if name != "flat" else 0.0
    assert abs(value - true) <= error
    # and it is not wide for nothing: ten digits of the function's size over the step
    assert error <= 1e-10 * max(abs(function(x)), abs(true), 1e-3) + 1e-9 * abs(function(x)) * (name == "offset")


@pytest.mark.parametrize("distance", [0.004, 0.0007, 0.00011, -0.002])
def test_a_kink_within_the_steps_does_no_harm(distance):
    value, error = derivative(lambda h: abs(h + distance) + np.sin(h))
    assert abs(value - (np.sign(distance) + 1)) <= error
    assert error <= 1e-7


def test_arrays_are_differentiated_entry_by_entry_even_from_one_buffer():
    buffer = np.empty(3)

    def function(h: float) -> np.ndarray:
        buffer[:] = [np.sin(h), np.exp(2 * h), abs(h + 0.003)]
        return buffer

    value, error = derivative(function)
    assert (np.abs(value - [1, 2, 1]) <= error).all()


def quadratic(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=n), rng.uniform(0.5, 2, size=n)


def test_a_right_gradient_agrees_and_a_wrong_entry_is_named():
    theta, scale = quadratic(50)
    right = np.cos(theta) * scale
    agreement = compare_gradient(lambda v: float(np.sum(scale * np.sin(v))), right, theta)
    assert agreement.ok
    assert agreement.relative_difference < 1e-10
    assert (agreement.entries, agreement.directions, agreement.size) == (50, 8, 50)
    wrong = right.copy()
    wrong[17] *= 1 + 1e-5
    found = compare_gradient(lambda v: float(np.sum(scale * np.sin(v))), wrong, theta)
    assert found.wrong == (17,)
    assert found.directions_wrong > 0
    assert "DISAGREES" in str(found)


def test_a_sample_of_a_long_gradient_and_directions_that_see_all_of_it():
    theta, scale = quadratic(3000)
    wrong = 2 * scale * theta
    wrong[::7] *= 1.01
    agreement = compare_gradient(lambda v: float(scale @ (v * v)), wrong, theta, entries=20)
    assert agreement.entries == 20
    assert agreement.directions_wrong == 8


def test_two_zero_gradients_agree():
    agreement = compare_gradient(lambda v: 3.0, np.zeros(4), np.ones(4))
    assert agreement.ok
    assert agreement.relative_difference == 0.0


def test_shapes_are_checked():
    with pytest.raises(bp.ShapeError, match="vectors of one length"):
        compare_gradient(lambda v: 0.0, np.zeros((2, 2)), np.zeros((2, 2)))
