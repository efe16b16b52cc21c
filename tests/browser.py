"""Pages in a real browser: opened as files, with every request, error and message watched. Needs Playwright and a Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")  # not the session: while it lasts, no other event loop can run
def browser() -> Iterator[Any]:
    """Chromium: the system's own, or Playwright's; tests that ask for it are skipped where there is neither."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as driver:
        try:
            started = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium to be started: {str(error).splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """visit(html, width=..., dark=..., ...) -> the page, its pictures drawn.

    At the end of the test, nothing may have been asked for, and no error or warning said but those that contain `expected`.
    """
    opened, wrong = [], []

    def open_page(
        html: str, *, width: int = 1200, dark: bool = False, before: str = "", expected: str = "\0", **options: Any
    ) -> Any:
        file = tmp_path / f"page{len(opened)}.html"
        file.write_text(html, encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", has_touch=width < 500, **options
        )
        opened.append(context)
        page = context.new_page()
        page.on("request", lambda request: request.url == file.as_uri() or wrong.append(f"asked for {request.url[:100]}"))
        page.on(
            "console",
            lambda message: message.type in ("error", "warning") and expected not in message.text and wrong.append(message.text),
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
        if before:
            page.add_init_script(before)
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-drawn]")
        page.wait_for_function("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
        return page

    yield open_page
    for context in opened:
        context.close()
    assert wrong == [], wrong  # this file's asserts are not rewritten


# What a person with weak eyes would meet: every text whose contrast with what lies behind it is below WCAG's AA.
CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return null;
  };
  const found = [];
  let count = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.matches("script, style, :disabled")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(parse(style.color)), light(behind(element))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    count += 1;
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) found.push(`${text}: ${style.color} on ${behind(element)}`);
  }
  return [count, found];
}"""

# Headings that skip a level, things to press without a name, and what is wider than the window.
ORDER = """() => {
  const found = [];
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
    const own = Number(heading.tagName[1]);
    if (own > level + 1) found.push(`${heading.tagName} ${heading.textContent} after h${level}`);
    level = own;
  }
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  for (const control of document.querySelectorAll("button, select, input, summary, [tabindex]")) {
    const name = control.getAttribute("aria-label") || control.textContent.trim() || control.closest("label")?.textContent.trim();
    if (!name) found.push(`no name: ${control.outerHTML.slice(0, 80)}`);
  }
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) found.push(`wider than the window: ${wide}`);
  return found;
}"""
