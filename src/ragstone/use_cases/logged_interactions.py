"""Logged questions and answers as a principal may see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ragstone.domain.access import Principal, Scope, View, no_interaction
from ragstone.domain.errors import NotFound
from ragstone.domain.interactions import Feedback, Interaction, InteractionFilter, named_paths
from ragstone.ports.catalog import Catalog
from ragstone.ports.interaction_log import InteractionLog
from ragstone.use_cases.visibility import Visibility

_LEAST = 100  # entries looked at together, once some were left out


class LoggedInteractions:
    """An answer that names a document which is kept from a principal is not theirs to see: neither are its question, its scores and its feedback.

    One of a collection that was deleted, whose groups went with it, is its admins' alone; also where another one bears the name now.
    """

    def __init__(self, log: InteractionLog, catalog: Catalog, visibility: Visibility) -> None:
        self._log = log
        self._catalog = catalog
        self._visibility = visibility

    async def get(self, interaction_id: str, principal: Principal) -> Interaction:
        """Raises `NotFound`."""
        found = await self._log.get(interaction_id)
        if not await self._shows(principal)(found):
            raise no_interaction(interaction_id)
        return found

    async def add_feedback(self, interaction_id: str, feedback: Feedback, principal: Principal) -> Interaction:
        """Raises `NotFound`."""
        await self.get(interaction_id, principal)
        return await self._log.add_feedback(interaction_id, feedback)

    async def page(
        self, filter: InteractionFilter, principal: Principal, *, before: str | None = None, limit: int = 50
    ) -> list[Interaction]:
        """As `InteractionLog.page`, of what the principal may see."""
        shows = self._shows(principal)
        found: list[Interaction] = []
        wanted = limit
        while len(found) < limit and (page := await self._log.page(filter, before=before, limit=wanted)):
            found += [one for one in page if await shows(one)]
            before = page[-1].id
            wanted = max(_LEAST, limit - len(found))
        return found[:limit]

    def _shows(self, principal: Principal) -> Callable[[Interaction], Awaitable[bool]]:
        known: dict[str, tuple[float, View] | None] = {}  # by collection: since when it is there, and what they may see of it

        async def shows(interaction: Interaction) -> bool:
            name = interaction.collection
            if principal.may(Scope.ADMIN, name):
                return True
            if name not in known:
                known[name] = await self._view(name, principal)
            found = known[name]
            if found is None or interaction.created_at < found[0]:
                return False
            view = found[1]
            return view.shows_all(named_paths(interaction)) and view.text(interaction.question) == interaction.question

        return shows

    async def _view(self, name: str, principal: Principal) -> tuple[float, View] | None:
        if not principal.may(Scope.READ, name):
            return None
        try:
            collection = await self._catalog.collection(name)
        except NotFound:
            return None
        return collection.created_at, await self._visibility.view(collection, principal)
