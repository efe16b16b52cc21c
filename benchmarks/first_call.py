"""The first call in a fresh process: imports, and what compiled code has to be loaded (its cache is warm) or traced."""

from __future__ import annotations

from benchmarks.harness import Case, Lane, Settings
from benchmarks.workers.first_call import CALLS


def cases(settings: Settings) -> list[Case]:
    functions = list(dict.fromkeys(function for _, function in CALLS))
    return [
        Case(
            "first call",
            function,
            tuple(
                Lane(library, "benchmarks.workers.first_call", {"library": library})
                for library, its_function in CALLS
                if its_function == function
            ),
            {"function": function},
            settings.threads,
            settings.rounds_of(5),
            discarded=1,
        )
        for function in functions
        if settings.wants(function)
    ]
