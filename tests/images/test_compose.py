"""compose.yaml: it keeps the charts' standard as far as Compose can, and tells ragstone what ragstone understands."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ragstone.settings.model import Settings
from tests.charts.test_settings import files_of, is_setting

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
each_service = pytest.mark.parametrize("name", SERVICES)
PORTS = {"api": 8000, "lakefs": 8001, "mlflow": 5000, "object-store": 9001, "mongo-express": 8081}
CHARTS = {
    "mongodb": "mongodb",
    "qdrant": "qdrant",
    "lakefs": "lakefs",
    "nats": "nats",
    "object-store": "object-store",
    "mongo-express": "mongo-express",
}
PROCESSES = ("api", "worker")


def runs_once(service: dict[str, Any]) -> bool:
    return bool(service["restart"] == "no")


def mounted(service: dict[str, Any], kind: str) -> dict[str, str]:
    """Place in the container -> name of the secret or configuration."""
    given = [{"source": each} if isinstance(each, str) else each for each in service.get(kind, [])]
    places = [(each.get("target", each["source"]), each["source"]) for each in given]
    return {place if place.startswith("/") else f"/run/secrets/{place}": source for place, source in places}


@each_service
def test_a_service_runs_with_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    if name != "volumes":  # it gives volumes to the others' user, reaches no network and ends
        assert service["user"] == "65532:65532"
        assert "cap_add" not in service
    assert service["mem_limit"]
    assert service["init"] is True


def test_volumes_are_prepared_by_a_service_that_reaches_nothing_and_ends() -> None:
    service = SERVICES["volumes"]
    assert service["network_mode"] == "none"
    assert runs_once(service)
    prepared = {volume.split(":")[0] for volume in service["volumes"]}
    stores = {
        volume.split(":")[0] for name, each in SERVICES.items() if name not in (*PROCESSES, "model") for volume in each.get("volumes", [])
    }
    assert stores == prepared


@each_service
def test_images_have_exact_tags(name: str) -> None:
    image = SERVICES[name]["image"].removeprefix("${").split(":-")[-1].removesuffix("}")
    tag = image.rpartition(":")[2]
    assert tag
    assert "/" not in tag
    assert tag != "latest"


@pytest.mark.parametrize(("service", "chart"), CHARTS.items())
def test_stores_are_those_of_the_charts(service: str, chart: str) -> None:
    values = yaml.safe_load((ROOT / "charts" / chart / "values.yaml").read_text("utf-8"))["image"]
    assert SERVICES[service]["image"].removesuffix("-alpine") == f"{values['registry']}/{values['repository']}:{values['tag']}"


def test_ports_are_published_on_loopback_alone_and_are_the_documented_ones() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert {name: int(port.split(":")[1]) for name, (port,) in published.items()} == PORTS
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    text = (ROOT / "docs" / "compose.md").read_text("utf-8")
    assert all(str(port) in text for port in PORTS.values())


@each_service
def test_what_runs_on_is_looked_after_and_what_is_waited_for_can_be(name: str) -> None:
    service = SERVICES[name]
    assert runs_once(service) or service["healthcheck"]["test"][0] == "CMD"
    for other, wanted in service.get("depends_on", {}).items():
        assert wanted["condition"] == ("service_completed_successfully" if runs_once(SERVICES[other]) else "service_healthy"), (
            f"{name}: {other}"
        )
        assert set(SERVICES[other].get("profiles", [])) <= set(service.get("profiles", []))


@each_service
def test_each_service_is_in_a_network_of_its_own_or_anothers(name: str) -> None:
    service = SERVICES[name]
    assert ("networks" in service) is not ("network_mode" in service)
    assert set(service.get("networks", [])) <= set(COMPOSE["networks"])
    assert "front" in service.get("networks", []) or "ports" not in service, "an internal network publishes nothing"


def test_every_secret_and_configuration_is_there_and_used() -> None:
    for kind in ("secrets", "configs"):
        used = {source for service in SERVICES.values() for source in mounted(service, kind).values()}
        assert used == set(COMPOSE[kind])
    assert all((ROOT / each["file"]).is_file() for each in COMPOSE["configs"].values())
    assert "secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


@each_service
def test_no_secret_stands_in_a_variable(name: str) -> None:
    variables = SERVICES[name].get("environment", {})
    hidden = [
        key
        for key in variables
        if key.endswith(("PASSWORD", "SECRET", "API_KEY", "SECRET_ACCESS_KEY", "URI")) and "://" not in variables[key]
    ]
    assert hidden == []


@pytest.mark.parametrize("name", PROCESSES)
def test_the_application_takes_every_setting(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    service = SERVICES[name]
    monkeypatch.chdir(tmp_path)
    for variable, value in service["environment"].items():
        assert is_setting(variable), variable
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.role == name
    assert {str(path) for path in files_of(settings)} <= set(mounted(service, "secrets"))
    assert service["command"][0] == {"api": "up"}.get(name, name)


def test_processes_share_their_stores() -> None:
    api, worker = (SERVICES[name]["environment"] for name in PROCESSES)
    own = {"RAGSTONE_ROLE", "RAGSTONE_HOST", "RAGSTONE_API_KEYS_FILE", "RAGSTONE_DATA_DIR"}
    assert {key: value for key, value in api.items() if key not in own} == {key: value for key, value in worker.items() if key not in own}


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy with what Compose reads, secrets made."""
    for name in ("compose.yaml", "scripts/compose_secrets.sh", *(each["file"] for each in COMPOSE["configs"].values())):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run([tmp_path / "scripts" / "compose_secrets.sh"], check=True, capture_output=True)
    return tmp_path


def test_secrets_are_made_once_for_nobody_else_to_read(copied: Path) -> None:
    made = {path.name: path.read_bytes() for path in (copied / "secrets").iterdir()}
    assert {Path(each["file"]).name for each in COMPOSE["secrets"].values()} <= set(made)
    assert stat.S_IMODE((copied / "secrets").stat().st_mode) == 0o700
    subprocess.run([copied / "scripts" / "compose_secrets.sh"], check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in (copied / "secrets").iterdir()} == made
    random = [value for name, value in made.items() if name.endswith(("password", "-key"))]
    assert len(set(random)) == len(random) > 8
    assert all(len(value) >= 24 for value in random)


def test_compose_itself_takes_it(copied: Path) -> None:
    command = compose()
    if command is None:
        pytest.skip("no Docker Compose: neither `docker compose` nor docker-compose is here")
    done = subprocess.run([*command, "--profile", "tools", "config", "--quiet"], cwd=copied, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def compose() -> list[str] | None:
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    found = shutil.which("docker-compose")
    return [found] if found else None
