"""Health, keys and what does not exist."""

from __future__ import annotations

from ragstone.domain.access import Principal, Scope
from ragstone.services.orchestrator.management import create_management_app
from tests.fakes.authenticator import KnownKeys
from tests.unit.services.embedding.conftest import Serve, Service


async def test_it_is_alive_and_ready_until_it_stops(service: Service) -> None:
    for path in ("/healthz", "/health", "/readyz"):
        assert (await service.http.get(path)).status_code == 200
    service.serving.readiness.stopping = True
    answer = await service.http.get("/readyz")
    assert (answer.status_code, answer.json()["field"]) == (503, "server")
    assert (await service.http.get("/healthz")).status_code == 200


async def test_with_keys_nobody_comes_in_without_and_probes_do(serve: Serve) -> None:
    keys = KnownKeys({"good": Principal("app", Scope.READ), "best": Principal("ops", Scope.ADMIN)})
    body = {"model": "tiny", "input": "oil"}
    async with serve(keys=keys) as service:
        for path in ("/healthz", "/readyz"):
            assert (await service.http.get(path)).status_code == 200
        for key, status in (("", 401), ("bad", 401), ("good", 200)):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            assert (await service.http.post("/v1/embeddings", json=body, headers=headers)).status_code == status
            assert (await service.http.get("/v1/models", headers=headers)).status_code == status
            rerank = await service.http.post("/rerank", json={"query": "oil", "texts": ["oil"]}, headers=headers)
            assert rerank.status_code == status
        for key, status in (("good", 403), ("best", 200)):
            assert (await service.http.get("/metrics", headers={"Authorization": f"Bearer {key}"})).status_code == status


async def test_without_keys_foreign_names_are_refused(service: Service) -> None:
    assert (await service.http.get("/healthz", headers={"Host": "evil.example"})).status_code == 403
    assert (await service.http.post("/v1/embeddings", json={}, headers={"Origin": "https://evil.example"})).status_code == 403


async def test_what_does_not_exist_is_told(service: Service) -> None:
    assert (await service.http.get("/nothing")).status_code == 404
    assert (await service.http.get("/v1/embeddings")).status_code == 405
    assert (await service.http.post("/v1/embeddings", content="a=b")).status_code == 415


async def test_the_management_port_has_health_and_metrics_alone(service: Service) -> None:
    paths = {getattr(route, "path", "") for route in create_management_app(service.app).router.routes}
    assert {"/healthz", "/readyz", "/metrics"} <= paths
    assert not any(path.startswith(("/v1", "/rerank")) for path in paths)
