"""Fits the packaged calibration of the default embedding model: `python -m bench.calibrate [--write]`.

Questions of XQuAD's even-numbered articles, each asked with its article in the collection (answerable) and without it (not).
The odd-numbered ones are only reported on, here and by `bench.answers`. Exit status 1 when the fit differs from the packaged file.
"""

from __future__ import annotations

import asyncio
import sys
from math import isclose
from pathlib import Path

from bench.runner import data_directory
from bench.xquad import NAME, Asked, collection, load
from ragstone.adapters.embedding_cache import EmbeddingCache
from ragstone.domain.filters import Filter
from ragstone.domain.retrieval import SearchQuery
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.use_cases.answerability import Calibration, Features, calibrate, format_calibration, measure, parse_calibration
from ragstone.use_cases.platform import Platform

VERSION = 1
SOURCE = "XQuAD (en), questions of the even-numbered articles, each with its article in the collection and without it"


async def fit(data: Path) -> tuple[Calibration, float, float]:
    """The calibration, and how often it abstains on the odd articles: when the article is left out, when it is there."""
    uploads, asked = load(data)
    async with collection(uploads) as platform:
        identity = platform.embedder.identity
        remembered = EmbeddingCache(platform.embedder)
        there = [(question.even, await features(platform, remembered, question, Filter())) for question in asked]
        left_out = [(question.even, await features(platform, remembered, question, question.without_article)) for question in asked]
    calibration = calibrate(
        [found for even, found in there if even],
        [found for even, found in left_out if even],
        name=f"{identity.name}/{VERSION}",
        model_digest=identity.digest,
        source=SOURCE,
    )
    rates = [abstained(calibration, [found for even, found in of if not even]) for of in (left_out, there)]
    return calibration, rates[0], rates[1]


async def features(platform: Platform, embedder: EmbeddingModel, question: Asked, filter_: Filter) -> Features:
    """As the answer's own check measures them."""
    resolved, snapshot = await platform.snapshots.resolve(NAME)
    passages = await platform.search.run(resolved, snapshot, SearchQuery(question.question, filter_))
    return await measure(embedder, question.question, passages)


def abstained(calibration: Calibration, found: list[Features]) -> float:
    """Share below the threshold."""
    return sum(calibration.probability(one) < calibration.threshold for one in found) / len(found)


def close(one: Calibration, other: Calibration) -> bool:
    """Whether two fits agree within what another machine's arithmetic moves them by."""
    pairs = [
        (one.intercept, other.intercept),
        (one.threshold, other.threshold),
        *((one.weights[name], other.weights[name]) for name in one.weights),
    ]
    return all(isclose(a, b, rel_tol=0.01) for a, b in pairs)


def main() -> int:
    """See the module."""
    calibration, left_out, there = asyncio.run(fit(data_directory()))
    file = Path(__file__).parents[1] / "src" / "ragstone" / "calibrations" / f"{calibration.name.replace('/', '.')}.json"
    text = format_calibration(calibration)
    print(text, f"odd articles: abstains {left_out:.4f} when the article is left out, {there:.4f} when it is there", sep="")
    if "--write" in sys.argv[1:]:
        file.write_text(text)
        return 0
    same = file.is_file() and close(calibration, parse_calibration(file.read_text(), file.name))
    print("the packaged calibration is the same" if same else "the packaged calibration differs")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
