"""Every setting, with its default. Sources: defaults < ragstone.toml < environment (RAGSTONE_...) < flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from ragstone.settings import bulk_runners, embedders, model_services, rerankers, stores
from ragstone.settings.generation_service import GenerationService
from ragstone.settings.registry import ModelRegistrySettings
from ragstone.settings.stores import Section

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ExtractiveGenerator(Section):
    """Answers with verbatim sentences of the passages."""

    kind: Literal["extractive"] = "extractive"
    max_sentences: int = Field(default=2, ge=1, le=10, description="of an answer, where the question does not say")


class OpenAIGenerator(Section):
    """Any endpoint that speaks OpenAI's `/v1/chat/completions`. The key comes from the environment or from a file."""

    kind: Literal["openai"]
    base_url: str = Field(description="for example http://127.0.0.1:8080/v1")
    model: str = Field(description="its name at the endpoint, or models:/<name>@<alias> of a registered one there")
    api_key: SecretStr | None = Field(default=None, description="sent as the bearer")
    api_key_file: Path | None = None
    context_window: int = Field(default=8192, ge=512, description="tokens of prompt and answer together")
    timeout: float = Field(default=120.0, gt=0, description="seconds for a whole answer; never more than limits.request_seconds leaves")
    first_token_timeout: float = Field(
        default=30.0, gt=0, description="seconds until an answer begins; after that it is made of quotations"
    )
    concurrency: int = Field(default=128, ge=1, le=10_000, description="answers at once")


class LlamaGenerator(Section):
    """A GGUF model in this process, by llama.cpp; needs the extra `llama`. Or in a generation service on this machine, which answers the same."""

    kind: Literal["llama"]
    model: str = Field(min_length=1, description="a .gguf file, a directory with one, or models:/<name>@<alias>")
    digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 that the file must have; unset: any")
    context_window: int = Field(
        default=4096, ge=512, description="tokens of prompt and answer together; no more than the model was trained for"
    )
    slots: int = Field(default=2, ge=1, le=64, description="answers made at once; each has the whole context window")
    concurrency: int = Field(default=16, ge=1, le=1_000, description="answers at once, with those that wait for a slot")
    threads: int = Field(default=0, ge=0, description="of the generator; 0: as many as cores, or as the container's CPU limit")
    timeout: float = Field(default=120.0, gt=0, description="seconds for a whole answer; never more than limits.request_seconds leaves")
    first_token_timeout: float = Field(
        default=60.0, gt=0, description="seconds until an answer begins; after that it is made of quotations"
    )
    base_url: str | None = Field(
        default=None, description="of a generation service that has this model in memory; unset: it is loaded in this process"
    )
    api_key_file: Path | None = Field(default=None, description="sent to that service as the bearer")


class LimitSettings(Section):
    """Bounds on requests; sizes in bytes."""

    document_bytes: int = Field(default=50 * 2**20, ge=1, description="of one document")
    request_bytes: int = Field(default=256 * 2**20, ge=1, description="of one ingestion")
    documents: int = Field(default=10_000, ge=1, description="of one ingestion")
    question_characters: int = Field(default=8_000, ge=1, description="of one question")
    top_k: int = Field(default=100, ge=1, description="passages that a question may ask for")
    rerank: int = Field(default=100, ge=0, le=1_000, description="passages that a question may have reranked")
    pending_jobs: int = Field(default=1_000, ge=1, description="accepted and not done, of one collection; more are refused")
    concurrent_queries: int = Field(default=128, ge=1, description="questions answered at once; as many may wait")
    request_seconds: float = Field(default=60.0, gt=0, le=3_600, description="that reading requests share with every call below them")


class RateLimitSettings(Section):
    """What each principal may use; 0: as much as they like. Shared by all processes over MongoDB, else counted by each process for itself."""

    reads_per_minute: int = Field(default=0, ge=0, description="requests that need no more than the scope read")
    writes_per_minute: int = Field(default=0, ge=0, description="requests that need write or admin")
    questions_per_day: int = Field(default=0, ge=0, description="to /query, /v1/search and /v1/chat/completions")
    documents_per_day: int = Field(default=0, ge=0, description="sent for ingestion, changed or not")
    bytes_per_day: int = Field(default=0, ge=0, description="of those documents")

    @property
    def any(self) -> bool:
        """Whether something is limited."""
        return any(getattr(self, name) for name in type(self).model_fields)


