"""Tilt's built-in functions, recorded: a Tiltfile is executed under a Starlark interpreter and what it asks Tilt for is kept.

The functions below have the parameters of Tilt's API reference (https://docs.tilt.dev/api.html, Tilt 0.37.6), of those functions that
the Tiltfile calls; a wrong name or type is an error. Resources and charts are real: `helm` renders with Helm.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import starlark
import yaml
from pydantic import ConfigDict, validate_call

from tests.charts.helm import ROOT, Helm, merged

Names = str | list[str]
Step = dict[str, Any]
Record = dict[str, Any]
TRIGGER_MODES = {"TRIGGER_MODE_AUTO": "auto", "TRIGGER_MODE_MANUAL": "manual"}


class RefusedError(Exception):
    """The Tiltfile called fail()."""


@dataclass
class Tilt:
    """What one execution of a Tiltfile has asked for."""

    helm_charts: Helm
    subcommand: str = "up"
    context: str = "kind-ragstone"
    arguments: dict[str, str] = field(default_factory=dict)  # those after `--`
    settings: dict[str, Record] = field(default_factory=dict)
    images: dict[str, Record] = field(default_factory=dict)
    helm_calls: list[Record] = field(default_factory=list)
    watched: list[str] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)
    resources: dict[str, Record] = field(default_factory=dict)
    buttons: dict[str, Record] = field(default_factory=dict)
    button_commands: dict[str, Record] = field(default_factory=dict)

    def execute(self, source: str) -> Tilt:
        """Executes the Tiltfile's text. Raises starlark.StarlarkError, with the message of what a built-in refused."""
        module = starlark.Module()
        for name in BUILTINS:
            module.add_callable(name, self._builtin(name))
        for prefix, names in (("v1alpha1", V1ALPHA1), ("config", CONFIG)):
            for name in names:
                module.add_callable(f"_{prefix}_{name}", self._builtin(f"{prefix}_{name}"))
        library = starlark.Globals.extended_by([starlark.LibraryExtension.StructType, starlark.LibraryExtension.Print])
        for name, text in (("<Tilt>", self._names()), ("Tiltfile", source)):
            starlark.eval(module, starlark.parse(name, text, starlark.Dialect.extended()), library)
        return self

    def _names(self) -> str:
        lines = [f"{name} = {value!r}" for name, value in TRIGGER_MODES.items()]
        told = f"tilt_subcommand = {json.dumps(self.subcommand)}, main_dir = {json.dumps(str(ROOT))}"
        lines.append(f"config = struct({told}, {', '.join(f'{name} = _config_{name}' for name in CONFIG)})")
        lines.append(f"v1alpha1 = struct({', '.join(f'{name} = _v1alpha1_{name}' for name in V1ALPHA1)})")
        return "\n".join(lines)

    def _builtin(self, name: str) -> Callable[..., Any]:
        checked: Callable[..., Any] = validate_call(config=ConfigDict(strict=True))(getattr(self, name))
        return checked

    # Settings.

    def version_settings(self, check_updates: bool = True, constraint: str = "") -> None:
        self.settings["version"] = {"check_updates": check_updates, "constraint": constraint}

    def analytics_settings(self, enable: bool) -> None:
        self.settings["analytics"] = {"enable": enable}

    def update_settings(
        self,
        max_parallel_updates: int = 3,
        k8s_upsert_timeout_secs: int = 30,
        suppress_unused_image_warnings: Names | None = None,
        k8s_server_side_apply: str = "auto",
    ) -> None:
        self.settings["update"] = {"max_parallel_updates": max_parallel_updates, "k8s_upsert_timeout_secs": k8s_upsert_timeout_secs}

    def ci_settings(self, k8s_grace_period: str = "", timeout: str = "30m", readiness_timeout: str = "5m") -> None:
        self.settings["ci"] = {"k8s_grace_period": k8s_grace_period, "timeout": timeout, "readiness_timeout": readiness_timeout}

    def docker_prune_settings(
        self, disable: bool = False, max_age_mins: int = 360, num_builds: int = 0, interval_hrs: int = 1, keep_recent: int = 2
    ) -> None:
        self.settings["prune"] = {"disable": disable, "num_builds": num_builds, "keep_recent": keep_recent}

    def watch_settings(self, ignore: Names) -> None:
        self.settings["watch"] = {"ignore": ignore}

    def allow_k8s_contexts(self, contexts: Names) -> None:
        self.settings["contexts"] = {"allowed": [contexts] if isinstance(contexts, str) else contexts}

    def k8s_context(self) -> str:
        return self.context

    def config_define_string(self, name: str, args: bool = False, usage: str = "") -> None:
        self.settings.setdefault("config", {})[name] = usage

    def config_parse(self) -> dict[str, str]:
        unknown = self.arguments.keys() - self.settings["config"].keys()
        assert not unknown, f"the Tiltfile defines no {unknown}"
        return self.arguments

    def fail(self, msg: str) -> None:
        raise RefusedError(msg)

    # Images and their live updates.

    def docker_build(
        self,
        ref: str,
        context: str,
        build_args: dict[str, str] | None = None,
        dockerfile: str = "Dockerfile",
        dockerfile_contents: str = "",
        live_update: list[Step] | None = None,
        match_in_env_vars: bool = False,
        ignore: Names = "",
        only: Names = "",
        entrypoint: Names = "",
        target: str = "",
        ssh: Names = "",
        network: str = "",
        secret: Names = "",
        extra_tag: Names = "",
        container_args: list[str] | None = None,
        cache_from: Names = "",
        pull: bool = False,
        platform: str = "",
        extra_hosts: Names = "",
    ) -> None:
        self.images[ref] = {"context": context, "dockerfile": dockerfile, "live_update": live_update or [], "entrypoint": entrypoint}

    def sync(self, local_path: str, remote_path: str) -> Step:
        return {"step": "sync", "local": local_path, "remote": remote_path}

    def run(self, cmd: Names, trigger: Names = "", echo_off: bool = False) -> Step:
        return {"step": "run", "command": cmd}

    # Manifests. A blob is a text here.

    def local(
        self,
        command: Names,
        quiet: bool = False,
        command_bat: Names = "",
        echo_off: bool = False,
        env: dict[str, str] | None = None,
        dir: str = "",
        stdin: str | None = None,
    ) -> str:
        self.commands.append([command] if isinstance(command, str) else command)
        return "apiVersion: v1\nkind: Secret\nmetadata: {name: ragstone-api-keys}\n" if "scripts/dev_secret.sh" in command else ""

    def helm(
        self,
        pathToChartDir: str,  # noqa: N803 - Tilt's name
        name: str = "",
        namespace: str = "",
        values: Names = "",
        set: Names = "",
        kube_version: str = "",
        skip_crds: bool = False,
    ) -> str:
        files = [values] if isinstance(values, str) else values
        self.helm_calls.append({"chart": pathToChartDir, "name": name, "namespace": namespace, "values": files})
        given: dict[str, Any] = {}
        for each in files:
            given = merged(given, yaml.safe_load((ROOT / each).read_text(encoding="utf-8")))
        rendered = self.helm_charts.render(Path(pathToChartDir).name, given, namespace=namespace, release=name)
        # Tilt leaves out what lies in a chart's templates/tests.
        return "".join(
            f"---\n{text}\n" for path, text in rendered.files.items() if "/tests/" not in path and not path.endswith("NOTES.txt")
        )

    def decode_yaml_stream(self, yaml: str) -> list[dict[str, Any]]:
        return [each for each in load_all(yaml) if each]

    def encode_yaml_stream(self, objs: list[dict[str, Any]]) -> str:
        return yaml.safe_dump_all(objs)

    def read_file(self, file_path: str, default: str | None = None) -> str:
        return (ROOT / file_path).read_text(encoding="utf-8")

    def watch_file(self, file_path: str) -> None:
        self.watched.append(file_path)

    def k8s_yaml(self, yaml: Names, allow_duplicates: bool = False) -> None:
        assert isinstance(yaml, str), "the Tiltfile gives blobs"
        self.objects += [each for each in load_all(yaml) if each]

    # Resources.

    def k8s_resource(
        self,
        workload: str = "",
        new_name: str = "",
        port_forwards: list[Record] | None = None,
        extra_pod_selectors: dict[str, str] | None = None,
        trigger_mode: str = "auto",
        resource_deps: list[str] | None = None,
        objects: list[str] | None = None,
        auto_init: bool = True,
        pod_readiness: str = "",
        links: list[Record] | None = None,
        labels: Names = "",
        discovery_strategy: str = "",
    ) -> None:
        self.resources[new_name or workload] = {
            "workload": workload,
            "ports": port_forwards or [],
            "deps": resource_deps or [],
            "objects": objects or [],
            "links": links or [],
            "labels": labels,
        }

    def local_resource(
        self,
        name: str,
        cmd: Names,
        deps: Names = "",
        trigger_mode: str = "auto",
        resource_deps: list[str] | None = None,
        ignore: Names = "",
        auto_init: bool = True,
        serve_cmd: Names = "",
        cmd_bat: Names = "",
        serve_cmd_bat: Names = "",
        allow_parallel: bool = False,
        links: list[Record] | None = None,
        labels: list[str] | None = None,
        env: dict[str, str] | None = None,
        serve_env: dict[str, str] | None = None,
        readiness_probe: Record | None = None,
        dir: str = "",
        serve_dir: str = "",
    ) -> None:
        self.resources[name] = {
            "command": cmd,
            "deps": resource_deps or [],
            "auto_init": auto_init,
            "trigger_mode": trigger_mode,
            "labels": labels or [],
        }

    def port_forward(
        self,
        local_port: int,
        container_port: int | None = None,
        name: str | None = None,
        link_path: str | None = None,
        host: str | None = None,
    ) -> Record:
        return {"local": local_port, "container": container_port or local_port, "name": name, "path": link_path}

    def link(self, url: str, name: str | None) -> Record:
        return {"url": url, "name": name}

    # Buttons.

    def v1alpha1_ui_button(
        self,
        name: str,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        location: Record | None = None,
        text: str = "",
        icon_name: str = "",
        icon_svg: str = "",
        disabled: bool = False,
        requires_confirmation: bool = False,
        inputs: list[Record] | None = None,
    ) -> None:
        self.buttons[name] = {"location": location, "text": text, "inputs": inputs or []}

    def v1alpha1_ui_component_location(self, component_id: str = "", component_type: str = "") -> Record:
        return {"id": component_id, "type": component_type}

    def v1alpha1_ui_input_spec(
        self, name: str = "", label: str = "", text: Record | None = None, bool: Record | None = None, hidden: Record | None = None
    ) -> Record:
        return {"name": name, "label": label, "text": text}

    def v1alpha1_ui_text_input_spec(self, default_value: str = "", placeholder: str = "") -> Record:
        return {"default": default_value}

    def v1alpha1_start_on_spec(self, ui_buttons: list[str] | None = None) -> Record:
        return {"buttons": ui_buttons or []}

    def v1alpha1_cmd(
        self,
        name: str,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        args: list[str] | None = None,
        dir: str = "",
        env: list[str] | None = None,
        readiness_probe: Record | None = None,
        restart_on: Record | None = None,
        start_on: Record | None = None,
        disable_source: Record | None = None,
    ) -> None:
        self.button_commands[name] = {"args": args or [], "start_on": start_on, "annotations": annotations or {}, "dir": dir}


V1ALPHA1 = [name.removeprefix("v1alpha1_") for name in vars(Tilt) if name.startswith("v1alpha1_")]
CONFIG = [name.removeprefix("config_") for name in vars(Tilt) if name.startswith("config_")]
BUILTINS = [
    name
    for name, member in vars(Tilt).items()
    if callable(member) and not name.startswith(("_", "v1alpha1_", "config_")) and name != "execute"
]


def load_all(text: str) -> list[dict[str, Any]]:
    return list(yaml.load_all(text, Loader=yaml.CSafeLoader))
