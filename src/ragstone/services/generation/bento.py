"""The service as a Bento, with the route that generates mounted in it. The only module here that needs BentoML."""

from __future__ import annotations

import os
from typing import Any

os.environ["BENTOML_DO_NOT_TRACK"] = "True"  # before it is imported: who uses what here is nobody else's business
import bentoml  # type: ignore[import-not-found]  # in an environment of its own (make env-bento)
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Route

from ragstone.domain.errors import RagstoneError
from ragstone.ports.authenticator import Authenticator
from ragstone.services.generation.app import create_app
from ragstone.services.generation.chat import PATH, Chat
from ragstone.services.generation.serving import Serving
from ragstone.services.orchestrator.app import domain_error


def make_bento(serving: Serving) -> Any:
    """The Bento's definition: `bentoml.Service`. One worker: there is one engine."""
    beyond = serving.settings.generation_service.answer_seconds + 60.0  # never before our own bound

    @bentoml.service(
        name="ragstone-generation",
        workers=1,
        traffic={"timeout": beyond},
        metrics={"enabled": False},
        logging={"access": {"enabled": False}},
        tracing={"excluded_urls": ".*"},  # BentoML would make a span of every token; requests are traced around it
    )
    class Generation:
        """Chat completions in OpenAI's protocol."""

    # An error has to become a response in here: BentoML waits for the first message of a response, and for nothing else.
    bento: Any = Generation
    bento.mount_asgi_app(Starlette(routes=[Route(PATH, Chat(serving), methods=["POST"])], exception_handlers={RagstoneError: domain_error}))
    return bento


def make_app(serving: Serving, authenticator: Authenticator | None) -> tuple[FastAPI, Any]:
    """The whole application: ours outside, and the Bento's behind the same guard; and that one, whose lifespan is to be run."""
    inner = make_bento(serving).to_asgi()
    return create_app(serving, authenticator, inner), inner
