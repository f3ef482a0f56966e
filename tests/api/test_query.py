"""POST /query and /v1/search."""

from __future__ import annotations

from tests.api.conftest import Api


async def test_a_question_is_answered_with_its_sources_and_provenance(filled: Api) -> None:
    head = await filled.head()
    assert head is not None
    answer = await filled.http.post(
        "/query", json={"collection": "handbook", "question": "What does a bicycle ticket cost?", "abstain": False}
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["answer"]["text"]
    assert body["passages"][0]["path"] == "fares.txt"
    assert body["snapshot"] == {"collection": "handbook", "commit_id": head.id, "seq": 1, "position": 1, "was_head": True}
    assert answer.headers["x-ragstone-commit"] == head.id
    assert (await filled.platform.interactions.get(body["id"])).question == "What does a bicycle ticket cost?"
