"""A copy of a repository, for a backup: its objects are linked, for they never change; its branches are those of one commit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dulwich.refs import Ref

from ragstone.adapters.git_refs import ATTEMPTS, MAIN
from ragstone.adapters.git_repository import GitRepository

_AS_THEY_ARE = ("HEAD", "config", "description", "shallow")


def copy(repository: GitRepository, target: Path, head: str | None) -> None:
    """Makes `target`: a repository whose `main` is at `head`, without branches of attempts, with what people made. Writers go on meanwhile."""
    with repository.maintaining, repository.objects.settled():
        refs = repository.refs.under(Ref(b"refs"))  # before the objects: what they name is there
        for folder in ("objects/pack", "objects/info", "refs/heads", "refs/tags"):
            (target / folder).mkdir(mode=0o700, parents=True)
        for name in _AS_THEY_ARE:
            if (repository.path / name).is_file():
                shutil.copyfile(repository.path / name, target / name)
        files = {file for file in repository.objects.files() if not file.is_symlink()}
        for file in files:
            whole = file.with_suffix(".pack") in files and file.with_suffix(".idx") in files
            if file.parent.name != "pack" or whole:  # a pack is there when its index is
                _link(file, target / file.relative_to(repository.path))
    ours = f"{ATTEMPTS.decode()}/", MAIN.decode()
    kept = {f"refs/{name}": value for name, value in refs.items() if not f"refs/{name}".startswith(ours)}
    lines = [f"{value} {name}\n" for name, value in sorted(kept.items())]
    (target / "packed-refs").write_text("".join(["# pack-refs with: sorted\n", *lines]))
    if head is not None:
        (target / MAIN.decode()).write_text(f"{head}\n")


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links, or too many of them
        shutil.copyfile(source, target)
