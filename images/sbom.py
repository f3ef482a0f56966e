"""Completes a bill of materials of Python packages (CycloneDX, from cyclonedx-py) with the image itself, its Debian packages, Python and models.

usage: sbom.py PYTHON-PACKAGES.json DPKG-STATUS MODELS IMAGE-NAME IMAGE-VERSION > SBOM.json
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]


def debian_packages(status: str) -> Iterator[Json]:
    """A component for each installed package of dpkg's status file."""
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status", "").endswith(" installed"):
            name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
            yield _component("library", name, version, f"pkg:deb/debian/{name}@{quote(version, safe='')}?arch={architecture}")


def models(directory: Path) -> Iterator[Json]:
    """A component for each model baked in, with the digests of its files."""
    for manifest in sorted(directory.glob("*/ragstone-model.json")):
        model = json.loads(manifest.read_text("utf-8"))
        component = _component(
            "machine-learning-model", model["name"], model["revision"], f"pkg:huggingface/{model['repository']}@{model['revision']}"
        )
        component["components"] = [
            {"type": "file", "name": path, "hashes": [{"alg": "SHA-256", "content": digest}]}
            for path, digest in sorted(model["files"].items())
        ]
        yield component


def python() -> Json:
    """The interpreter of the base image."""
    version = platform.python_version()
    return _component("application", "python", version, f"pkg:generic/python@{version}") | {
        "cpe": f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*"
    }


def complete(bill: Json, more: list[Json], image: str, version: str) -> Json:
    """`bill` as that of a container image that also holds `more`."""
    bill["metadata"] = bill.get("metadata", {}) | {
        "component": _component("container", image, version, f"pkg:oci/{image.rpartition('/')[2]}@{version}")
    }
    bill["components"] = sorted([*bill.get("components", []), *more], key=lambda component: str(component["bom-ref"]))
    return bill


def _component(kind: str, name: str, version: str, purl: str) -> Json:
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


def main(packages: str, status: str, baked: str, image: str, version: str) -> None:
    """Writes the whole bill to standard output."""
    more = [*debian_packages(Path(status).read_text("utf-8")), *models(Path(baked)), python()]
    json.dump(complete(json.loads(Path(packages).read_text("utf-8")), more, image, version), sys.stdout, indent=1, sort_keys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
