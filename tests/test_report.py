"""The report as text, as data and as HTML, from reports made by hand."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from backproof.gradcheck.findings import CAUSES, Comparison, Finding, GradientError, Report
from backproof.gradcheck.rendering import broken, marks, picture


def softmax_jacobian(rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole Jacobian of a softmax of some rows, and the one that has its diagonal only."""
    e = np.exp(np.random.default_rng(0).normal(size=(rows, classes)))
    h = e / e.sum(axis=1, keepdims=True)
    j = np.zeros((rows, classes, rows, classes))
    for i, row in enumerate(h):
        j[i, :, i, :] = np.diag(row) - np.outer(row, row)
    j = j.reshape(rows * classes, rows * classes)
    return j, np.diag(np.diag(j))


def comparison(numerical: np.ndarray, yours: np.ndarray, shape: tuple[int, ...], status: str = "wrong") -> Comparison:
    wrong = ~(np.abs(numerical - yours) <= 1e-9)
    return Comparison(
        0, "x", shape, "float64", status, numerical.size, int(wrong.sum()), 0, 0.2, 1e-12, (shape,), numerical, yours, wrong
    )


def wrong(rows: int = 4, classes: int = 5, **changes) -> Report:
    finding = Finding(
        "missing-cross-terms", 0.97, 0, "x, everywhere", "only the diagonal of the Jacobian is there", "dx = h * (g - <h, g>)",
        {"missing": 80, "values": np.arange(100.0), "factor": np.float64(0.5), "at": (1, 2)}, "x",
    )  # fmt: skip
    also = Finding("wrong-scale", 0.3, 0, "x", "another reading " * 20, "", {}, "x")
    parts = {
        "target": "Softmax",
        "ok": False,
        "findings": [finding, also],
        "comparisons": [comparison(*softmax_jacobian(rows, classes), (rows, classes))],
        "notes": ["labels were not differentiated"],
        "method": "every entry of the Jacobian",
        "calls": {"forward": 240, "backward": 20, "jvp": 0},
        "seconds": 0.0123,
        "seed": 0,
        "replay": "import backproof\nx = np.array("
        + repr(np.random.default_rng(0).normal(size=20).tolist())
        + ")\nbackproof.check(s, x)",
    }
    return Report(**{**parts, **changes})


def right(**changes) -> Report:
    j, _ = softmax_jacobian(1, 3)
    parts = {"ok": True, "findings": [], "comparisons": [comparison(j, j, (1, 3), "right")], "notes": [], "replay": ""}
    return wrong(**{**parts, **changes})


def test_verdict_and_cause_are_the_first_two_lines():
    lines = str(wrong()).splitlines()
    assert lines[0] == "Softmax: WRONG gradient of x"
    assert lines[1] == "missing-cross-terms (97 %): only the diagonal of the Jacobian is there"
    assert lines[2] == "fix: dx = h * (g - <h, g>)"
    assert lines[3] == "where: x, everywhere"


def test_what_is_right_takes_two_lines():
    lines = str(right()).splitlines()
    assert lines[0] == "Softmax: right gradient of x"
    assert lines[1] == "every entry of the Jacobian; calls: 240 forward, 20 backward; 0.012 s"
    assert len(lines) == 2


def test_notes_do_not_change_the_verdict():
    kink = Finding("kink", 0.9, 0, "x[1]", "x[1] is at a kink", "", {}, "x")
    lines = str(right(findings=[kink])).splitlines()
    assert lines[0] == "Softmax: right gradient of x"
    assert lines[2] == "note: x kink (90 %): x[1] is at a kink"


def test_what_cannot_be_told_is_said():
    j, _ = softmax_jacobian(1, 3)
    unsure = comparison(j, j, (1, 3), "cannot tell")
    assert str(right(comparisons=[unsure])).splitlines()[0] == "Softmax: nothing wrong found; cannot tell for x"
    assert str(right(comparisons=[])).splitlines()[0] == "Softmax: nothing wrong found"


