"""The check: probes of the calls, then values, then special points; what is found is diagnosed by the rules."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection

import numpy as np

from backproof.gradcheck import structure
from backproof.gradcheck.differences import JUMP, KINK, UNKNOWN
from backproof.gradcheck.evaluate import EPS, Evaluator
from backproof.gradcheck.findings import KEPT, Comparison, Finding, Report
from backproof.gradcheck.kinks import joint_ties, kink_note, widen_at_kinks
from backproof.gradcheck.locate import located, shrunk
from backproof.gradcheck.opened import SURE, opened
from backproof.gradcheck.orders import forward_mode, symmetric
from backproof.gradcheck.points import special_points, usable
from backproof.gradcheck.replay import lines, smallest
from backproof.gradcheck.rules import diagnose
from backproof.gradcheck.shapes import shape_finding, summed_upstream
from backproof.gradcheck.state import stale
from backproof.gradcheck.strides import strides
from backproof.gradcheck.subject import Subject
from backproof.gradcheck.values import LIMIT, WHOLE, Pair, analytical_jacobian, directions, measure
from backproof.gradcheck.verdicts import at_special_point, low_precision, on_manifold

Progress = Callable[[int, int, str], None]


class Examination:
    """One check in progress: what has been found so far."""

    def __init__(
        self,
        subject: Subject,
        seed: int,
        surrogate: bool | Collection[int],
        progress: Progress | None,
        order: int = 1,
        special_points: bool = True,
    ) -> None:
        self.order, self.special_points = order, special_points
        self.start = time.perf_counter()
        self.subject, self.seed = subject, seed
        self.rng = np.random.default_rng(seed)
        self.progress = progress or (lambda done, total, what: None)
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.comparisons: list[Comparison] = []
        self.method = ""
        self.surrogate = set(subject.wrt) if surrogate is True else set(surrogate or ())
        self.ev = Evaluator(subject)
        self.conventional: set[int] = set()  # inputs whose gradient follows a convention, which special points may break

    def run(self) -> Report:
        ev = self.ev
        finding = structure.repeatable_forward(ev)
        if finding is not None:
            return self.report([finding])
        if getattr(self.subject, "seeded", False):
            self.findings.append(structure.draws())
        self.notes += getattr(self.subject, "notes", ())
        if ev.center.size == 0 or not any(ev.point[k].size for k in self.subject.wrt):
            self.notes.append("nothing to compare: the inputs or the outputs are empty")
            return self.report([])
        if not np.isfinite(ev.center).any():
            self.notes.append("cannot tell: the function is not finite at this point")
            return self.report([])
        has_backward = getattr(self.subject, "has_backward", True)
        self.findings += forward_mode(ev, self.rng, has_backward)
        if not has_backward:
            self.method = "the claimed Jacobian-vector product along a Gaussian direction for each input"
            return self.report([])
        usable_inputs = self.structure()
        wrong = self.values(usable_inputs)
        if not wrong and not self.errors():
            low_precision(self, usable_inputs)
            if self.special_points:
                self.special([k for k in usable_inputs if k not in self.conventional])
            if self.order == 2 and not self.errors():
                self.second_order()
        return self.report([])

    def second_order(self) -> None:
        """The code's own second derivative, by a check of its gradient map; where it has none, the symmetry of its Hessian."""
        ev = self.ev
        second = self.subject.second_order(ev.split(self.rng.normal(size=ev.center.size), given=True))
        if second is None:
            found, notes = symmetric(ev, self.rng)
            self.findings += found
            self.notes += notes
            return
        inner = Examination(second, self.seed, False, None).run()
        self.notes.append(
            "second order: " + ("the gradient's own derivative is right" if inner.ok else "the gradient's own derivative is wrong")
        )
        self.findings += [
            dataclasses.replace(f, where=f"second order: {f.where}", message=f"second derivative: {f.message}")
            for f in inner.findings
        ]
        for name, count in inner.calls.items():
            ev.calls[name] += count

    def errors(self) -> list[Finding]:
        return [f for f in self.findings if not f.is_note]

    def structure(self) -> list[int]:
        """Everything about the calls; returns the inputs whose values can be compared."""
        ev, g = self.ev, self.rng.normal(size=self.ev.center.size)
        grads = ev.vjp(g, ev.given)
        bad = structure.gradients_fit(ev, grads)
        self.findings += structure.mutations(ev, g)
        for k, grad in bad:
            self.findings.append(shape_finding(ev, k, grad, grads, g, [b for b, _ in bad]))
        self.findings += [f for f in structure.dtypes(ev, grads) if f.input not in {k for k, _ in bad}]
        if (finding := structure.repeatable_backward(ev, g)) is not None:
            self.findings.append(finding)
            return []
        linear = [f for f in structure.linearity(ev, self.rng) if f.input not in self.surrogate]
        linear = [summed_upstream(ev, f) for f in linear]
        self.findings += linear
        self.findings += strides(ev, g)
        out = {k for k, _ in bad} | {f.input for f in linear}
        for k in self.subject.wrt:
            if grads[k] is None and not getattr(self.subject, "none_is_zero", False):
                self.notes.append(f"{self.subject.names[k]}: the backward returns None, so its gradient was not compared")
                out.add(k)
        self.findings += stale(ev, g, self.rng, self.notes)
        return [k for k in self.subject.wrt if k not in out and k not in self.surrogate and ev.point[k].size]

    def values(self, inputs: list[int]) -> bool:
        """Compare; True if something is wrong."""
        ev = self.ev
        m = ev.center.size
        small = [k for k in inputs if ev.point[k].size <= WHOLE and m <= WHOLE]
        pairs: dict[int, Pair] = {}
        if small:
            jacobians = analytical_jacobian(ev, small)
            for i, k in enumerate(small):
                self.progress(i, len(inputs), self.subject.names[k])
                if jacobians is not None:
                    pairs[k] = measure(ev, k, jacobians[k])
        self.method = "whole Jacobian, from one-hot upstream gradients" if small else ""
        large = [k for k in inputs if k not in small]
        if large:
            self.method = (self.method + "; " if self.method else "") + "6 products with Gaussian directions for each large input"
        for i, k in enumerate(large):
            self.progress(len(small) + i, len(inputs), self.subject.names[k])
            d = directions(ev, k, self.rng)
            if d.wrong == 0 and not d.undecided:
                self.compare_directions(k, d.count, 0, 0, d.worst, d.bar)
                continue
            pair = self.whole(k)
            if pair is not None:
                pairs[k] = pair
            elif d.wrong:
                self.compare_directions(k, d.count, d.wrong, d.undecided, d.worst, d.bar)
                self.findings.append(located(ev, k, self.rng))
            else:
                self.compare_directions(k, d.count, 0, d.undecided, d.worst, d.bar)
                self.notes.append(
                    f"{self.subject.names[k]}: {d.undecided} of {d.count} products could not be told (a kink, or too much rounding)"
                )
        jumps = any(((p.kind == JUMP) | (p.kind == UNKNOWN)).any() for p in pairs.values())
        if jumps and (finding := structure.repeatable_forward(ev, 24)) is not None:  # a rare draw that two calls did not show
            self.findings.append(finding)
            return True
        for p in pairs.values():
            p.others = pairs
            self.judge(p)
        if self.special_points and self.errors() and max(f.confidence for f in self.errors()) < SURE:
            self.findings += opened(ev, pairs)
        return bool(self.errors())

    def whole(self, k: int) -> Pair | None:
        """The Jacobian of a large input after all, or that of a smaller case which fails too."""
        ev = self.ev
        if ev.point[k].size <= LIMIT and ev.center.size <= LIMIT:
            jacobians = analytical_jacobian(ev, [k])
            return None if jacobians is None else measure(ev, k, jacobians[k])
        return shrunk(ev, k, self.rng)

    def judge(self, p: Pair) -> None:
        widen_at_kinks(p)
        wrong = p.wrong
        undecided = int((p.undecided & ~wrong).sum())
        status = "wrong" if wrong.any() else "cannot tell" if undecided > 0.5 * wrong.size else "right"
        if status != "wrong" and (tie := joint_ties(p)) is not None:
            self.findings.append(tie)
            status = "wrong"
        elif status == "wrong" and (why := on_manifold(p)) is not None:
            self.notes.append(f"{p.name}: {why}")
            self.conventional.add(p.input)
            status, wrong = "right", np.zeros_like(wrong)
        elif status == "wrong":
            self.findings += diagnose(p)
        if (p.kind == KINK).any():
            self.findings.append(kink_note(p))
        if status == "cannot tell":
            self.notes.append(
                f"{p.name}: cannot tell at {undecided} of {wrong.size} entries, where rounding or a missing derivative hides it"
            )
        with np.errstate(all="ignore"):
            gap = np.where(np.isfinite(p.error), np.abs(p.analytical - p.numerical), 0.0)
        at = np.unravel_index(int(np.argmax(np.nan_to_num(gap, nan=np.inf))), gap.shape)
        kept = (p.numerical, p.analytical, wrong, p.error) if wrong.size <= KEPT else ()
        self.comparisons.append(
            Comparison(
                p.input,
                p.name,
                p.x.shape,
                str(self.ev.given[p.input].dtype),
                status,
                wrong.size,
                int(wrong.sum()),
                undecided,
                float(gap[at]),
                float(p.error[at]),
                tuple(p.shapes),
                *kept,
            )
        )

    def compare_directions(self, k: int, count: int, wrong: int, undecided: int, worst: float, bar: float) -> None:
        x = self.ev.given[k]
        status = "wrong" if wrong else "cannot tell" if undecided > count / 2 else "right"
        self.comparisons.append(
            Comparison(
                k, self.subject.names[k], x.shape, str(x.dtype), status, count, wrong, undecided, worst, bar, tuple(self.ev.shapes)
            )
        )

    def special(self, inputs: list[int]) -> None:
        ev = self.ev
        for what, point in special_points(ev, self.rng):
            if not usable(ev, point):
                continue
            if (finding := at_special_point(ev, inputs, what, point, self.rng)) is not None:
                if finding.is_note:
                    if not any(f.is_note and f.evidence.get("special_point") for f in self.findings):
                        self.findings.append(finding)
                    continue
                self.findings.append(finding)
                self.notes.append(f"right at the given point; wrong at a special one: {what}")
                return

    def replayed(self, first: Finding) -> str:
        """Lines that repeat the failure, at a smaller case if one fails in the same way."""
        if not self.special_points or "special_point" in first.evidence or first.cause in ("nondeterministic", "stale-state"):
            return lines(self.subject)

        def fails(subject: Subject) -> bool:
            try:
                again = Examination(subject, self.seed, self.surrogate, None, 1, special_points=False).run()
            except Exception:  # the smaller case does not fit together
                return False
            if again.ok:
                return False
            # a smaller network is not opened again
            same = again.findings[0].cause == first.cause or first.where.startswith("behind ")
            return same and again.findings[0].input == first.input

        return lines(smallest(self.subject, fails))

    def report(self, more: list[Finding]) -> Report:
        findings = sorted(self.findings + more, key=lambda f: (f.is_note, -f.confidence))
        ok = all(f.is_note for f in findings)
        ev = self.ev
        if ev.upcast:
            self.notes.append("the forward was evaluated in float64 on the same values")
        elif ev.epsilon > EPS:
            self.notes.append(f"the forward works with a relative precision of {ev.epsilon:.1g}; the bars allow for it")
        return Report(
            self.subject.name,
            ok,
            findings,
            self.comparisons,
            self.notes,
            self.method or "calls only",
            dict(ev.calls),
            time.perf_counter() - self.start,
            self.seed,
            "" if ok else self.replayed(findings[0]),
        )


def examine(
    subject: Subject,
    *,
    seed: int = 0,
    surrogate: bool | Collection[int] = False,
    progress: Progress | None = None,
    order: int = 1,
    special_points: bool = True,
) -> Report:
    """Check one Subject."""
    return Examination(subject, seed, surrogate, progress, order, special_points).run()
