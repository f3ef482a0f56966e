"""What every command has in common: the flags that all take, one session, errors as one sentence, exit statuses."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ragstone.cli.api import ProblemError
from ragstone.cli.session import Flags, Session
from ragstone.domain.errors import InvalidInput, RagstoneError

Work = Callable[..., Awaitable[None]]  # takes the session first

_CLIENTS = frozenset(
    {"grpc", "kubernetes", "lakefs_sdk", "mlflow", "nats", "obstore", "pymongo", "qdrant_client", "requests", "urllib3"}
)  # of the extra cluster
_HERE = inspect.Parameter.KEYWORD_ONLY
COMMON = (
    inspect.Parameter(
        "data_dir", _HERE, default=None, annotation=Annotated[Path | None, typer.Option(help="Data directory to open or find.")]
    ),
    inspect.Parameter(
        "server",
        _HERE,
        default=None,
        annotation=Annotated[str | None, typer.Option(metavar="URL", help="Talk to this server (or RAGSTONE_SERVER).")],
    ),
    inspect.Parameter(
        "model", _HERE, default=None, annotation=Annotated[str | None, typer.Option(help="Embedding model: preset or path.")]
    ),
    inspect.Parameter("json", _HERE, default=False, annotation=Annotated[bool, typer.Option("--json", help="JSON on stdout.")]),
    inspect.Parameter(
        "quiet", _HERE, default=False, annotation=Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no remarks.")]
    ),
)


def new_app(help_: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(
        help=help_,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def command(app: typer.Typer, name: str, *, hidden: bool = False) -> Callable[[Work], Work]:
    """Registers `async def name(session, ...)` with the common flags added; they may stand before the command too."""

    def register(work: Work) -> Work:
        own = list(inspect.signature(work, eval_str=True).parameters.values())[1:]

        def run(ctx: typer.Context, **values: Any) -> None:
            flags = Flags.merge(ctx.obj, {common.name: values.pop(common.name) for common in COMMON})
            execute(Session(flags), lambda session: work(session, **values))

        context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        parameters = [context, *(parameter.replace(kind=_HERE) for parameter in own), *COMMON]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # how Typer learns of parameters made here
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__doc__ = work.__doc__
        app.command(name, hidden=hidden)(run)
        return work

    return register


def execute(session: Session, work: Callable[[Session], Awaitable[None]]) -> None:
    """Runs a command to its end. Exit status: 0, 1 for an error, 2 when documents were left out, 130 when interrupted."""
    import asyncio  # here and not above: `ragstone --help` needs neither

    async def main() -> None:
        await work(session)

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        session.output.warn(session.interrupted)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        os._exit(141)  # whoever read our output has gone; nothing is left to say, also not at exit
    except ProblemError as error:
        session.output.problem(error.document)
        raise typer.Exit(1) from None
    except RagstoneError as error:
        session.output.problem(ProblemError.of(error).document)
        raise typer.Exit(1) from None
    except typer.Exit:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or (missing := error.name.split(".")[0]) not in _CLIENTS:
            _own_error(session, error)
        detail = f"The settings name a server whose client is not installed (the package {missing}): pip install 'ragstone[cluster]'."
        session.output.problem(ProblemError.of(InvalidInput(detail, field="settings")).document)
        raise typer.Exit(1) from None
    except Exception as error:  # the last door before the user
        _own_error(session, error)


def _own_error(session: Session, error: Exception) -> NoReturn:
    """No traceback, unless asked for."""
    if os.environ.get("RAGSTONE_DEBUG"):
        raise error
    detail = f"An error of ragstone's own ({type(error).__name__}: {error}); RAGSTONE_DEBUG=1 shows where."
    session.output.problem({"type": "urn:ragstone:problem:internal-error", "title": "Internal error", "status": 500, "detail": detail})
    raise typer.Exit(1) from None
