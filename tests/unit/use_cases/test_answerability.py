"""Answerability: its features, its fit, its files."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from ragstone.domain.errors import InvalidInput
from ragstone.use_cases.answerability import (
    FALLBACK,
    Calibration,
    Calibrations,
    Features,
    calibrate,
    format_calibration,
    measure,
    parse_calibration,
)
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.support.passages import passages
from tests.support.points import space

MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def examples(count: int, centre: float, seed: int) -> list[Features]:
    chance = random.Random(seed)
    return [Features(chance.gauss(centre, 0.1), chance.gauss(centre, 0.2), chance.random()) for _ in range(count)]


def fitted(**changes: float) -> Calibration:
    return calibrate(examples(200, 0.7, 1), examples(200, 0.4, 2), name="test/1", model_digest="d", **changes)  # type: ignore[arg-type]  # floats only


async def test_a_question_about_the_passages_scores_above_one_about_something_else() -> None:
    model = HashingEmbeddingModel()
    found = passages("The rescue boat is orange.", "Dogs travel free.")
    near = await measure(model, "Which colour is the rescue boat?", found)
    far = await measure(model, "Who founded Rome?", found)
    assert near.coverage > far.coverage == 0.0
    assert near.sentence_cosine > far.sentence_cosine
    assert near.passage_cosine == far.passage_cosine == pytest.approx(0.5)


async def test_no_passages_give_zeros() -> None:
    assert await measure(HashingEmbeddingModel(), "Anything?", ()) == Features(0.0, 0.0, 0.0)


def test_the_fit_separates_and_uses_what_separates() -> None:
    calibration = fitted()
    assert calibration.measured["abstained_when_unanswerable"] > 0.8
    assert calibration.weights["sentence_cosine"] > calibration.weights["passage_cosine"] > 0
    assert abs(calibration.weights["coverage"]) < 1  # noise
    assert calibration.probability(Features(0.7, 0.7, 0.5)) > 0.8 > 0.2 > calibration.probability(Features(0.4, 0.4, 0.5))


@pytest.mark.parametrize("share", [0.0, 0.03, 0.1])
def test_the_threshold_keeps_the_share_of_false_abstentions(share: float) -> None:
    calibration = fitted(false_abstention=share)
    below = sum(calibration.probability(example) < calibration.threshold for example in examples(200, 0.7, 1))
    assert share - 0.01 <= below / 200 <= share


def test_the_fit_is_deterministic_and_survives_its_file() -> None:
    assert fitted() == fitted() == parse_calibration(format_calibration(fitted()))


def test_a_fit_of_separable_examples_is_finite() -> None:
    calibration = calibrate(examples(50, 0.9, 1), examples(50, -0.5, 2), name="test/1", model_digest="d")
    assert all(abs(weight) < 1e3 for weight in calibration.weights.values())
    assert 0 < calibration.threshold < 1


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(InvalidInput, match="20"):
        calibrate(examples(19, 0.7, 1), examples(200, 0.4, 2), name="test/1", model_digest="d")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"name": 1}', '{"name":"x","model_digest":"","space_id":null,"weights":{},"intercept":0,"threshold":0.5}']
)
def test_a_file_that_is_none_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"mine\.json"):
        parse_calibration(text, "mine.json")


def test_the_default_model_has_a_packaged_calibration_that_lets_answers_through() -> None:
    of = space()
    calibration = Calibrations().of(replace(of, model=replace(of.model, digest=MINILM)))
    assert calibration.name == "all-minilm-l6-v2/1"
    assert calibration.probability(Features(0.7, 0.7, 0.9)) > calibration.threshold > calibration.probability(Features(0.2, 0.2, 0.2))


def test_a_spaces_own_calibration_goes_before_its_models_and_newer_before_older(tmp_path: Path) -> None:
    of = space()
    for version in (1, 2):
        model_wide = replace(fitted(), name=f"m/{version}", model_digest=of.model.digest)
        (tmp_path / f"m.{version}.json").write_text(format_calibration(model_wide))
    own = replace(fitted(), name="own/1", space_id=of.id)
    assert Calibrations(folder=tmp_path).of(of).name == "m/2"
    assert Calibrations(own=(own,), folder=tmp_path).of(of) == own
    assert Calibrations(own=(own,), folder=tmp_path).of(replace(of, parsers=("other/1",))).name == "m/2"


def test_an_unknown_model_gets_the_conservative_fallback(tmp_path: Path) -> None:
    assert Calibrations(folder=tmp_path).of(space()) is FALLBACK
    assert FALLBACK.probability(Features(0.45, 0.5, 0.0)) > FALLBACK.threshold
    assert FALLBACK.probability(Features(0.05, 0.1, 0.1)) < FALLBACK.threshold