class InteractionSettings(Section):
    """What is kept of questions and answers, and for how long. The key comes from a file or from the environment."""

    keep_days: float = Field(default=0.0, ge=0, le=36_500, description="0: for ever")
    redact: dict[str, Literal["drop", "hash"]] = Field(
        default={}, description="before storing: question, answer, passages, principal, feedback.comment, metadata.<key>"
    )
    redact_key: SecretStr | None = Field(default=None, description="of the hashes that take the place of what is redacted")
    redact_key_file: Path | None = None
    spool_bytes: int = Field(default=64 * 2**20, ge=0, description="on disk, while the log takes nothing")


class SpaceSettings(Section):
    """How long a collection's old embedding space is there for what was read from it."""

    keep_days: float = Field(
        default=7.0,
        ge=0,
        le=36_500,
        description="after the switch from a space, before it can be dropped though kept commits are read from it",
    )


class OidcSettings(Section):
    """An OpenID Connect issuer whose tokens (JWTs) are taken as bearers, beside keys or alone. It needs no secret: tokens are checked by public keys."""

    issuer: str = Field(description="as the claim `iss` says it, for example https://login.example.org/realms/staff")
    audience: str = Field(min_length=1, description="what the claim `aud` must hold: this server's name at the issuer")
    jwks_url: str | None = Field(default=None, description="where its public keys are; unset: where its discovery document says")
    algorithms: tuple[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"],
        ...,
    ] = Field(default=("RS256", "ES256"), min_length=1, description="of signatures that are taken")
    clock_skew: float = Field(default=30.0, ge=0, le=300, description="seconds by which the issuer's clock may differ")
    name_claim: str = Field(default="sub", min_length=1, description="who it is; must never pass from one person to another")
    scopes_claim: str = Field(default="scope", min_length=1, description="what they may do: words, with blanks between or as a list")
    scopes_prefix: str = Field(default="ragstone:", description="of the words that count: ragstone:read, ragstone:docs=write")
    groups_claim: str = Field(default="groups", min_length=1, description="whose documents they may see")
    keys_seconds: float = Field(
        default=600.0, ge=1, le=86_400, description="for which the issuer's keys count before they are fetched anew"
    )
    refresh_seconds: float = Field(default=30.0, ge=1, le=3_600, description="between two fetches, however many tokens name an unknown key")
    timeout: float = Field(default=5.0, gt=0, le=60, description="seconds for the issuer to answer")
    max_bytes: int = Field(default=2**18, ge=1_024, le=2**24, description="of its answer")

    @model_validator(mode="after")
    def _trusted_way(self) -> OidcSettings:
        """Whoever can change the keys on their way is the issuer."""
        for name, address in (("issuer", self.issuer), ("jwks_url", self.jwks_url)):
            parts = urlsplit(address or "https://unset")
            if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK)):
                raise ValueError(
                    f"{name}: it must be an https address (http on loopback only), so that nobody can change keys on their way"
                )
        return self


class Contradiction(NamedTuple):
    """Settings, each right for itself, that can't be as they are together."""

    settings: tuple[str, ...]
    sentence: str


