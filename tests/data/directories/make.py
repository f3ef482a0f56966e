"""Makes a stored directory with the `ragstone` that it runs under; README.md says how, and which version of this made which.

`python make.py WORK NAME`: makes the directory WORK/data with the real command line, packs it as NAME.tar.xz, then lets the same version open a
copy, which finishes the job that was cut off, and writes down what it answers as NAME.json.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ragstone.adapters.data_directory import open_data_directory
from ragstone.adapters.file_staging import FileStaging
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.bootstrap.platform import open_platform
from ragstone.domain.ids import new_id
from ragstone.domain.interactions import InteractionFilter
from ragstone.domain.jobs import ChangeRequest, Job, Put
from ragstone.domain.retrieval import Point
from ragstone.settings.load import load_settings
from tests.support.portrait import portrait

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[2] / "examples" / "handbook"
QUESTIONS = tuple(entry["question"] for entry in json.loads((EXAMPLES / "questions.json").read_text())["demo"])
LATE = b"# Moorings\n\nA spare mooring line is kept on the quay of every island.\n"


def run(data: Path, *arguments: str) -> Any:
    """One command of the real command line; what it printed."""
    command = [sys.executable, "-m", "ragstone.cli.main", "--data-dir", str(data), *arguments, "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def make(data: Path) -> None:
    """A short life: two releases, a delete, a move, a rollback, questions, feedback."""
    at = ("-c", "handbook")
    run(data, "ingest", str(EXAMPLES / "v1"), *at, "--mirror", "-m", "The handbook")
    run(data, "tag", *at, "v1")
    for question in QUESTIONS:
        run(data, "ask", question, *at, "--no-stream")
    run(data, "ingest", str(EXAMPLES / "v2"), *at, "--mirror", "-m", "The second edition")
    run(data, "tag", *at, "v2")
    asked = run(data, "ask", QUESTIONS[0], *at, "--no-stream")
    run(data, "interactions", "feedback", asked["id"], "--up", "--comment", "as posted")
    run(data, "delete", "people/expenses.txt", *at, "-m", "Moved to the intranet")
    run(data, "move", "people/leave.md", "people/holidays.md", *at)
    run(data, "rollback", "v1", *at)
    run(data, "rollback", "v2", *at)


async def cut_off(data: Path) -> None:
    """A job in the middle of its writing when the process was killed: its bytes are staged, one point is written, the lease is held."""
    opened = open_data_directory(data)
    catalog, staging, index = SqliteCatalog(opened.database), FileStaging(opened.staging), QdrantEdgeIndex(opened.index)
    collection = await catalog.collection("handbook")
    name = collection.index_name(collection.space_id)
    job_id = new_id()
    put = Put("operations/moorings.md", "text/markdown", await staging.put(job_id, LATE), len(LATE))
    await catalog.accept(Job(job_id, "handbook", 0, ChangeRequest((put,), author="maker", message="Moorings"), "local", "queued", 0.0))
    lease = await catalog.acquire(job_id, "killed", 60.0)
    found = await index.visible(name, lease.head_seq, lease.gaps, ["index.md"])
    ghost = replace(found[0], id="00000000-0000-5000-8000-000000000001", path=put.path, text="A ghost.", seq_from=lease.attempt)
    await index.insert(name, [Point(ghost, np.full(collection.spaces[0].model.dimension, 384**-0.5, np.float32))])
    await index.close_points(name, [found[0].id], lease.attempt, lease.gaps)
    await index.aclose()
    await catalog.close()
    opened.close()


async def expected(data: Path) -> dict[str, Any]:
    """What this version says of it."""
    async with open_platform(load_settings(data_dir=data)) as platform:
        for job in await platform.ingest.jobs("handbook"):
            await platform.ingest.wait(job.id, 60)
        logged = await platform.interactions.page(InteractionFilter("handbook"))
        interactions = [
            [one.id, one.question, one.commit_id, one.answer["text"], [each.comment for each in one.feedback]] for one in logged
        ]
        return {"handbook": (await portrait(platform, QUESTIONS, answers=True))["handbook"], "interactions": interactions}


def main(work: Path, name: str) -> None:
    """The two files."""
    data, copy = work / "data", work / "copy"
    make(data)
    asyncio.run(cut_off(data))
    shutil.copytree(data, copy)
    with tarfile.open(HERE / f"{name}.tar.xz", "w:xz", preset=9) as archive:
        archive.add(data, "data")
    (HERE / f"{name}.json").write_text(json.dumps(asyncio.run(expected(copy)), indent=0, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