def test_all_that_is_in_the_report_is_in_the_text():
    text = str(wrong())
    for part in (
        "evidence: missing = 80",
        "evidence: factor = 0.5",
        "evidence: at = (1, 2)",
        "array of shape (100,): 0, 1, 2, 3, ...",
        "x (4x5, float64): wrong; 80 of 400 compared values wrong",
        "also: x wrong-scale (30 %): another reading",
        "note: labels were not differentiated",
        "calls: 240 forward, 20 backward",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text


def test_a_small_jacobian_is_written_out_side_by_side():
    text = str(wrong(1, 3))
    rows = [line for line in text.splitlines() if re.fullmatch(r"  +[-\d.]+ .*0X.*", line)]
    assert len(rows) == 3
    assert all(row.count("X") == 2 for row in rows)
    assert "numerical" in text
    assert "yours, X where wrong" in text


def test_eight_columns_are_written_below_each_other():
    lines = picture(comparison(*softmax_jacobian(1, 8), (1, 8)))
    assert lines[1:2] == ["  numerical"]
    assert lines[10] == "  yours, X where wrong"
    assert max(map(len, lines)) <= 100


def test_a_larger_jacobian_is_a_map_with_the_numbers_of_a_corner():
    text = str(wrong())
    assert "  oXXXX..............." in text
    assert "  ...............XXXXo" in text
    assert "numbers of rows 0 to 4, columns 0 to 4" in text
    assert "numbers of row 0, columns 0 to 4" in "\n".join(picture(comparison(np.ones((1, 9)), np.zeros((1, 9)), (9,))))


def test_a_map_is_never_larger_than_the_screen_and_hides_nothing():
    j, _ = softmax_jacobian(20, 20)
    yours = j.copy()
    yours[399, 0] = 1.0
    lines = marks(j, yours, np.abs(j - yours) > 0)
    assert len(lines) <= 21
    assert max(map(len, lines)) <= 62 + 60
    assert sum(line.count("X") for line in lines[:-1]) == 1
    assert lines[-2].startswith("  X")
    assert "entries)" in lines[-1]


def test_the_map_says_what_cannot_be_told():
    numerical = np.array([[1.0, np.nan], [0.0, 2.0]])
    assert marks(numerical, np.array([[1.0, 1.0], [0.0, 3.0]]), np.array([[False, False], [False, True]]))[:2] == ["  o?", "  .X"]


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_numbers_of_any_size_are_legible(size):
    j, d = softmax_jacobian(1, 4)
    lines = picture(comparison(j * size, d * size, (1, 4)))
    assert max(map(len, lines)) <= 100
    assert re.search(r"\d\.\d{3}", lines[2])


def test_nan_in_the_gradient_is_shown():
    j = np.eye(3)
    yours = j.copy()
    yours[1, 1] = np.nan
    report = wrong(comparisons=[comparison(j, yours, (3,))])
    assert "nanX" in str(report)
    json.dumps(report.to_dict(), allow_nan=False)


def test_replay_lines_are_broken_where_python_allows_it():
    line = "x = np.array(" + repr(np.random.default_rng(0).normal(size=50).tolist()) + ")"
    parts = broken(line)
    assert max(map(len, parts)) <= 100
    there: dict[str, object] = {}
    exec("import numpy as np\n" + "\n".join(parts), there)
    assert np.array_equal(there["x"], np.random.default_rng(0).normal(size=50))
    assert broken("y = 'a, " + "b, " * 60 + "'") == ["y = 'a, " + "b, " * 60 + "'"]


def test_only_what_is_wrong_has_a_picture():
    j, _ = softmax_jacobian(1, 3)
    finding = Finding("input-mutated", 0.97, 0, "backward", "backward writes into x", "copy it", {}, "x")
    assert "Jacobian of" not in str(wrong(findings=[finding], comparisons=[comparison(j, j, (1, 3), "right")]))


def test_a_report_without_jacobians_or_findings_can_be_printed():
    bare = Comparison(0, "x", (1000,), "float32", "wrong", 6, 2, 0, 0.1, 0.001)
    assert "2 of 6 compared values wrong" in str(wrong(comparisons=[bare]))
    assert str(wrong(findings=[], comparisons=[])).startswith("Softmax: WRONG\n")
    forward = Finding("nondeterministic", 0.99, None, "forward", "two calls differ", "seed it")
    assert str(wrong(findings=[forward], comparisons=[])).splitlines()[:2] == [
        "Softmax: WRONG",
        "nondeterministic (99 %): two calls differ",
    ]


def test_as_data_it_survives_json():
    report = wrong()
    data = report.to_dict()
    assert json.loads(report.to_json()) == data
    assert data["findings"][0]["cause"] == "missing-cross-terms"
    assert data["findings"][0]["evidence"]["factor"] == 0.5
    assert data["findings"][0]["evidence"]["at"] == [1, 2]
    assert np.array_equal(data["comparisons"][0]["numerical"], softmax_jacobian(4, 5)[0])
    assert data["comparisons"][0]["wrong_cells"][0][:2] == [False, True]


def test_what_json_has_not_becomes_text_and_large_arrays_their_shape():
    odd = {
        "nan": float("nan"), "inf": np.float32(-np.inf), "wide": np.longdouble(1.5), "array": np.array([1, np.inf]),
        3: {"set": {1}}, "none": None, "type": int, "label": np.int8(3), "flag": np.bool_(True),
    }  # fmt: skip
    report = wrong(20, 20, findings=[Finding("unknown", 0.5, 0, "", "", "", odd, "x")])
    data = json.loads(report.to_json())
    evidence = data["findings"][0]["evidence"]
    assert evidence["nan"] == "nan"
    assert evidence["inf"] == "-inf"
    assert evidence["array"] == [1.0, "inf"]
    assert evidence["3"] == {"set": [1]}
    assert evidence["label"] == 3
    assert evidence["flag"] is True
    assert data["comparisons"][0]["numerical"] == {"shape": [400, 400], "dtype": "float64"}
    assert len(report.to_json()) < 5000


def test_raise_if_failed_has_the_report_as_its_text():
    with pytest.raises(GradientError, match="missing-cross-terms") as caught:
        wrong().raise_if_failed()
    assert str(caught.value) == str(wrong())
    assert right().raise_if_failed().ok


def test_every_cause_can_be_shown():
    for cause in CAUSES:
        assert cause in str(wrong(findings=[Finding(cause, 0.5, 0, "", "m", "", {}, "x")]))
