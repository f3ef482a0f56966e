"""Values that docs/generation.md gives for the dev profile."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.charts.helm import ROOT


def documented() -> list[dict[str, Any]]:
    """With a model on a claim; what to set over that for one of the registry."""
    text = (ROOT / "docs" / "generation.md").read_text("utf-8").partition("### In the dev profile")[2]
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
