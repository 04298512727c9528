"""What the Bot API answers: `{ok, result}`, or `{ok: false, error_code, description, parameters}`."""

from typing import Any

import msgspec


class BotError(Exception):
    """A call that is answered with one of Telegram's errors. `effective`: though it took effect."""

    effective = False

    def __init__(self, code: int, description: str, parameters: dict[str, Any] | None = None) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters or {}

    def body(self) -> bytes:
        answer: dict[str, Any] = {"ok": False, "error_code": self.code, "description": self.description}
        if self.parameters:
            answer["parameters"] = self.parameters
        return msgspec.json.encode(answer)

    @property
    def headers(self) -> dict[str, str]:
        wait = self.parameters.get("retry_after")
        return {} if wait is None else {"retry-after": str(wait)}


def bad_request(reason: str, **parameters: Any) -> BotError:
    """400 with Telegram's usual first words."""
    return BotError(400, f"Bad Request: {reason}", parameters)


def too_many(seconds: int) -> BotError:
    """429: nothing was done, and the same call is welcome after `seconds`."""
    return BotError(429, f"Too Many Requests: retry after {seconds}", {"retry_after": seconds})


def unauthorized() -> BotError:
    return BotError(401, "Unauthorized")


def blocked() -> BotError:
    return BotError(403, "Forbidden: bot was blocked by the user")


def success(result: Any, description: str | None = None) -> bytes:
    """The body of a call that worked."""
    more = {"description": description} if description else {}
    return msgspec.json.encode({"ok": True, "result": result, **more})
