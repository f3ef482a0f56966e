"""Named locks and cursors in the SQLite catalog: functions to be run inside one transaction."""

from __future__ import annotations

from sqlite3 import Connection


def hold(db: Connection, lock: str, holder: str, ttl: float, now: float) -> bool:
    """See the port."""
    changed = db.execute(
        "INSERT INTO locks (name, holder, expires_at) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE "
        "SET holder = excluded.holder, expires_at = excluded.expires_at WHERE holder = excluded.holder OR expires_at <= ?",
        (lock, holder, now + ttl, now),
    )
    return changed.rowcount == 1


def let_go(db: Connection, lock: str, holder: str) -> None:
    """See the port."""
    db.execute("DELETE FROM locks WHERE name = ? AND holder = ?", (lock, holder))


def cursor(db: Connection, name: str) -> int:
    """See the port."""
    row = db.execute("SELECT value FROM cursors WHERE name = ?", (name,)).fetchone()
    return int(row["value"]) if row is not None else 0


def move_cursor(db: Connection, name: str, value: int) -> None:
    """See the port."""
    db.execute(
        "INSERT INTO cursors (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)", (name, value)
    )
