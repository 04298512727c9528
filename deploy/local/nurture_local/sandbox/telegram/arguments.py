"""A call's arguments, from the query, a form or JSON: official clients use all of them."""

from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from nurture_local.sandbox.telegram.answers import bad_request

HTTP = Request[Any, Any, State]
_FALSE = ("", "0", "false", "no")


class Arguments:
    """Named values; in forms they are text, and lists and objects are JSON in that text."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def without(self, name: str) -> "Arguments":
        """The same arguments but one."""
        return Arguments({key: value for key, value in self._values.items() if key != name})

    def text(self, name: str) -> str:
        """Empty when it is absent. Raises BotError for what is not text."""
        value = self._values.get(name)
        if value is None:
            return ""
        if isinstance(value, bool | dict | list):
            raise bad_request(f"field {name} must be of type String")
        return str(value)

    def integer(self, name: str, default: int | None = None) -> int:
        """Raises BotError when it is no whole number, or absent without a default."""
        value = self._values.get(name)
        if value is None or value == "":
            if default is None:
                raise bad_request(f"{name} is empty")
            return default
        try:
            return int(value)
        except (TypeError, ValueError):
            raise bad_request(f"field {name} must be a Number") from None

    def flag(self, name: str) -> bool:
        """As Telegram reads booleans: anything that is not a way to say no."""
        return str(self._values.get(name) or "").strip().lower() not in _FALSE

    def structure(self, name: str) -> Any:
        """A list or object, or None when it is absent. Raises BotError for text that is not JSON."""
        value = self._values.get(name)
        if not isinstance(value, str):
            return value
        if not value.strip():
            return None
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            raise bad_request(f"can't parse {name.replace('_', ' ')} JSON object") from None

    def chat(self) -> int | None:
        """`chat_id` as a number; None for a user name, which the sandbox has none of. Raises BotError when absent."""
        text = self.text("chat_id").strip()
        if not text:
            raise bad_request("chat_id is empty")
        try:
            return int(text)
        except ValueError:
            return None


async def read(request: HTTP) -> Arguments:
    """Query first, then the body, whose values win. Raises BotError for a body that cannot be read."""
    values: dict[str, Any] = dict(request.query_params.items())
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if not body:
        return Arguments(values)
    if kind == "application/json":
        try:
            fields = msgspec.json.decode(body)
        except msgspec.DecodeError:
            raise bad_request("can't parse JSON object") from None
        if not isinstance(fields, dict):
            raise bad_request("object expected as JSON input")
        return Arguments(values | fields)
    if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        try:
            form = await request.form()
        except (HTTPException, ValueError):
            raise bad_request("can't parse the form") from None
        return Arguments(values | dict(form.items()))
    return Arguments(values)
