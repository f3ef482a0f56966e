"""The formats of the data directory: what each one added, and how an older directory is brought to the newest.

The database and each index count their own versions besides; what is said here is the layout of the directory itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ragstone.adapters.durable_files import sync_directory, write_durably
from ragstone.adapters.sqlite_schema import MIGRATIONS as DATABASE
from ragstone.domain.errors import DataDirectoryError

FORMAT_FILE, FORMAT_DRAFT, DATABASE_FILE = "FORMAT", ".FORMAT.new", "ragstone.db"
_FIELD = "data_dir"


def _spool(directory: Path) -> None:
    """Interactions wait in `spool/` while the log is down."""
    (directory / "spool").mkdir(mode=0o700, exist_ok=True)


# The nth brings a directory from format n to n + 1. Append; never change one that was released. Each may be cut short and run again.
MIGRATIONS: tuple[Callable[[Path], None], ...] = (_spool,)
FORMAT = 1 + len(MIGRATIONS)


def check_format(directory: Path) -> None:
    """Raises `DataDirectoryError` for a directory or a database that a newer ragstone made, and for a damaged FORMAT file. Changes nothing."""
    from ragstone.adapters.sqlite_version import database_version  # noqa: PLC0415 - who only asks for a directory's owner needs no database

    if format_of(directory) is None:
        return
    version = database_version(directory / DATABASE_FILE)
    if version > len(DATABASE):
        raise DataDirectoryError(
            f"the data directory's database was made by a newer ragstone (version {version}, this one knows {len(DATABASE)}); "
            "upgrade ragstone, or restore a backup that is older.",
            field=_FIELD,
        )


def format_of(directory: Path) -> int | None:
    """The format of the directory, None when it has none yet. Raises `DataDirectoryError` for a newer one than `FORMAT` and for a damaged file."""
    try:
        text = (directory / FORMAT_FILE).read_text("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) < 1:
        raise DataDirectoryError("the data directory's FORMAT file is damaged; restore the directory from a backup.", field=_FIELD)
    if int(text) > FORMAT:
        raise DataDirectoryError(
            f"the data directory was made by a newer ragstone (format {text}, this one knows {FORMAT}); "
            "upgrade ragstone, or restore a backup that is older.",
            field=_FIELD,
        )
    return int(text)


def migrate(directory: Path) -> None:
    """Brings a directory that has a format to the newest one. The FORMAT file is replaced after each step: a step that was cut short is run again."""
    for number in range(format_of(directory) or FORMAT, FORMAT):
        MIGRATIONS[number - 1](directory)
        sync_directory(directory)
        write_format(directory, number + 1)


def write_format(directory: Path, number: int = FORMAT) -> None:
    """Names the format, durably; whatever belongs to it is there before."""
    draft = directory / FORMAT_DRAFT
    draft.unlink(missing_ok=True)  # of a start that was cut short
    write_durably(directory / FORMAT_FILE, f"{number}\n".encode(), draft)
    sync_directory(directory)
