"""What a path can be asked in its query. A name that it does not know is refused: ignored, a mistyped filter would be answered
with everything there is."""

from functools import cache
from typing import Any

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


def annotation(handler: BaseRouteHandler, name: str) -> Any:
    """What a parameter takes."""
    return _parameters(handler).get(name)


@cache
def _parameters(handler: BaseRouteHandler) -> dict[str, Any]:
    return {
        field.kwarg_definition.name or name: field.annotation
        for name, field in handler.parsed_fn_signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    }
