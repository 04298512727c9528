"""The API's documentation: the OpenAPI document, and the same as a page of our own that loads nothing from elsewhere."""

from typing import Any

from litestar import Request, Response, get

from nurture_gateway.api.access import TheRoom
from nurture_gateway.html import html
from nurture_gateway.problems import KINDS

METHODS = ("get", "post", "patch", "put", "delete")


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi(request: Request[Any, Any, Any]) -> Response[Any]:
    """The OpenAPI 3.1 document."""
    return Response(request.app.openapi_schema.to_schema(), headers={"Cache-Control": "public, max-age=60"})


@get("/docs", include_in_schema=False, sync_to_thread=False)
def docs(request: Request[Any, Any, Any], room: TheRoom) -> Response[bytes]:
    """The OpenAPI document as a page."""
    document = request.app.openapi_schema.to_schema()
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                operation = item[method]
                described = _operation(method.upper(), path, operation, document["components"]["schemas"])
                groups.setdefault(operation.get("tags", ["Other"])[0], []).append(described)
    return html("docs.html", groups=groups, kinds=KINDS, mode=room.config.mode)


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    bodies = operation.get("requestBody", {}).get("content", {})
    return {
        "id": operation["operationId"],
        "method": method,
        "path": path,
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "parameters": [
            {"name": one["name"], "place": one["in"], "description": one.get("description", "")}
            for one in operation.get("parameters", [])
        ],
        "bodies": [
            {"media": media, "fields": _fields(content.get("schema", {}), schemas), "examples": _examples(content)}
            for media, content in bodies.items()
        ],
        "answers": [
            {
                "status": status,
                "description": answer.get("description", ""),
                "examples": [
                    example for content in answer.get("content", {}).values() for example in _examples(content)
                ]
                if int(status) < 400
                else [],
            }
            for status, answer in sorted(operation["responses"].items())
        ],
    }


def _fields(schema: dict[str, Any], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    reference = schema.get("$ref") or next((one["$ref"] for one in schema.get("allOf", []) if "$ref" in one), "")
    shape = schemas.get(reference.rpartition("/")[2], {})
    return [
        {
            "name": name,
            "required": name in shape.get("required", []),
            "meaning": field.get("description") or _type(field),
        }
        for name, field in shape.get("properties", {}).items()
    ]


def _type(field: dict[str, Any]) -> str:
    kinds: list[str] = []
    for one in field.get("oneOf", [field]):
        kind = one.get("enum") or one.get("type", "object")
        values = [kind] if isinstance(kind, str) else kind
        kinds += ["null" if value is None else f"`{value}`" if "enum" in one else value for value in values]
    return " or ".join(sorted(kinds, key=lambda kind: kind == "null"))


def _examples(content: dict[str, Any]) -> list[Any]:
    named = [example["value"] for example in content.get("examples", {}).values() if "value" in example]
    return named or content.get("schema", {}).get("examples", [])
