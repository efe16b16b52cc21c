"""Notebooks: as pages, with the outputs that they were saved with; and run, to save those anew or to compare them.

    python docs/tools/notebooks.py          runs all of docs/notebooks and saves them with what they show

Outputs are kept in the files, so that a notebook is read where nothing is run; the tests run each one
and compare.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "notebooks"


def page(path: Path, uri: str) -> dict[str, str | bytes]:
    """`uri`.md, and the pictures that it shows."""
    made: dict[str, str | bytes] = {}
    parts = []
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        parts += [_shown(output, made, f"{uri}-{number}") for output in cell["outputs"]]
    first, *rest = parts
    download = f"This page is [a notebook]({path.name}){{ download }}, to run it yourself."
    made[f"{uri}.md"] = "\n\n".join([first, download, *rest]) + "\n"
    return made


def _shown(output: dict[str, Any], made: dict[str, str | bytes], name: str) -> str:
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text'])}```"
    data = output["data"]
    if "image/png" in data:
        made[f"{name}.png"] = base64.b64decode("".join(data["image/png"]))
        return f'![what the cell above draws]({Path(name).name}.png){{ loading="lazy" }}'
    if "text/html" in data:
        return f'<div class="output" markdown="0">\n{"".join(data["text/html"])}\n</div>'
    return f"```text\n{''.join(data['text/plain'])}\n```"


def executed(path: Path, folder: Path) -> Any:
    """The notebook with the outputs of a run in `folder`; what a cell raises is raised here."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    return NotebookClient(
        notebook, timeout=300, kernel_name="python3", record_timing=False, resources={"metadata": {"path": str(folder)}}
    ).execute()


def main() -> None:
    import tempfile

    import nbformat

    for path in sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, Path(folder))
        notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
