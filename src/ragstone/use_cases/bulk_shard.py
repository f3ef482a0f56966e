"""What one shard of bulk work does: embeds the parts that wait for it, one after another (ADR 0032)."""

from __future__ import annotations

import numpy as np

from ragstone.domain.errors import NotFound
from ragstone.ports.bulk_stage import BulkStage
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.use_cases.index_writer import batches, check_vectors

_TEXTS = 32  # embedded in one call


async def work_shard(stage: BulkStage, run_id: str, shard: int, embedder: EmbeddingModel, *, texts: int = _TEXTS) -> int:
    """Returns how many texts it embedded; 0 when the run is over. `texts`: of one call.

    Killed and started again, it goes on with the first part that is not staged. It writes nothing but the stage. Raises `InternalError` for vectors that
    can't be right, and what stage and model raise.
    """
    done = 0
    for part_id in await stage.waiting(run_id, shard):
        try:
            part = await stage.part(run_id, shard, part_id)
            rows = []
            for batch in batches(list(part.texts.values()), texts):
                rows.append(await embedder.embed_passages(batch))
                check_vectors(rows[-1], len(batch), embedder.identity.dimension)
            done += len(part.texts)
            await stage.put(run_id, part, np.concatenate(rows))
        except NotFound:  # it was ordered anew, or is over
            continue
    return done
