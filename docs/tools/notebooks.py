"""A notebook as a page: its text, its code, and the outputs that it was saved with (the tests run it and compare them)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any


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
        for output in cell["outputs"]:
            parts.append(_shown(output, made, f"{uri}-{number}"))
    first, *rest = parts
    download = f"[The notebook]({path.name}){{ download }}, to run it yourself."
    made[f"{uri}.md"] = "\n\n".join([first, download, *rest]) + "\n"
    return made


def _shown(output: dict[str, Any], made: dict[str, str | bytes], name: str) -> str:
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text'])}```"
    data = output["data"]
    if "image/png" in data:
        made[f"{name}.png"] = base64.b64decode("".join(data["image/png"]))
        return f"![{''.join(data['text/plain'])}]({Path(name).name}.png)"
    if "text/html" in data:
        return f'<div class="output">\n{"".join(data["text/html"])}\n</div>'
    return f"```text\n{''.join(data['text/plain'])}\n```"
