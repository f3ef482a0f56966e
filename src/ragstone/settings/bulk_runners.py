"""Who embeds when there is very much to embed: whoever writes it, worker processes of this machine, or a cluster's Indexed Jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ragstone.settings.stores import Section

_NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"


class NoBulk(Section):
    """Whoever writes chunks embeds them."""

    kind: Literal["none"] = "none"


class Shards(Section):
    """What every runner needs."""

    shards: int = Field(default=4, ge=1, le=10_000, description="parts of the work, and how many are at work at once at most")
    least: int = Field(default=2_000, ge=1, description="texts without a vector; fewer are embedded by whoever writes them")
    window: int = Field(default=20_000, ge=1, description="chunks of a space that are embedded ahead of being written")
    retries: int = Field(default=5, ge=0, le=1_000, description="of each shard, before the work waits for its job's next try")


class ProcessBulk(Shards):
    """Worker processes on this machine."""

    kind: Literal["processes"]
    nice: int = Field(default=10, ge=0, le=19, description="of each: how much questions come first")
    threads: int = Field(default=0, ge=0, description="of the embedding model in each; 0: the cores shared out")


class KubernetesBulk(Shards):
    """Indexed Jobs on Kubernetes. The account of this process needs the right to make Jobs in the namespace; the pods' own account needs none."""

    kind: Literal["kubernetes"]
    pod_template: Path = Field(description="YAML of a pod template, whose first container gets the command; the chart writes it")
    namespace: str = Field(pattern=_NAME, description="in which Jobs are made")
    parallelism: int = Field(default=0, ge=0, description="pods at once at most; 0: as many as shards")
    resources: dict[Literal["requests", "limits"], dict[str, str]] = Field(
        default={}, description="of the container, over the template's: cpu, memory, nvidia.com/gpu"
    )
    node_selector: dict[str, str] = Field(default={}, description="of the pods, over the template's")
    kubeconfig: Path | None = Field(default=None, description="unset: the account of this pod")
    timeout: float = Field(default=10.0, gt=0, le=600, description="seconds for one call")
    look: float = Field(default=2.0, gt=0, le=60, description="seconds between looks at a Job")


Bulk = Annotated[NoBulk | ProcessBulk | KubernetesBulk, Field(discriminator="kind")]
