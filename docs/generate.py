"""Writes docs/reference/{rest,messages,cli,settings,metrics}.md from the code: `make docs`. A test fails where they differ."""

import ast
import importlib
import inspect
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec
from nurture_chassis.health import asyncapi_document
from nurture_chassis.settings import ServiceSettings
from prometheus_client.metrics import MetricWrapperBase

REFERENCE = Path(__file__).parent / "reference"
ROOMS = ("gateway", "controller", "email", "telegram", "scoring")
GENERATED = "<!-- Written by `make docs` from {source}. -->\n\n"
# Enough to build each service; nothing is connected to.
_SETTINGS = {
    "DATABASE_URL": "postgresql://127.0.0.1/none", "NATS_URL": "nats://127.0.0.1:4222", "SECRET_KEY": "x" * 40,
    "ADMIN_API_KEY": "x" * 40, "RESEND_API_KEY": "re_none", "FROM_EMAIL": "none@example.test",
}  # fmt: skip


def pages() -> dict[str, str]:
    """Each page's name and text."""
    services = _services()
    return {
        "rest.md": _rest(services["gateway"].inner.inner),
        "messages.md": _messages(services),
        "cli.md": _cli(),
        "settings.md": _settings(),
        "metrics.md": _metrics(),
    }


def _services() -> dict[str, Any]:
    with patch.dict(os.environ, _SETTINGS | {"PATH": os.environ.get("PATH", "")}, clear=True):
        return {room: importlib.import_module(f"nurture_{room}.app").build() for room in ROOMS}


def _rest(application: Any) -> str:
    document = application.openapi_schema.to_schema()
    lines = [
        "# REST\n",
        "Served with examples at `/docs`, as OpenAPI 3.1 at `/openapi.json`. `Authorization: Bearer ADMIN_API_KEY` for all of",
        "`/admin`, but webhooks. Problems are RFC 9457 with `code` and `hint`.\n",
    ]
    groups: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method in ("get", "post", "patch", "put", "delete"):
            if method in item:
                operation = item[method]
                tag = operation.get("tags", ["Other"])[0]
                groups.setdefault(tag, []).append(_operation(method.upper(), path, operation))
    for tag, operations in groups.items():
        lines += [f"## {tag}\n", "| | what it does | answers |", "|---|---|---|", *operations, ""]
    return GENERATED.format(source="the OpenAPI document") + "\n".join(lines)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    query = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
    asked = f"`{method} {path}{'?' if query else ''}{'&'.join(query)}`"
    words = " ".join(filter(None, (f"**{operation.get('summary', '')}.**", operation.get("description", ""))))
    return f"| {asked} | {_cell(words)} | {', '.join(sorted(operation['responses']))} |"


def _messages(services: dict[str, Any]) -> str:
    lines = [
        "# Messages on the bus\n",
        "Pages of JSON. Each service serves what it hears as AsyncAPI 3 at `/asyncapi`; this is the same.\n",
    ]
    for room, service in services.items():
        document = json.loads(asyncapi_document(service.bus, f"nurture {room}"))
        heard = [_heard(durable, channel, document) for durable, channel in document.get("channels", {}).items()]
        lines += [
            f"## {room} hears\n",
            "| subject | durable | what it is | members |",
            "|---|---|---|---|",
            *sorted(heard),
            "",
        ]
    return GENERATED.format(source="the AsyncAPI documents") + "\n".join(lines)


def _heard(durable: str, channel: dict[str, Any], document: dict[str, Any]) -> str:
    (message,) = channel["messages"].values()
    payload = _at(document, _at(document, message)["payload"])
    members = ", ".join(f"`{name}`" for name in payload.get("properties", {}))
    return f"| `{channel['address']}` | `{durable}` | {_cell(payload.get('description', ''))} | {members} |"


