"""Forms: what was filled in, as the REST API's own structs, and what became of it."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response

from nurture_gateway.dashboard.shown import Refused
from nurture_gateway.malformed import field, words
from nurture_gateway.problems import Problem, field_errors
from nurture_gateway.shell import request_id

T = TypeVar("T")
_PLACE = re.compile(r"(.*) - at `\$\.([\w.]+)`")
SECRET = ("form_token", "once", "key")


async def filled(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The texts of a form by field, without spaces around them."""
    form = await request.form()
    return {name: str(value).strip() for name, value in form.items() if name not in SECRET}


def stated(values: dict[str, str], *names: str) -> dict[str, Any]:
    """Those fields that are not empty."""
    return {name: values[name] for name in names if values.get(name)}


def read(kind: type[T], values: dict[str, Any]) -> T:
    """The body that the REST path would take. Raises Problem naming the field that is wrong."""
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        found = _PLACE.fullmatch(str(error))
        path, message = (found[2], found[1]) if found else ("", str(error))
        raise field_errors([(path or "body", words(message, field(kind, path)))]) from None


def json_object(values: dict[str, str], name: str) -> dict[str, Any]:
    """A field that holds a JSON object, or nothing. Raises Problem."""
    text = values.get(name)
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        raise field_errors([(name, 'must be a JSON object such as {"goal": "5 km"}')]) from None


async def attempt(
    request: Request[Any, Any, Any], form: str, values: dict[str, str], work: Callable[[], Awaitable[Any]]
) -> dict[str, Any] | Refused:
    """Do what a REST path does. Its answer as JSON, or the form with its problem."""
    try:
        answer = await work()
    except Problem as problem:
        return Refused(form, values, problem.body(request_id(request.scope)))
    status = (answer.status_code if isinstance(answer, Response) else None) or 200
    content = answer.content if isinstance(answer, Response) else answer
    told = msgspec.json.decode(content) if isinstance(content, bytes) else msgspec.to_builtins(content)
    return told if status < 400 else Refused(form, values, told)
