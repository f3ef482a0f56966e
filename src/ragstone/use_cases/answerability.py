"""How likely it is that the passages found answer the question, and the calibration of that per embedding space."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from importlib.resources.abc import Traversable

import numpy as np
from numpy.typing import NDArray

from ragstone.domain.errors import InvalidInput
from ragstone.domain.evidence import gather
from ragstone.domain.retrieval import Passage
from ragstone.domain.spaces import EmbeddingSpace
from ragstone.ports.embedding_model import EmbeddingModel

_RIDGE = 1e-3  # on standardised features: keeps the fit finite where the classes do not overlap
_NEWTON_STEPS = 50


@dataclass(frozen=True, slots=True)
class Features:
    """What answerability is judged by; each has the same meaning in a corpus of any size.

    `sentence_cosine`: of the best sentence of the shortlist. `passage_cosine`: of the best passage. `coverage`: share of the question's
    terms, weighed by rarity among the passages, that the best passage holds. The last is 0 to 1, the cosines -1 to 1.
    """

    sentence_cosine: float
    passage_cosine: float
    coverage: float


_FEATURES = tuple(feature.name for feature in fields(Features))


@dataclass(frozen=True, slots=True)
class Calibration:
    """A logistic model over `Features`; below `threshold` (a probability) the answer is that the knowledge base does not hold one.

    `model_digest`: SHA-256 of the weights of the embedding model it was fitted with; `space_id` narrows it to one space, None: any of that model.
    `source` says what it was fitted on, `measured` how it did.
    """

    name: str
    model_digest: str
    space_id: str | None
    weights: Mapping[str, float]
    intercept: float
    threshold: float
    source: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)

    def probability(self, features: Features) -> float:
        """0 to 1."""
        logit = self.intercept + sum(self.weights[name] * getattr(features, name) for name in _FEATURES)
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))


# For a model that nothing was fitted for. Abstains only when the best sentence's cosine is below .2 or so and hardly a word of the question
# is found: a question about something else altogether. Where a model's cosines are never that low, it never abstains.
FALLBACK = Calibration(
    name="uncalibrated/1",
    model_digest="",
    space_id=None,
    weights={"sentence_cosine": 10.0, "passage_cosine": 0.0, "coverage": 2.0},
    intercept=-2.5,
    threshold=0.5,
    source="not fitted: a conservative guess for embedding models without a calibration",
)


class Calibrations:
    """Calibrations by embedding space. `folder`: packaged ones by default; `own` are looked at first."""

    def __init__(self, own: Sequence[Calibration] = (), folder: Traversable | None = None) -> None:
        packaged = folder or files("ragstone") / "calibrations"
        found = [parse_calibration(file.read_text("utf-8"), file.name) for file in packaged.iterdir() if file.name.endswith(".json")]
        self._all = (*own, *sorted(found, key=lambda calibration: calibration.name, reverse=True))

    def of(self, space: EmbeddingSpace) -> Calibration:
        """The one fitted for this space, else for its model (the newest), else `FALLBACK`."""
        space_id = space.id
        for calibration in self._all:
            if calibration.space_id == space_id:
                return calibration
        for calibration in self._all:
            if calibration.space_id is None and calibration.model_digest == space.model.digest:
                return calibration
        return FALLBACK


async def measure(embedder: EmbeddingModel, question: str, passages: Sequence[Passage]) -> Features:
    """The features of a question with its passages; zeros when there are none. Embeds a few sentences (see `domain.evidence`)."""
    evidence = gather(question, passages)
    if not evidence.shortlist:
        return Features(0.0, 0.0, 0.0)
    vector = (await embedder.embed_queries([question]))[0]
    sentences = await embedder.embed_passages([candidate.embedded_text for candidate in evidence.shortlist])
    return Features(float((sentences @ vector).max()), max(passage.dense for passage in passages), evidence.coverage)


def calibrate(
    answerable: Sequence[Features],
    unanswerable: Sequence[Features],
    *,
    name: str,
    model_digest: str,
    space_id: str | None = None,
    false_abstention: float = 0.03,
    source: str = "",
) -> Calibration:
    """Fits the logistic model (ridge, Newton's method) and sets the threshold so that at most `false_abstention` of `answerable` fall below it.

    Deterministic. Raises `InvalidInput` for fewer than 20 examples of either kind.
    """
    if min(len(answerable), len(unanswerable)) < 20:
        raise InvalidInput("questions: a calibration needs at least 20 questions with an answer and 20 without.", field="questions")
    names = list(Features.__dataclass_fields__)
    rows = np.array([[getattr(example, feature) for feature in names] for example in (*answerable, *unanswerable)])
    labels = np.repeat([1.0, 0.0], [len(answerable), len(unanswerable)])
    weights, intercept = _logistic(rows, labels)
    fitted = Calibration(
        name, model_digest, space_id, dict(zip(names, weights.round(4).tolist(), strict=True)), round(intercept, 4), 0.5, source
    )
    yes = sorted(fitted.probability(example) for example in answerable)
    threshold = math.floor(yes[math.floor(false_abstention * len(yes))] * 1e4) / 1e4
    no = [fitted.probability(example) for example in unanswerable]
    measured = {
        "questions": len(yes) + len(no),
        "abstained_when_unanswerable": round(sum(value < threshold for value in no) / len(no), 4),
        "abstained_when_answerable": round(sum(value < threshold for value in yes) / len(yes), 4),
    }
    return Calibration(name, model_digest, space_id, fitted.weights, fitted.intercept, threshold, source, measured)


def parse_calibration(text: str, field: str = "calibration") -> Calibration:
    """Reads what `format_calibration` wrote. Raises `InvalidInput` naming `field`."""
    try:
        calibration = Calibration(**json.loads(text))
        calibration.probability(Features(0.0, 0.0, 0.0))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInput(f"{field}: this is not a calibration: {error}.", field=field) from error
    return calibration


def format_calibration(calibration: Calibration) -> str:
    """JSON, indented, the same for the same calibration."""
    return json.dumps(asdict(calibration), indent=2) + "\n"


def _logistic(rows: NDArray[np.float64], labels: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Weights (f,) and intercept that minimise mean log loss + ridge, on standardised features, given back in the features' own units."""
    mean, spread = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-9)
    design = np.column_stack([(rows - mean) / spread, np.ones(len(rows))])
    penalty = np.diag([2 * _RIDGE] * rows.shape[1] + [0.0])
    beta = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (probability - labels) / len(rows) + penalty @ beta
        curvature = (design.T * (probability * (1 - probability))) @ design / len(rows) + penalty
        step = np.linalg.solve(curvature + 1e-12 * np.eye(len(beta)), gradient)
        beta -= step
        if np.abs(step).max() < 1e-10:
            break
    weights = beta[:-1] / spread
    return weights, float(beta[-1] - weights @ mean)
