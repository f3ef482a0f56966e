"""A third-party client is imported only in its own adapter: forgetting a port is not possible without changing this table."""

from __future__ import annotations

import ast
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "ragstone"

HOMES = {
    "bentoml": ("services/embedding/bento.py", "services/generation/bento.py"),
    "aiohttp": ("adapters/openai_engine.py",),
    "bson": ("adapters/mongo*.py",),
    "gridfs": ("adapters/mongo*.py",),
    "grpc": ("adapters/qdrant_server*.py",),
    "jwt": ("adapters/oidc*.py",),
    "limits": ("adapters/usage_limits.py", "adapters/mongo_usage.py"),
    "kubernetes": ("adapters/kubernetes_jobs.py",),
    "lakefs_sdk": ("adapters/lakefs*.py",),
    "mlflow": ("adapters/mlflow*.py",),
    "nats": ("adapters/nats*.py",),
    "obstore": ("adapters/object_store*.py",),
    "pymongo": ("adapters/mongo*.py",),
    "qdrant_client": ("adapters/qdrant_server*.py",),
    "stamina": ("adapters/dependency*.py",),
    "urllib3": ("adapters/kubernetes_jobs.py", "adapters/lakefs*.py"),
    "xllamacpp": ("adapters/llama_*.py",),
    "docutils": ("adapters/parsing/*",),
    "dulwich": ("adapters/git*.py",),
    "httpx": (
        "adapters/http_*.py",
        "adapters/lakefs*.py",
        "adapters/llama_*.py",
        "adapters/oidc*.py",
        "adapters/openai*.py",
        "adapters/model_*.py",
        "adapters/qdrant_server_http.py",
        "cli/*",
    ),
    "lxml": ("adapters/parsing/*",),
    "markdown_it": ("adapters/parsing/*",),
    "onnx": ("adapters/onnx_*.py",),
    "onnxruntime": ("adapters/onnx_*.py",),
    "prometheus_client": ("telemetry/*", "services/*"),
    "pyarrow": ("adapters/interactions_parquet.py",),
    "pypdf": ("adapters/parsing/*",),
    "qdrant_edge": ("adapters/qdrant_edge*",),
    "safetensors": ("adapters/onnx_*.py",),
    "sqlite3": ("adapters/sqlite*",),
    "structlog": ("telemetry/*",),
    "tokenizers": ("adapters/onnx_*.py", "adapters/openai*.py"),
    "yaml": ("adapters/parsing/*", "adapters/kubernetes_jobs.py"),
    "fastapi": ("services/*",),
    "sse_starlette": ("services/*",),
    "starlette": ("services/*",),
    "uvicorn": ("services/*", "cli/*"),
    "typer": ("cli/*",),
    "rich": ("cli/*",),
    "pydantic_settings": ("settings/*",),
}


@cache
def imports() -> dict[str, set[str]]:
    """Top-level package by the files under src/ragstone that import it."""
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.append(node.module)
            for name in names:
                found.setdefault(name.split(".")[0], set()).add(path.relative_to(SOURCE).as_posix())
    return found


@pytest.mark.parametrize("client", sorted(HOMES))
def test_a_client_stays_in_its_home(client: str) -> None:
    strays = {file for file in imports().get(client, set()) if not any(fnmatch(file, home) for home in HOMES[client])}
    assert not strays, f"{client} is imported outside {HOMES[client]}: {sorted(strays)}"
