"""Logs behind their spools."""

from __future__ import annotations

from pathlib import Path

from ragstone.adapters.redacting_log import RedactingInteractionLog
from ragstone.adapters.spooled_audit import SpooledAuditLog
from ragstone.adapters.spooled_log import Purges, SpooledInteractionLog
from ragstone.domain.errors import InvalidInput
from ragstone.domain.redaction import Redaction
from ragstone.ports.audit_log import AuditLog
from ragstone.ports.interaction_log import InteractionLog
from ragstone.settings import model as configured

_AUDIT_SPOOL = 16 * 2**20  # bytes, some 80,000 entries


def redaction(settings: configured.InteractionSettings) -> Redaction:
    """What is taken out of interactions before they are stored. Raises `InvalidInput` for an unknown field or a missing key."""
    key = b""
    if settings.redact_key_file is not None:
        try:
            key = settings.redact_key_file.read_bytes().strip()
        except OSError:
            name = "interactions.redact_key_file"
            raise InvalidInput(f"{name}: it can't be read; check its path and rights.", field=name) from None
    elif settings.redact_key is not None:
        key = settings.redact_key.get_secret_value().encode()
    return Redaction(settings.redact, key)


def interaction_log(
    settings: configured.InteractionSettings, log: InteractionLog, spool: Path, purges: Purges | None = None
) -> InteractionLog:
    """`log` behind its spool, and redaction before both. Raises what `redaction` raises."""
    spooled = SpooledInteractionLog(log, spool, settings.spool_bytes, purges=purges)
    spooled.start()
    rules = redaction(settings)
    return RedactingInteractionLog(spooled, rules) if rules.fields else spooled


def audit_log(log: AuditLog, spool: Path) -> AuditLog:
    """`log` behind its spool."""
    spooled = SpooledAuditLog(log, spool, _AUDIT_SPOOL)
    spooled.start()
    return spooled
