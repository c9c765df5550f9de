"""What the documentation site adds to `docs/`: the pages of results, and links out of `docs/`."""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import normpath, relpath
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
    """Point links to other files of the repository at the site's page of it, or at the code."""
    here = page.file.src_uri
    in_repository = here
    if here.startswith("results/"):
        upper = here.removeprefix("results/").removesuffix(".md").upper()
        in_repository = f"benchmarks/{upper}.md"
    else:
        in_repository = f"docs/{here}"

    def moved(found: re.Match[str]) -> str:
        target = normpath(f"{in_repository}/../{found[2]}")
        if target.startswith("docs/"):
            inside = target.removeprefix("docs/")
        elif re.fullmatch(r"benchmarks/(\w+\.md|plots/.*)", target):
            inside = target.replace("benchmarks/", "results/")
            inside = inside.lower() if inside.endswith(".md") else inside
        else:
            if not (_ROOT / target).exists():
                return found[0]  # the strict build names it
            return f"{found[1]}{config.repo_url}/blob/main/{target}"
        return found[1] + relpath(inside, here.rpartition("/")[0] or ".")

    return _LINK.sub(moved, markdown)
