"""Takes a document out of commits that are there, by Git's own means: `refs/replace/<id>` says what a commit is to be read as (ADR 0010).

Ids stay, since they are hashes of what was committed; what they are read as is the same commit with a tree without the document. The bytes go
when the repository is collected next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from dulwich.objects import Commit, ObjectID, ShaFile
from dulwich.refs import Ref

from ragstone.adapters import git_tree
from ragstone.adapters.git_refs import REPLACE
from ragstone.adapters.git_repository import GitRepository, recounted
from ragstone.domain.errors import NotFound

_BATCH = 200  # commits whose new objects are held in memory; each has about five


def forget(repository: GitRepository, path: str, commits: Collection[str]) -> int:
    """See the port. One rename of `packed-refs` makes it true of all of them."""
    with repository.maintaining, repository.writing:
        replaced: dict[str, str] = {}
        holding = [commit for commit in sorted(set(commits)) if _holds(repository, commit, path)]
        for start in range(0, len(holding), _BATCH):
            objects: list[ShaFile] = []
            for commit in holding[start : start + _BATCH]:
                *trees, replacement = _without(repository, commit, path)
                objects += [*trees, replacement]
                replaced[commit] = replacement.id.decode()
            repository.objects.write(objects)
        repository.refs.change({Ref(REPLACE + b"/" + commit.encode()): new for commit, new in replaced.items()})
        repository.replaced.update(replaced)
        return len(replaced)


def _holds(repository: GitRepository, commit: str, path: str) -> bool:
    try:
        return bool(git_tree.find(repository.blob, repository.root(commit), [path]))
    except NotFound:
        return False


def _without(repository: GitRepository, commit: str, path: str) -> Iterator[ShaFile]:
    """The objects of the commit as it is to be read; itself last."""
    built = git_tree.build(repository.blob, repository.root(commit), {}, [path])
    count = repository.count(commit) + built.growth
    replacement: Commit = repository.load(commit)
    replacement.tree = ObjectID(built.id)
    replacement.message = recounted(replacement.message, count)
    yield from built.objects
    yield replacement
