"""Answers on XQuAD through the whole platform: retrieval, what the extractive answer contains, abstention."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

from bench.rows import Row, row
from bench.xquad import NAME, Asked, collection, load
from ragstone.domain.answers import Answer
from ragstone.domain.filters import Filter
from ragstone.use_cases.platform import Platform
from ragstone.use_cases.query import Question


async def rows(data: Path) -> list[Row]:
    """The XQuAD rows: default settings, abstention on, its threshold from the even-numbered articles."""
    uploads, asked = load(data)
    async with collection(uploads) as platform:
        hits = 0
        answers: list[Answer] = []
        for question in asked:
            answer, paths = await ask(platform, question.question, Filter())
            hits += question.path in paths[:5]
            answers.append(answer)
        odd = [question for question in asked if not question.even]
        left_out = [(await ask(platform, question.question, question.without_article))[0] for question in odd]
    given = [answer for answer in answers if not answer.abstained]
    words = mean(len(text(answer).split()) for answer in given)
    contained = [holds(answer, question) for answer, question in zip(answers, asked, strict=True)]
    false = [answer.abstained for answer, question in zip(answers, asked, strict=True) if not question.even]
    on_odd = mean(holds for holds, question in zip(contained, asked, strict=True) if not question.even)
    grounded = mean(answer.grounded for answer in given)
    count = len(asked)
    return [
        row("retrieval hit@5, xquad", hits / count, "share", ">=", 0.97, count, "top_k 8, of passages by rank"),
        row("extractive answer contains the gold span, xquad", mean(contained), "share", ">=", 0.80, count, f"abstained counts as no; {on_odd:.3f} on the odd articles"),
        row("sentences in the longest extractive answer, xquad", max(len(answer.sentences) for answer in given), "sentences", "<=", 2, len(given)),
        row("words in an extractive answer, xquad", words, "words, mean", "<=", 45, len(given), "without markers; of answers given"),
        row("sentences of the answers that the citation check supports, xquad", grounded, "share", "==", 1.0, len(given), "they are verbatim"),
        row("abstained when the article is left out, odd articles of xquad", mean(a.abstained for a in left_out), "share", ">=", 0.90, len(odd), "fitted on the even ones"),
        row("abstained when the article is there, odd articles of xquad", mean(false), "share", "<=", 0.05, len(odd), "fitted on the even ones"),
    ]  # fmt: skip


async def ask(platform: Platform, question: str, filter_: Filter) -> tuple[Answer, list[str]]:
    """The answer and the paths of its passages, best first."""
    done = await platform.query.run(Question(NAME, question, filter=filter_))
    return done.answer, [passage.chunk.path for passage in done.passages]


def text(answer: Answer) -> str:
    """The answer without its markers."""
    return " ".join(sentence.text for sentence in answer.sentences)


def holds(answer: Answer, question: Asked) -> bool:
    """Whether a gold span stands in the answer as it is, case and all."""
    return any(span in text(answer) for span in question.spans)
