"""A bot's list of commands, for each scope and language. Pure."""

import re
from typing import Any

import msgspec

from nurture_local.sandbox.telegram.answers import bad_request
from nurture_local.sandbox.telegram.arguments import Arguments

MAX_COMMANDS = 100
_COMMAND = re.compile(r"/?([a-z0-9_]{1,32})")


def place(arguments: Arguments) -> str:
    """Where a list belongs: its scope and language as one key."""
    scope = arguments.structure("scope") or {"type": "default"}
    if not isinstance(scope, dict) or not isinstance(scope.get("type"), str):
        raise bad_request('can\'t parse BotCommandScope: field "type" must be a String')
    return msgspec.json.encode([scope, arguments.text("language_code")], order="sorted").decode()


def check(commands: Any) -> list[dict[str, str]]:
    """The list of setMyCommands. Raises BotError for the first thing that Telegram would refuse."""
    if not isinstance(commands, list):
        raise bad_request("can't parse commands: expected an Array of BotCommand")
    if len(commands) > MAX_COMMANDS:
        raise bad_request("BOT_COMMANDS_TOO_MUCH")
    checked = []
    for command in commands:
        if not isinstance(command, dict):
            raise bad_request("can't parse BotCommand: expected an Object")
        match = _COMMAND.fullmatch(str(command.get("command", "")))
        if match is None:
            raise bad_request("BOT_COMMAND_INVALID")
        description = command.get("description")
        if not isinstance(description, str) or not 1 <= len(description) <= 256:
            raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
        checked.append({"command": match[1], "description": description})
    return checked
