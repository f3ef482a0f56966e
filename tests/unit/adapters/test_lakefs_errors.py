"""What lakeFS says, in ragstone's words; its servers' tests meet the commoner errors."""

from __future__ import annotations

import json

from ragstone.adapters.lakefs_errors import Answer, Refused, translate
from ragstone.domain.errors import Unavailable


def test_an_object_store_that_is_away_is_no_wrong_request() -> None:
    """Seen on lakeFS 1.84: a repository was to be made while the object store was just starting."""
    body = json.dumps({"message": "failed to create repository: failed to access storage"}).encode()
    error = translate(Answer(400, body))
    assert isinstance(error, Unavailable)
    assert "object store" in error.message


def test_a_wrong_request_is_an_error_of_ragstones_own() -> None:
    error = translate(Answer(400, b'{"message": "invalid argument"}'))
    assert isinstance(error, Refused)
    assert error.reason == "invalid argument"
