"""Interactions, replays and impact as the API's JSON; `schemas.interactions` describes them."""

from __future__ import annotations

from typing import Any

from ragstone.domain.interactions import Feedback, Interaction
from ragstone.services.orchestrator.views import commit_json, moment, release_json
from ragstone.use_cases.impact import AffectedAnswer, ImpactPage
from ragstone.use_cases.replay import Replayed

Json = dict[str, Any]


def feedback_json(feedback: Feedback) -> Json:
    """One person's word."""
    return {
        "thumb": feedback.thumb,
        "score": feedback.score,
        "comment": feedback.comment,
        "tags": list(feedback.tags),
        "created_at": moment(feedback.created_at),
    }


def interaction_json(interaction: Interaction) -> Json:
    """Everything that was logged of a question."""
    return {
        "id": interaction.id,
        "collection": interaction.collection,
        "question": interaction.question,
        "release_id": interaction.release_id,
        "commit_id": interaction.commit_id,
        "seq": interaction.seq,
        "position": interaction.position,
        "space_id": interaction.space_id,
        "principal": interaction.principal,
        "created_at": moment(interaction.created_at),
        "request": dict(interaction.request),
        "answer": dict(interaction.answer),
        "passages": [dict(passage) for passage in interaction.passages],
        "models": dict(interaction.models),
        "timings": dict(interaction.timings),
        "feedback": [feedback_json(feedback) for feedback in interaction.feedback],
        "redacted": dict(interaction.redacted),
        "purged": interaction.purged,
        "degraded": list(interaction.degraded),
    }


def replay_json(replayed: Replayed) -> Json:
    """The old answer and the new one."""
    old, new = replayed.interaction, replayed.done.interaction
    return {
        "id": new.id,
        "replay_of": old.id,
        "collection": old.collection,
        "commit_id": old.commit_id,
        "position": old.position,
        "question": old.question,
        "then": {
            "answer": dict(old.answer),
            "created_at": moment(old.created_at),
            "release_id": old.release_id,
            "models": dict(old.models),
            "degraded": list(old.degraded),
        },
        "now": {
            "answer": dict(new.answer),
            "created_at": moment(new.created_at),
            "release": release_json(replayed.done.release),
            "models": dict(new.models),
            "timings": dict(new.timings),
            "degraded": list(new.degraded),
        },
        "same_release": old.release_id == replayed.done.release.id,
        "diff": replayed.diff,
        "citations": {"added": list(replayed.citations_added), "removed": list(replayed.citations_removed)},
        "passages": {
            "identical": replayed.passages_identical,
            "compared": replayed.compared,
            "count": len(old.passages),
            "differing": list(replayed.differing),
        },
        "retrieval": {
            "identical": None if replayed.retrieval_note else replayed.retrieval_identical,
            "chunk_ids": list(replayed.retrieved),
            "note": replayed.retrieval_note or None,
        },
        "logged": replayed.done.logged,
    }


def impact_json(page: ImpactPage) -> Json:
    """Affected answers with old and new text."""
    return {
        "from": commit_json(page.before, page.view),
        "to": commit_json(page.after, page.view),
        "documents": page.documents,
        "answers": [_affected(answer) for answer in page.answers],
        "next": page.next,
    }


def _affected(answer: AffectedAnswer) -> Json:
    interaction = answer.interaction
    return {
        "id": interaction.id,
        "question": interaction.question,
        "answer": interaction.answer["text"],
        "created_at": moment(interaction.created_at),
        "commit_id": interaction.commit_id,
        "position": interaction.position,
        "release_id": interaction.release_id,
        "citations": [
            {"citation": dict(one.citation), "document": one.document, "old_text": one.old_text, "new_text": one.new_text}
            for one in answer.citations
        ],
    }
