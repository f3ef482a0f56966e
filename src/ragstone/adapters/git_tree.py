"""How documents lie in a Git tree: 64 x 64 shards by hash of path, each a manifest beside a tree of blobs (ADR 0004).

    <aa>/<bb>.list   the shard's documents, a line each: path TAB content id TAB text id TAB information as JSON
    <aa>/<bb>/<sha256 of path>        the original bytes
    <aa>/<bb>/<sha256 of path>.json   the extracted text

Everything a read needs is in the manifest; the tree beside it makes the blobs part of the commit, for Git's own tools and for collection
of garbage. The shape depends on nothing but the documents: equal documents, equal tree.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dulwich.objects import Blob, ObjectID, ShaFile, Tree

from ragstone.adapters.document_codec import decode_info, encode_info, encode_text
from ragstone.domain.commits import DocumentChange
from ragstone.domain.documents import DocumentInfo, StoredDocument

Shard = dict[str, bytes]  # path -> its line
ReadObject = Callable[[bytes], bytes]
_TREE, _FILE = 0o040000, 0o100644
EMPTY = Tree().id


@dataclass(frozen=True, slots=True)
class Built:
    """A tree that is not yet written. `growth`: documents more than in the base."""

    id: bytes
    objects: list[ShaFile]
    growth: int


def build(read: ReadObject, base: bytes, puts: Mapping[str, StoredDocument], removes: Iterable[str]) -> Built:
    """The tree `base` + `puts` - `removes` (a path in both is removed). Touches only the shards concerned."""
    changes: defaultdict[tuple[bytes, bytes], dict[str, StoredDocument | None]] = defaultdict(dict)
    for path, document in puts.items():
        changes[_place(path)][path] = document
    for path in removes:
        changes[_place(path)][path] = None
    objects: list[ShaFile] = []
    growth = 0
    root = _tree(read, base)
    for outer in sorted({place[0] for place in changes}):
        before = root[outer][1] if outer in root else EMPTY
        middle = _tree(read, before)
        for inner in sorted(place[1] for place in changes if place[0] == outer):
            name = inner + b".list"
            old = _parse(read(middle[name][1])) if name in middle else {}
            new, blobs = _changed(old, changes[outer, inner])
            if new != old:
                growth += len(new) - len(old)
                objects += blobs
                _set(middle, name, _FILE, _manifest(new), objects)
                _set(middle, inner, _TREE, _blob_tree(new), objects)
        if middle.id != before:
            _set(root, outer, _TREE, middle, objects)
    objects.append(root)
    return Built(root.id, objects, growth)


def find(read: ReadObject, root: bytes, paths: Iterable[str]) -> dict[str, bytes]:
    """The lines of those of `paths` that the tree holds; each shard is read once."""
    by_place: defaultdict[tuple[bytes, bytes], list[str]] = defaultdict(list)
    for path in paths:
        by_place[_place(path)].append(path)
    top = _tree(read, root)
    middles: dict[bytes, Tree] = {}
    found: dict[str, bytes] = {}
    for (outer, inner), wanted in by_place.items():
        if outer not in top:
            continue
        if outer not in middles:
            middles[outer] = _tree(read, top[outer][1])
        if inner + b".list" in middles[outer]:
            shard = _parse(read(middles[outer][inner + b".list"][1]))
            found.update((path, shard[path]) for path in wanted if path in shard)
    return found


def lines(read: ReadObject, root: bytes) -> list[tuple[str, bytes]]:
    """Every document's path and line, in order of path."""
    found = [item for _, manifest in _manifests(read, root) for item in _parse(read(manifest)).items()]
    return sorted(found)


