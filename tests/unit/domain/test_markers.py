"""Reading `[n]` markers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.markers import cited_sentences

PASSAGES = ["The index a[0] is first. It was noted.[3] Rows 12 mm", "Tesla was born in 1856. He died in 1943.", "No full stop heading"]
SENTENCES = {"The index a[0] is first.", "It was noted.[3]", "Tesla was born in 1856.", "He died in 1943.", "No full stop heading"}


def verbatim(text: str, numbered: tuple[int, ...], whole: bool) -> bool:
    held = [PASSAGES[number - 1] for number in numbered if 1 <= number <= 3]
    return any(text in passage for passage in held) and (not whole or text in SENTENCES)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", []),
        ("[1]", []),
        ("Tesla was born in 1856. [2]", [("Tesla was born in 1856.", (2,), True)]),
        ("Tesla was born in 1856.[2] He died in 1943.[2]", [("Tesla was born in 1856.", (2,), True), ("He died in 1943.", (2,), True)]),
        ("He was born in 1856 [2], and died in 1943 [2][9].", [("He was born in 1856, and died in 1943.", (2, 9), False)]),
        ("Invented. And more [2, 3].", [("Invented.", (), False), ("And more.", (2, 3), False)]),
        ("[1] It leads. It follows.", [("It leads.", (1,), False), ("It follows.", (), False)]),
        ("In the U.S. [1] The thing is.", [("In the U.S.", (1,), False), ("The thing is.", (), False)]),
        # numbers in brackets of the passage's own
        ("The index a[0] is first. [1]", [("The index a[0] is first.", (1,), True)]),
        ("It was noted.[3] [1]", [("It was noted.[3]", (1,), True)]),
        ("He died [2] in 1943. [2]", [("He died in 1943.", (2,), True)]),
        # no full stop before the marker
        (
            "No full stop heading [3] Tesla was born in 1856. [2]",
            [("No full stop heading", (3,), True), ("Tesla was born in 1856.", (2,), True)],
        ),
    ],
)
def test_markers_belong_to_the_sentence_before_them(answer: str, expected: list[tuple[str, tuple[int, ...], bool]]) -> None:
    assert [(s.text, s.markers, s.verbatim) for s in cited_sentences(answer, verbatim)] == expected


@given(st.text(alphabet="aB1 .!?\n[],;", max_size=60))
def test_no_text_is_lost_and_no_marker_invented(answer: str) -> None:
    sentences = cited_sentences(answer, lambda text, numbered, whole: False)
    letters = [c for c in "".join(s.text for s in sentences) if c in "aB"]
    assert letters == [c for c in answer if c in "aB"]
    assert all(str(number) in answer for s in sentences for number in s.markers)
