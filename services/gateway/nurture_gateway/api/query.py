"""What a path can be asked in its query. A name that it does not know is refused: ignored, a mistyped filter would be answered
with everything there is."""

from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from nurture_gateway.problems import field_errors


def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Litestar's guard: raises Problem 400 for each name that this path does not take."""
    known = _parameters(handler)
    unknown = sorted(set(connection.query_params) - known.keys())
    if unknown:
        takes = f"this path takes {', '.join(known)}" if known else "this path takes none"
        raise field_errors([(name, f"is not a known parameter; {takes}") for name in unknown])


def choices(handler: BaseRouteHandler, name: str) -> tuple[str, ...]:
    """The values among which a parameter chooses; none where it takes any text."""
    return _parameters(handler).get(name, ())


@cache
def _parameters(handler: BaseRouteHandler) -> dict[str, tuple[str, ...]]:
    return {
        field.kwarg_definition.name or name: tuple(_literals(field.annotation))
        for name, field in handler.parsed_fn_signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    }


def _literals(annotation: Any) -> list[str]:
    origin = get_origin(annotation)
    if origin is Literal:
        return list(get_args(annotation))
    if origin in (Union, UnionType):
        return [value for one in get_args(annotation) for value in _literals(one)]
    return []
