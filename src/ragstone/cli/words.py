"""How commits, places and amounts are named to people."""

from __future__ import annotations

from typing import Any


def commit_name(position: int | None, commit_id: str | None) -> str:
    """`#3 (0123456789ab)`."""
    if commit_id is None:
        return "empty"
    return f"#{position} ({commit_id[:12]})" if position is not None else commit_id[:12]


def place(passage: dict[str, Any]) -> str:
    """Where a passage or citation stands: path, headings, page, characters."""
    parts = [passage["path"]]
    if passage.get("heading_path"):
        parts.append(" > ".join(passage["heading_path"]))
    if passage.get("page") is not None:
        parts.append(f"page {passage['page']}")
    parts.append(f"characters {passage['start']}-{passage['end']}")
    return ", ".join(parts)


def counted(count: int, thing: str) -> str:
    """`1 point`, `1,200 points`."""
    return f"{count:,} {thing}" + ("" if count == 1 else "s")
