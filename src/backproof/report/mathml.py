r"""Formulas as MathML Core, which browsers typeset without a script, from the little of TeX that the formulas here need.

Letters, numbers, operators, `_`, `^`, `{}`, `\frac{}{}`, `\sqrt{}`, `\hat{}`, `\text{}`, and the names of `_SYMBOLS`, `_LARGE` and
`_FUNCTIONS`.

>>> mathml(r"g_j")[-60:]
'<mrow><msub><mi>g</mi><mi>j</mi></msub></mrow></math></span>'
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from backproof.report.markup import Html, element

_TOKEN = re.compile(r"\\text\{[^}]*\}|\\[A-Za-z]+|\\[,;]|\d+(?:\.\d+)?(?:e-?\d+)?|\S")
_SYMBOLS = {
    "partial": "∂", "delta": "δ", "epsilon": "ε", "infty": "∞", "theta": "θ",
    "cdot": "⋅", "odot": "⊙", "ne": "≠", "approx": "≈", "le": "≤", "to": "→", "langle": "⟨", "rangle": "⟩", "in": "∈",
    "top": "\N{DOWN TACK}",
}  # fmt: skip
_LETTERS = frozenset("∂δε∞θ\N{DOWN TACK}")
_LARGE = {"sum": "∑", "lim": "lim"}
_FUNCTIONS = frozenset({"mean", "softmax", "ln", "exp", "rank"})
_SPACES = {"\\,": "0.17em", "\\;": "0.28em", "\\quad": "1em", "\\qquad": "2em"}


def mathml(tex: str) -> Html:
    """The formula as a block of its own; it scrolls where it is wider than the page."""
    tokens = _TOKEN.findall(tex)
    row = element("mrow", *_parts(iter(tokens), stop=""))
    return element("span", element("math", row, display="block", alttext=tex), class_="formula")


def _parts(tokens: Iterator[str], stop: str) -> list[Html]:
    """Everything up to the token `stop`."""
    parts: list[Html] = []
    scripts: dict[str, Html] = {}
    large = False
    for token in tokens:
        if token == stop:
            break
        if token in "_^":
            scripts[token] = _argument(tokens)
            continue
        if scripts:
            parts.append(_scripted(parts.pop(), scripts, large))
            scripts = {}
        parts.append(_atom(token, tokens))
        large = token[1:] in _LARGE
    if scripts:
        parts.append(_scripted(parts.pop(), scripts, large))
    return parts


def _scripted(base: Html, scripts: dict[str, Html], large: bool) -> Html:
    below, above = scripts.get("_"), scripts.get("^")
    kinds = ("munder", "mover", "munderover") if large else ("msub", "msup", "msubsup")
    if below is None:
        return element(kinds[1], base, above)
    return element(kinds[0], base, below) if above is None else element(kinds[2], base, below, above)


def _argument(tokens: Iterator[str]) -> Html:
    token = next(tokens)
    return element("mrow", *_parts(tokens, "}")) if token == "{" else _atom(token, tokens)


def _atom(token: str, tokens: Iterator[str]) -> Html:
    name = token[1:]
    if token == "{":
        return element("mrow", *_parts(tokens, "}"))
    if token.startswith("\\text{"):
        return element("mtext", name[5:-1].replace(" ", "\N{NO-BREAK SPACE}"))
    if token in _SPACES:
        return element("mspace", width=_SPACES[token])
    if token == "\\frac":
        return element("mfrac", _argument(tokens), _argument(tokens))
    if token == "\\sqrt":
        return element("msqrt", _argument(tokens))
    if token == "\\hat":
        return element("mover", _argument(tokens), element("mo", "^", stretchy="false"), accent="true")
    if name in _FUNCTIONS:
        return element("mi", name)
    if name in _LARGE:
        return element("mo", _LARGE[name], movablelimits="false", lspace="0.17em", rspace="0.17em")
    if token.startswith("\\"):
        symbol = _SYMBOLS[name]
        return element("mi", symbol, mathvariant="normal") if symbol in _LETTERS else element("mo", symbol)
    if token[0].isdigit():
        return element("mn", token)
    if token.isalpha():
        return element("mi", token)
    return element("mo", {"-": "\N{MINUS SIGN}", "*": "⋅", "'": "\N{PRIME}"}.get(token, token))