def diff(read: ReadObject, before: bytes, after: bytes) -> list[DocumentChange]:
    """What changed, in order of path; reads only shards that differ."""
    changes: list[DocumentChange] = []
    for old_id, new_id in _differing(read, before, after):
        old = _parse(read(old_id)) if old_id else {}
        new = _parse(read(new_id)) if new_id else {}
        changes += [DocumentChange(path, "added") for path in new.keys() - old.keys()]
        changes += [DocumentChange(path, "removed") for path in old.keys() - new.keys()]
        changes += [DocumentChange(path, "changed") for path in old.keys() & new.keys() if old[path] != new[path]]
    return sorted(changes, key=lambda change: change.path)


def info(line: bytes) -> DocumentInfo:
    """The information on a manifest's line."""
    path, _, _, encoded = line.split(b"\t", 3)
    return decode_info(path.decode(), encoded)


def content_and_text(line: bytes) -> tuple[bytes, bytes]:
    """The ids of the blobs that hold the bytes and the extracted text."""
    _, content, text, _ = line.split(b"\t", 3)
    return content, text


def _changed(old: Shard, changes: Mapping[str, StoredDocument | None]) -> tuple[Shard, list[ShaFile]]:
    new = dict(old)
    blobs: list[ShaFile] = []
    for path, document in changes.items():
        if document is None:
            new.pop(path, None)
            continue
        content, text = Blob.from_string(document.content), Blob.from_string(encode_text(document.extracted))
        new[path] = b"\t".join((path.encode(), content.id, text.id, encode_info(document.info)))
        if new[path] != old.get(path):
            blobs += [content, text]
    return new, blobs


def _place(path: str) -> tuple[bytes, bytes]:
    digest = hashlib.sha256(path.encode()).digest()
    return b"%02x" % (digest[0] >> 2), b"%02x" % (digest[1] >> 2)


def _parse(manifest: bytes) -> Shard:
    return {line[: line.index(b"\t")].decode(): line for line in manifest.split(b"\n") if line}


def _manifest(shard: Shard) -> Blob | None:
    return Blob.from_string(b"".join(shard[path] + b"\n" for path in sorted(shard))) if shard else None


def _blob_tree(shard: Shard) -> Tree | None:
    tree = Tree()
    for path, line in shard.items():
        content, text = content_and_text(line)
        name = hashlib.sha256(path.encode()).hexdigest().encode()
        tree.add(name, _FILE, ObjectID(content))
        tree.add(name + b".json", _FILE, ObjectID(text))
    return tree if shard else None


def _set(tree: Tree, name: bytes, mode: int, value: ShaFile | None, objects: list[ShaFile]) -> None:
    """Puts `value` under `name`; nothing or an empty tree removes the name."""
    if value is None or value.id == EMPTY:
        if name in tree:
            del tree[name]
        return
    objects.append(value)
    tree[name] = (mode, value.id)


def _tree(read: ReadObject, tree_id: bytes) -> Tree:
    return Tree() if tree_id == EMPTY else Tree.from_string(read(tree_id))


def _manifests(read: ReadObject, root: bytes) -> Iterator[tuple[tuple[bytes, bytes], bytes]]:
    for outer in _tree(read, root).items():
        yield from _manifests_of(read, outer.path, outer.sha)


def _manifests_of(read: ReadObject, outer: bytes, tree_id: bytes | None) -> Iterator[tuple[tuple[bytes, bytes], bytes]]:
    if tree_id is not None:
        for entry in _tree(read, tree_id).items():
            if entry.path.endswith(b".list"):
                yield (outer, entry.path), entry.sha


def _differing(read: ReadObject, before: bytes, after: bytes) -> Iterator[tuple[bytes | None, bytes | None]]:
    old_root = {entry.path: entry.sha for entry in _tree(read, before).items()}
    new_root = {entry.path: entry.sha for entry in _tree(read, after).items()}
    for outer in old_root.keys() | new_root.keys():
        old_id, new_id = old_root.get(outer), new_root.get(outer)
        if old_id != new_id:
            old, new = dict(_manifests_of(read, outer, old_id)), dict(_manifests_of(read, outer, new_id))
            for name in old.keys() | new.keys():
                if old.get(name) != new.get(name):
                    yield old.get(name), new.get(name)