def _at(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        node = found
    return node


def _cli() -> str:
    from nurture_local.cli import app

    return GENERATED.format(source="the commands' own help") + app.generate_docs()


class Setting(NamedTuple):
    """One field of a service's settings."""

    name: str
    default: str
    words: str


def _settings() -> str:
    lines = [
        "# Settings\n",
        "From the environment; each also from a file, named by `NAME_FILE`. A value that is missing or malformed stops the start",
        "and is named, never shown.\n",
        "## Every service\n",
        *_table(ServiceSettings),
    ]
    shared = {field.name for field in msgspec.structs.fields(ServiceSettings)}
    for room in ROOMS:
        config = importlib.import_module(f"nurture_{room}.config").Config
        table = _table(config, without=shared)
        if len(table) > 3:
            lines += [f"## {room}\n", *table]
    return GENERATED.format(source="the services' settings") + "\n".join(lines)


def _table(kind: type, without: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    rows = [
        f"| `{one.name}` | {one.words} | {one.default} |" for one in _fields(kind) if one.name.lower() not in without
    ]
    return ["| setting | meaning | default |", "|---|---|---|", *rows, ""]


def _fields(kind: type) -> Iterator[Setting]:
    words = dict(_docstrings(kind))
    for field in msgspec.structs.fields(kind):
        required = field.required
        default = "required" if required else f"`{field.default}`" if field.default not in ("", None) else ""
        if not required and "Secret" in repr(field.default):
            default = ""
        yield Setting(field.name.upper(), default, _cell(words.get(field.name, "")))


def _metrics() -> str:
    lines = [
        "# Metrics\n",
        "At `/metrics` of each service, in Prometheus' text format; names are as they are there. No label names a person, an",
        "address or a message. Beside these come `process_*` and `python_*` of the Python client. Gauges about what all replicas",
        "share are told the same by each of them: take `max`, not `sum`. `deploy/observability/` has alerts and dashboards.\n",
    ]
    reached = {room: _reached(f"nurture_{room}.app") for room in ROOMS}
    groups: dict[str, list[str]] = {}
    for metric in catalogue():
        rooms = [room for room in ROOMS if metric.module in reached[room]]
        group = "every service" if len(rooms) == len(ROOMS) else " and ".join(rooms)
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        groups.setdefault(group, []).append(
            f"| `{metric.name}` | {metric.type} | {metric.unit} | {labels} | {_cell(metric.meaning)} |"
        )
    for group in sorted(groups, key=lambda name: ("every" not in name, name)):
        lines += [
            f"## {group[0].upper()}{group[1:]}\n",
            "| metric | type | unit | labels | meaning |",
            "|---|---|---|---|---|",
        ]
        lines += [*sorted(groups[group]), ""]
    return GENERATED.format(source="the metrics' own declarations") + "\n".join(lines)


class Metric(NamedTuple):
    """One metric as it is declared, and the module that declares it."""

    name: str
    type: str
    unit: str
    labels: tuple[str, ...]
    meaning: str
    module: str


def catalogue() -> list[Metric]:
    """Every metric of every service. One that two modules hold is the chassis'."""
    found: dict[str, Metric] = {}
    for module, contents in sorted(
        sys.modules.items(), key=lambda one: (not one[0].startswith("nurture_chassis"), one[0])
    ):
        if not module.startswith("nurture_"):
            continue
        for declared in vars(contents).values():
            if isinstance(declared, MetricWrapperBase):
                name = declared._name + ("_total" if declared._type == "counter" else "")
                unit = _unit(declared._name, declared._type)
                labels = tuple(declared._labelnames)
                found.setdefault(name, Metric(name, declared._type, unit, labels, declared._documentation, module))
    return list(found.values())


def _unit(name: str, type: str) -> str:
    if name.endswith("_timestamp_seconds"):
        return "Unix time"
    return "seconds" if name.endswith("_seconds") else "bytes" if name.endswith("_bytes") else ""


def _reached(module: str) -> set[str]:
    """The modules of ours that a module imports, and those that they import."""
    reached, ahead = set[str](), [module]
    while ahead:
        if (name := ahead.pop()) in reached or name not in sys.modules:
            continue
        reached.add(name)
        for node in ast.walk(ast.parse(inspect.getsource(sys.modules[name]) or "")):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nurture_"):
                ahead += [str(node.module), *(f"{node.module}.{one.name}" for one in node.names)]
    return reached


def _docstrings(kind: type) -> Iterator[tuple[str, str]]:
    """The text below each field, of the class and of those that it extends."""
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("nurture_"):
            (made,) = ast.parse(inspect.getsource(base)).body
            assert isinstance(made, ast.ClassDef)
            for field, below in zip(made.body, made.body[1:], strict=False):
                text = below.value if isinstance(below, ast.Expr) else None
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Constant):
                    yield ast.unparse(field.target), str(text.value)


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


def main() -> int:
    """With --check nothing is written; exit code 1 where a page is not what it would be."""
    differ = 0
    for name, text in pages().items():
        page, text = REFERENCE / name, text.rstrip() + "\n"
        if "--check" not in sys.argv:
            page.write_text(text)
        elif not page.exists() or page.read_text() != text:
            differ += 1
            print(f"{page} is not what the code says: run `make docs`")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
