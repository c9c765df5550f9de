"""Two steps of the site's build: adding the pages of `benchmarks/`, and rewriting links."""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import basename, dirname, normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(\]\()([^)#\s:]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and plots of `benchmarks/` as `results/`."""
    for path in sorted((_ROOT / "benchmarks").glob("*.md")):
        content = path.read_text(encoding="utf-8")
        files.append(File.generated(config, f"results/{path.name.lower()}", content=content))
    for path in sorted((_ROOT / "benchmarks" / "plots").glob("*.svg")):
        files.append(File.generated(config, f"results/plots/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite links between files: to the site's page if there is one, else to the repository."""
    here = page.file.src_uri
    folder = "benchmarks" if here.startswith("results/") else f"docs/{dirname(here)}"

    def moved(found: re.Match[str]) -> str:
        target = normpath(f"{folder}/{found[2]}")
        if target.startswith("docs/"):
            inside = target.removeprefix("docs/")
        elif re.fullmatch(r"benchmarks/\w+\.md", target):
            inside = f"results/{basename(target).lower()}"
        elif target.startswith("benchmarks/plots/"):
            inside = target.replace("benchmarks/", "results/")
        elif (_ROOT / target).exists():
            return f"{found[1]}{config.repo_url}/blob/main/{target}"
        else:
            return found[0]  # the strict build names it
        return found[1] + relpath(inside, dirname(here) or ".")

    return _LINK.sub(moved, markdown)
