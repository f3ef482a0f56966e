"""The bill of materials names what a list of Python packages leaves out."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from images import sbom

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10
Description: GNU C Library
 Package: not a field

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "small-1"
    folder.mkdir(parents=True)
    (folder / "ragstone-model.json").write_text(
        json.dumps({"name": "small", "repository": "someone/small", "revision": "abc", "files": {"model.safetensors": "00ff"}})
    )
    return folder.parent


def test_installed_debian_packages_are_components() -> None:
    (component,) = sbom.debian_packages(STATUS)
    assert component["name"] == "libc6"
    assert component["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64"


def test_a_baked_model_is_a_component_with_its_digests(models: Path) -> None:
    (component,) = sbom.models(models)
    assert component["type"] == "machine-learning-model"
    assert component["components"] == [{"type": "file", "name": "model.safetensors", "hashes": [{"alg": "SHA-256", "content": "00ff"}]}]


def test_no_model_is_no_component(tmp_path: Path) -> None:
    assert not list(sbom.models(tmp_path))


def test_the_bill_is_that_of_the_image(tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packages, status = tmp_path / "packages.json", tmp_path / "status"
    packages.write_text(json.dumps({"bomFormat": "CycloneDX", "components": [{"bom-ref": "numpy==2", "type": "library", "name": "numpy"}]}))
    status.write_text(STATUS)
    sbom.main(str(packages), str(status), str(models), "ragstone/orchestrator", "1.2.3")
    bill = json.loads(capsys.readouterr().out)
    assert bill["metadata"]["component"]["purl"] == "pkg:oci/orchestrator@1.2.3"
    assert [component["name"] for component in bill["components"]] == ["numpy", "libc6", "python", "small"]
    assert {component["version"] for component in bill["components"] if component["name"] == "python"} == {platform.python_version()}
