"""How new a database is, told without opening it for writing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote


def database_version(database: Path) -> int:
    """Migrations that the database has been through; 0 for one that is not there or can't be read: whoever opens it says what is wrong."""
    if not database.is_file():
        return 0
    logged = database.with_name(f"{database.name}-wal").exists()  # without a log it is read as it lies there, and no log is made
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro{'' if logged else '&immutable=1'}", uri=True)) as connection:
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
            return version
    except sqlite3.Error:
        return 0
