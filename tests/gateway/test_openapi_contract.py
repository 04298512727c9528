"""Requests made from the OpenAPI document, right ones and wrong ones: no answer is a 5xx, and none is one that it does not tell."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
import requests
import schemathesis
from gateway_stand import KEY, Controller, Gateway, Servers
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

# It knows text, but not that a mail is one.
schemathesis.serializer.alias("message/rfc822", "text/plain")
EXAMPLES = 5
"""For each operation, of requests that fit the document and of requests that do not."""


def answers(subject: str, command: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """A controller that does whatever it is told, at once."""
    told: dict[str, tuple[int, dict[str, Any]]] = {
        "start_sequences": (
            201,
            {
                "enrolment_id": str(uuid4()),
                "user_id": str(uuid4()),
                "sequence_type": command.get("sequence_type"),
                "version": 1,
                "step": 1,
                "channel": "email",
                "scheduled_at": "2026-01-05T09:00:00Z",
            },
        ),
        "cancel_enrolments": (200, {"cancelled": 0}),
        "publish_sequence": (422, {"code": "sequence_invalid", "detail": "It is none.", "findings": []}),
        "simulate_sequence": (422, {"code": "unknown_sequence", "detail": "There is none."}),
        "pause_sequence": (
            200,
            {
                "type": command.get("sequence_type"),
                "paused": command.get("paused"),
                "enrolments": 0,
                "holds": [],
            },
        ),
        "process_due": (200, {"planned": 0, "sent": 0, "skipped": 0, "failed": 0}),
        "resend_deliveries": (
            (404, {"code": "not_found", "detail": "There is none."})
            if command.get("delivery_id")
            else (200, {"retried": 0, "remaining": 0, "refused_by_reason": {}})
        ),
        "archive_deliveries": (200, {"archived": 0}),
    }
    return told[subject.rpartition(".")[2]]


@pytest.fixture
def obliging(servers: Servers, controller: Controller) -> Iterator[Gateway]:
    """A gateway of its own: what is asked of it must not be anybody else's."""
    controller.answer = answers
    with ExitStack() as stack:
        yield Gateway(
            servers, stack, "contract", SIGN_IN_ATTEMPTS_PER_MINUTE="100000", BAD_SIGNATURES_PER_MINUTE="100000"
        )


def test_every_answer_is_one_that_the_document_tells(obliging: Gateway) -> None:
    document = obliging.anonymous.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=obliging.url)
    told: list[str] = []
    asked: set[str] = set()
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {KEY}"
        for found in schema.get_all_operations():
            for mode in GenerationMode:
                told += broken(found.ok(), mode, session, asked)
    assert len(asked) == sum(method != "parameters" for item in document["paths"].values() for method in item)
    assert not told, "\n\n".join(told)


def broken(operation: Any, mode: GenerationMode, session: requests.Session, asked: set[str]) -> list[str]:
    """What is wrong with the answers to these requests, each kind of fault once."""
    faults: dict[str, str] = {}

    @seed(20261127)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        response = case.call(session=session)
        asked.add(operation.label)
        try:
            case.validate_response(response, checks=CHECKS)
        except BaseExceptionGroup as group:
            for fault in group.exceptions:
                faults.setdefault(
                    f"{type(fault).__name__} {response.status_code}",
                    f"{operation.label}: {fault}\n{case.as_curl_command()}\n{response.text[:300]}",
                )

    try:
        ask()
    except Unsatisfiable:
        # Nothing that this operation takes can be wrong.
        assert mode is GenerationMode.NEGATIVE
    return list(faults.values())
