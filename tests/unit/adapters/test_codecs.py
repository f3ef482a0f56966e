"""Values survive their way through a database column exactly."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ragstone.adapters import codecs
from ragstone.domain.commits import CommitStats
from ragstone.domain.jobs import Change, ChangeRequest, Delete, DocumentFailure, JobResult, Move, Put, Restore
from ragstone.domain.spaces import Bm25Settings, ChunkerSettings, EmbeddingSpace, ModelIdentity

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
VALUE = TEXT | st.integers(-(2**60), 2**60) | NUMBER | st.booleans() | st.lists(TEXT, max_size=3).map(tuple)
PUT = st.builds(Put, TEXT, TEXT, TEXT, st.integers(0, 2**50), st.dictionaries(TEXT, VALUE, max_size=3))
CHANGE: st.SearchStrategy[Change] = PUT | st.builds(Delete, TEXT, st.booleans()) | st.builds(Move, TEXT, TEXT) | st.builds(Restore, TEXT)


@given(st.builds(ChangeRequest, st.lists(CHANGE, max_size=4).map(tuple), st.booleans(), TEXT))
def test_requests_come_back_exactly(request: ChangeRequest) -> None:
    loaded = codecs.REQUEST.load(codecs.REQUEST.dump(request))
    assert loaded == request
    assert repr(loaded) == repr(request)  # 1, 1.0 and True are equal but not the same


@given(st.frozensets(st.integers(1, 2**60)))
def test_gaps_come_back_exactly(gaps: frozenset[int]) -> None:
    assert codecs.GAPS.load(codecs.GAPS.dump(gaps)) == gaps


def test_results_and_spaces_come_back_exactly() -> None:
    result = JobResult("failed", None, None, None, CommitStats(chunks=3), (DocumentFailure("a", "b", "c", 413),), "x", "y", 422)
    assert codecs.RESULT.load(codecs.RESULT.dump(result)) == result
    model = ModelIdentity("m", "r", "d", 3, "mean", 256, query_prefix="q: ")
    spaces = (EmbeddingSpace(model, ("a/1", "b/2"), ChunkerSettings(), Bm25Settings(language="german", b=0.7)),)
    assert codecs.SPACES.load(codecs.SPACES.dump(spaces)) == spaces
    assert codecs.SPACES.load(codecs.SPACES.dump(spaces))[0].id == spaces[0].id


def test_values_written_before_a_field_existed_get_its_default() -> None:
    assert codecs.STATS.load('{"chunks": 3, "of_a_later_version": 1}') == replace(CommitStats(), chunks=3)
