"""What every `Authenticator` promises."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ragstone.adapters.key_file import KeyFile
from ragstone.domain.access import Principal, Scope, scopes_text
from ragstone.ports.authenticator import Authenticator
from tests.fakes.authenticator import KnownKeys

ANN, BOB = Principal("ann", Scope.ADMIN), Principal("bob", Scope.READ)
TWO_SECONDS_LATER = itertools.count(0.0, 2.0)


@dataclass
class Known:
    """An authenticator that knows `ann-key` and `bob-key`, and the way to have it know other keys two seconds later."""

    authenticator: Authenticator
    change: Callable[[dict[str, Principal]], None]


@pytest.fixture(params=["file", "fake"])
def known(request: pytest.FixtureRequest, tmp_path: Path) -> Known:
    keys = {"ann-key": ANN, "bob-key": BOB}
    if request.param == "fake":
        fake = KnownKeys(keys)
        return Known(fake, lambda other: setattr(fake, "keys", other))
    path = tmp_path / "keys"

    def write(keys: dict[str, Principal]) -> None:
        lines = [f"{one.name}:{scopes_text(one)}:{hashlib.sha256(key.encode()).hexdigest()}\n" for key, one in keys.items()]
        draft = tmp_path / "draft"
        draft.write_text("".join(lines))
        draft.replace(path)

    write(keys)
    return Known(KeyFile(path, clock=lambda: next(TWO_SECONDS_LATER)), write)


async def test_a_key_belongs_to_its_principal(known: Known) -> None:
    assert await known.authenticator.principal("ann-key") == ANN
    assert await known.authenticator.principal("bob-key") == BOB


@pytest.mark.parametrize("key", ["", "ann-key ", "ANN-KEY", "ann", "ünknown", "\udc80", "a" * 10_000])
async def test_any_other_key_is_nobodys(known: Known, key: str) -> None:
    assert await known.authenticator.principal(key) is None


async def test_keys_that_are_added_and_withdrawn_count(known: Known) -> None:
    assert await known.authenticator.principal("bob-key") == BOB
    known.change({"ann-key": ANN, "new-key": BOB})
    assert await known.authenticator.principal("new-key") == BOB
    assert await known.authenticator.principal("bob-key") is None
    assert await known.authenticator.principal("ann-key") == ANN
