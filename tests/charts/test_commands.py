"""What charts have ragstone's image do is what its command line can do."""

from __future__ import annotations

import pytest
import typer

from ragstone.cli.main import build
from tests.charts.helm import Case, Helm, cases
from tests.charts.pods import pods

CASES = [case for case in cases() if case.chart in ("ragstone", "orchestrator", "worker", "backup")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_container_of_ragstones_calls_a_command_that_there_is(helm: Helm, case: Case) -> None:
    containers = [each for pod in pods(helm.case(case).objects) for each in pod.all_containers]
    called = [each["args"] for each in containers if "ragstone/orchestrator" in each["image"] and "command" not in each]
    assert called
    for arguments in called:
        parse(arguments)


@pytest.mark.parametrize("arguments", [["cluster-backup", "remove"], ["cluster-backup", "restore"], ["cluster-backup", "create", "--all"]])
def test_a_call_of_what_is_not_there_is_seen(arguments: list[str]) -> None:
    with pytest.raises(Exception, match=r"[Nn]o such|Missing"):
        parse(arguments)


def parse(arguments: list[str]) -> None:
    """Parses them as the command line does, and does nothing. Raises what that raises."""
    command, name = typer.main.get_command(build()), "ragstone"
    context = command.make_context(name, list(arguments))
    while hasattr(command, "resolve_command"):
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, list(arguments), parent=context)
