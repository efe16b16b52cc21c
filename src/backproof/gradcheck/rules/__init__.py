"""The rules: evidence of one input (a `Pair`) in, a finding out; one function for each cause that shows in the values.

Each is independent of the others; the table's order breaks ties of confidence.
"""

from collections.abc import Callable

from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules import (
    contributions,
    coupling,
    entries,
    exchanged,
    factors,
    forms,
    inside,
    other_point,
    statistics,
    wrong_point,
)
from backproof.gradcheck.values import Pair

RULES: tuple[Callable[[Pair], Finding | None], ...] = (
    entries.non_finite,
    forms.zero_gradient,
    exchanged.swapped,
    forms.sign_flipped,
    forms.missing_cross_terms,
    forms.wrong_scale,
    exchanged.fused_twice,
    coupling.wrong_axis,
    exchanged.transposed,
    contributions.missing_broadcast,
    contributions.missing_accumulation,
    wrong_point.wrong_point,
    other_point.other_point,
    factors.missing_factor,
    inside.hidden_factor,
    inside.linear_part,
    inside.hidden_softmax,
    inside.lost_use,
    forms.rows_summed,
    coupling.batch_coupling,
    statistics.missing_normalizer,
    statistics.missing_reduced_term,
    statistics.projected,
    statistics.softmax_behind,
    entries.some_entries,
)


def diagnose(p: Pair) -> list[Finding]:
    """Everything that explains the pair's difference, most likely first; `unknown` if nothing does."""
    findings = [finding for rule in RULES if (finding := rule(p)) is not None]
    findings.sort(key=lambda f: f.confidence)
    surest = {finding.cause: finding for finding in findings}  # of each cause
    return sorted(surest.values(), key=lambda f: -f.confidence) or [entries.unknown(p)]