class UncheckedSettings(BaseSettings):
    """Every setting, each right for itself."""

    model_config = SettingsConfigDict(
        env_prefix="RAGSTONE_", env_nested_delimiter="__", extra="forbid", frozen=True, toml_file="ragstone.toml"
    )

    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("ragstone"), description="one owner process at a time")
    models: Path = Field(
        default_factory=lambda: platformdirs.user_cache_path("ragstone") / "models", description="shared by data directories"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on; beyond loopback only with keys or an issuer of tokens")
    port: int = Field(default=8642, ge=0, le=65535, description="of the API; 0: any free one")
    management_port: int | None = Field(default=None, ge=0, le=65535, description="health and metrics alone, without keys; unset: none")
    api_keys_file: Path | None = Field(default=None, description="name:scope:SHA-256 of a key, one a line; unset: no keys, loopback only")
    oidc: OidcSettings | None = Field(default=None, description="an issuer whose tokens are taken; unset: keys alone")
    allowed_hosts: tuple[str, ...] = Field(default=(), description="names beside loopback's that the Host header may carry")
    model: str = Field(
        default="all-minilm-l6-v2", description="a preset (ragstone models list), a directory, an .onnx file, or models:/<name>@<alias>"
    )
    further_models: tuple[str, ...] = Field(
        default=(), description="loaded beside model: of embedding spaces that are built, or that earlier commits are read from"
    )
    threads: int = Field(default=0, ge=0, description="of the embedding model; 0: as many as cores, or as the container's CPU limit")
    embedder: embedders.Embedder = embedders.OnnxEmbedder()
    generator: Annotated[ExtractiveGenerator | OpenAIGenerator | LlamaGenerator, Field(discriminator="kind")] = ExtractiveGenerator()
    reranker: rerankers.Reranker = rerankers.NoReranker()
    embedding_service: model_services.EmbeddingService = model_services.EmbeddingService()
    generation_service: GenerationService = GenerationService()
    role: Literal["all", "api", "worker"] = Field(default="all", description="what this process does: API and ingestion, or one of them")
    catalog: stores.Catalog = stores.SqliteCatalog()
    versions: stores.Versions = stores.GitVersions()
    index: stores.Index = stores.EdgeIndex()
    queue: stores.Queue = stores.InProcessQueue()
    tracking: stores.Tracking = stores.NoTracking()
    model_registry: ModelRegistrySettings = ModelRegistrySettings()
    bulk: bulk_runners.Bulk = bulk_runners.NoBulk()
    backup: stores.BackupSettings | None = Field(default=None, description="where backups of a cluster go")
    limits: LimitSettings = LimitSettings()
    rate_limits: RateLimitSettings = RateLimitSettings()
    interactions: InteractionSettings = InteractionSettings()
    spaces: SpaceSettings = SpaceSettings()

    def contradictions(self) -> list[Contradiction]:
        """What does not go together, each in a sentence."""
        found: list[Contradiction] = []
        named = self.api_keys_file is not None or self.oidc is not None
        if self.role != "worker" and self.host not in LOOPBACK and not named:  # a worker serves no API
            found.append(
                Contradiction(
                    ("host", "api_keys_file", "oidc", "role"),
                    f"host: {self.host} is not a loopback address; whoever can reach it would own the knowledge base. Make keys with `ragstone keys new` "
                    "and name their file in api_keys_file (RAGSTONE_API_KEYS_FILE), name an issuer of tokens in oidc, or use 127.0.0.1.",
                )
            )
        if self.management_port == self.port != 0:
            found.append(
                Contradiction(("management_port", "port"), f"management_port: {self.port} is the port of the API already; choose another.")
            )
        if not isinstance(self.reranker, rerankers.NoReranker) and self.reranker.candidates > self.limits.rerank:
            found.append(
                Contradiction(
                    ("reranker", "limits"),
                    f"reranker.candidates: {self.reranker.candidates} is more than limits.rerank, {self.limits.rerank}, lets a question have reranked; "
                    "lower the one or raise the other.",
                )
            )
        if isinstance(self.bulk, bulk_runners.KubernetesBulk) and self.catalog.kind != "mongo":
            found.append(
                Contradiction(
                    ("bulk", "catalog"),
                    f"bulk.kind: pods on Kubernetes stage what they embed in MongoDB, but catalog.kind is {self.catalog.kind}; "
                    "set catalog.kind to mongo, or bulk.kind to processes.",
                )
            )
        if self.role != "all":  # several processes work together only over stores that all of them reach
            for port, kind in {"catalog": "mongo", "versions": "lakefs", "index": "qdrant", "queue": "nats"}.items():
                is_ = getattr(self, port).kind
                if is_ != kind:
                    found.append(
                        Contradiction(
                            ("role", port),
                            f"role: a process of role {self.role} shares its stores with others, but {port}.kind is {is_}, which no other process reaches; "
                            f"set {port}.kind to {kind}, or take one process for everything (role all: `ragstone up`).",
                        )
                    )
        return found

    @property
    def shared(self) -> bool:
        """Whether other processes may work over the same catalog."""
        return self.catalog.kind != "sqlite"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


class Settings(UncheckedSettings):
    """Built in `main()`, read by bootstrap and entry points only."""

    @model_validator(mode="after")
    def _go_together(self) -> Settings:
        for contradiction in self.contradictions():
            raise ValueError(contradiction.sentence)
        return self
