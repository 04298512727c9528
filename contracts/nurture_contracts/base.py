"""What every message and every item on the bus is: a frozen struct that AsyncAPI can describe."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct, json

Instant = Annotated[datetime, Meta(tz=True)]
"""An aware point in time, RFC 3339 on the wire."""

Channel = Literal["email", "telegram"]

SCHEMA_VERSION = 1
"""Travels in the header `Nurture-Schema`; raised when a reader of the previous version could misread a message."""


def _inline(node: Any, components: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            return _inline(components[node["$ref"]], components)
        return {key: _inline(value, components) for key, value in node.items()}
    if isinstance(node, list):
        return [_inline(value, components) for value in node]
    return node


class _Describable:
    """Lets FastStream, which describes payloads through pydantic, print a struct's JSON schema."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema  # present wherever FastStream is; contracts need it nowhere else

        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        (root,), components = json.schema_components([cls], ref_template="{name}")
        return _inline(root, components)


class Item(Struct, _Describable, frozen=True, kw_only=True):
    """One entry of a page. Unknown fields are ignored; a new field needs a default that never changes."""


class Message(Struct, _Describable, frozen=True, kw_only=True):
    """One message on the bus. `subject` is `nurture.<cmd|evt>.<room>.<name>`: cmd's room hears it, evt's says it."""

    subject: ClassVar[str]
