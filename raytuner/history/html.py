"""Tables in HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """Return a table. Without a head, the first cell of a row is its title.

    A mapping in a cell becomes a table in it. Floats are rounded to five digits.

    Examples:
        >>> table([[3, 0.001]], head=["trial"])
        '<table><tr><th>trial</th></tr><tr><td>3</td><td>0.001</td></tr></table>'
    """
    lines = ["".join(f"<th>{escape(name)}</th>" for name in head)] if head else []
    for row in rows:
        kinds = ["td" if head or i else "th" for i in range(len(row))]
        cells = (_cell(item, kind, bool(head)) for item, kind in zip(row, kinds, strict=True))
        lines.append("".join(cells))
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(item: object, kind: str, in_column: bool) -> str:
    # Notebooks align cells to the right, which suits columns of numbers.
    is_right = in_column and isinstance(item, int | float)
    style = "" if is_right else ' style="text-align: left"'
    if isinstance(item, Mapping):
        content = table(list(item.items()))
    else:
        content = escape(f"{item:.5g}" if isinstance(item, float) else str(item))
    return f"<{kind}{style}>{content}</{kind}>"
