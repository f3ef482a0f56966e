"""Scopes include one another in order."""

from __future__ import annotations

import pytest

from ragstone.domain.access import LOCAL, SCOPES, Principal, Scope


@pytest.mark.parametrize(("scope", "may"), [("read", {"read"}), ("write", {"read", "write"}), ("admin", {"read", "write", "admin"})])
def test_each_scope_includes_those_before_it(scope: str, may: set[str]) -> None:
    principal = Principal("ann", SCOPES[scope])
    assert {needed.word for needed in Scope if principal.may(needed)} == may


def test_whoever_needs_no_key_may_do_everything() -> None:
    assert all(LOCAL.may(scope) for scope in Scope)
