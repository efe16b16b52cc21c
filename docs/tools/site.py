"""What MkDocs calls while it builds: formulas, and the pages that are made from something else than a page.

The causes have one text, that of `backproof explain`; the notebooks are shown with the outputs that they were saved with.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "src")]

import causes  # noqa: E402
import formulas  # noqa: E402
import notebooks  # noqa: E402


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Formulas in every page; the causes in the navigation."""
    config.markdown_extensions.append(formulas.Formulas())
    pages = [f"causes/{name}.md" for name in ["index", *causes.names()]]
    config.nav = [{"Causes": pages} if entry == {"Causes": "causes/"} else entry for entry in config.nav]
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What a block's title tells the tests is nothing to a reader."""
    return re.sub(r' title="not run by the tests: [^"]*"', "", markdown)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages that nobody wrote as a page."""
    made = {f"causes/{name}.md": text for name, text in causes.pages().items()}
    for file in [f for f in files if f.src_uri.endswith(".ipynb")]:
        pages = notebooks.page(Path(file.abs_src_path), file.src_uri.removesuffix(".ipynb"))
        made |= pages
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    return files
