"""Models of the registry: `models:/<name>@<alias>` and `models:/<name>/<version>` in place of a directory."""

from __future__ import annotations

from pydantic import Field

from ragstone.settings.stores import Section


class ModelRegistrySettings(Section):
    """Where versions are kept follows `tracking`: MLflow's registry, or the data directory."""

    poll_seconds: float = Field(
        default=15.0, ge=0.1, le=86_400, description="between two looks at an alias that is followed; a fifth more or less"
    )
    max_bytes: int = Field(default=64 * 2**30, ge=1, description="of one version that is fetched")
