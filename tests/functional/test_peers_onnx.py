"""The node tests of ONNX: Softmax, LogSoftmax, SoftmaxCrossEntropyLoss and NegativeLogLikelihoodLoss, 66 of 66."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest

from backproof import functional as F
from tests.functional.peers import nll

onnx = pytest.importorskip("onnx")

KINDS = ("Softmax", "LogSoftmax", "SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")


@functools.cache
def cases():
    """The tests of the operators themselves (not of their expansion into others), as ONNX generates them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        every = load_model_tests(kind="node")
    return [c for c in every if "_expanded" not in c.name and c.model.graph.node[0].op_type in KINDS]


def run(node, inputs):
    options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type in ("Softmax", "LogSoftmax"):
        call = F.softmax if node.op_type == "Softmax" else F.log_softmax
        return [call(inputs[0], axis=options.get("axis", -1))]
    x, target, *weight = inputs
    weight = weight[0] if weight else None
    reduction, ignored = options.get("reduction", b"mean").decode(), options.get("ignore_index")
    if node.op_type == "NegativeLogLikelihoodLoss":
        return [nll(x, target, weight, ignored, reduction, 1)]
    loss = F.cross_entropy(x, target, axis=1, weight=weight, ignore_index=ignored, reduction=reduction)
    return [loss, F.log_softmax(x, axis=1)][: len(node.output)]


def test_onnx_node_tests():
    failed = []
    for case in cases():
        for inputs, outputs in case.data_sets:
            results = run(case.model.graph.node[0], inputs)
            assert len(results) == len(outputs)
            for result, output in zip(results, outputs, strict=True):
                if not (np.shape(result) == output.shape and np.allclose(result, output, rtol=case.rtol, atol=case.atol)):
                    failed.append(case.name)
    assert not failed
    assert len(cases()) >= 66
