"""The methods of the Bot API that the sandbox plays."""

import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from nurture_local.sandbox.ledger import Ledger
from nurture_local.sandbox.telegram import commands, rows
from nurture_local.sandbox.telegram.answers import BotError, bad_request
from nurture_local.sandbox.telegram.arguments import Arguments
from nurture_local.sandbox.telegram.sending import Sending, check_chat
from nurture_local.sandbox.telegram.updates import Updates

QUERY_SECONDS = 60.0
MAX_ANSWER = 200
_UPLOADS = tuple(f"upload_{kind}" for kind in ("photo", "video", "voice", "document", "video_note"))
_RECORDS = ("record_video", "record_voice", "record_video_note")
ACTIONS = frozenset(("typing", "choose_sticker", "find_location", *_UPLOADS, *_RECORDS))
WRITES = frozenset({"sendmessage", "editmessagetext", "editmessagereplymarkup"})
"""Methods that write into a chat; faults on demand concern these."""
Method = Callable[[int, Arguments], Awaitable[Any]]


class Methods:
    """Finds a method by its name, in any case as Telegram does, and calls it for a bot."""

    def __init__(self, ledger: Ledger, updates: Updates, sending: Sending) -> None:
        self._ledger = ledger
        self._sending = sending
        self._known: set[int] = set()
        self._methods: dict[str, Method] = {
            "getme": self._get_me,
            "getupdates": updates.poll,
            "setwebhook": updates.set_webhook,
            "deletewebhook": lambda bot_id, arguments: updates.set_webhook(bot_id, arguments.without("url")),
            "getwebhookinfo": lambda bot_id, _: updates.webhook_info(bot_id),
            "sendmessage": sending.send,
            "editmessagetext": lambda bot_id, arguments: sending.edit(bot_id, arguments, text=True),
            "editmessagereplymarkup": lambda bot_id, arguments: sending.edit(bot_id, arguments, text=False),
            "answercallbackquery": self._answer_query,
            "getchat": self._get_chat,
            "sendchataction": self._chat_action,
            "setmycommands": self._set_commands,
            "deletemycommands": self._delete_commands,
            "getmycommands": self._get_commands,
            "close": self._nothing,
            "logout": self._nothing,
        }

    async def call(self, bot_id: int, method: str, arguments: Arguments) -> Any:
        """The result. Raises BotError."""
        found = self._methods.get(method)
        if found is None:
            raise BotError(404, "Not Found")
        if bot_id not in self._known:
            await self._ledger.write(lambda connection: rows.know_bot(connection, bot_id))
            self._known.add(bot_id)
        return await found(bot_id, arguments)

    async def _get_me(self, bot_id: int, _: Arguments) -> dict[str, Any]:
        return rows.bot_user(bot_id) | {
            "can_join_groups": True,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
            "can_connect_to_business": False,
            "has_main_web_app": False,
        }

    async def _answer_query(self, bot_id: int, arguments: Arguments) -> bool:
        query_id, text = arguments.text("callback_query_id"), arguments.text("text")
        if len(text) > MAX_ANSWER:
            raise bad_request("MESSAGE_TOO_LONG")
        since = time.time() - QUERY_SECONDS

        def change(connection: sqlite3.Connection) -> bool:
            done = connection.execute(
                "update telegram_queries set answer = ? where id = ? and bot_id = ? and made_at > ?",
                (text, query_id, bot_id, since),
            )
            return bool(done.rowcount)

        if not await self._ledger.write(change):
            raise bad_request("query is too old and response timeout expired or query ID is invalid")
        return True

    async def _get_chat(self, bot_id: int, arguments: Arguments) -> dict[str, Any]:
        chat_id = check_chat(arguments.chat())
        gifts = ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels")
        return rows.chat_object(chat_id) | {
            "accent_color_id": abs(chat_id) % 7,
            "max_reaction_count": 11,
            "accepted_gift_types": dict.fromkeys(gifts, True),
        }

    async def _chat_action(self, bot_id: int, arguments: Arguments) -> bool:
        chat_id = check_chat(arguments.chat())
        if arguments.text("action") not in ACTIONS:
            raise bad_request("wrong parameter action in request")
        await self._sending.check_not_blocked(bot_id, chat_id)
        return True

    async def _commands(self, bot_id: int) -> dict[str, list[dict[str, str]]]:
        known = await self._ledger.read(lambda connection: rows.bot(connection, bot_id))
        return msgspec.json.decode(known.commands)

    async def _set_commands(self, bot_id: int, arguments: Arguments) -> bool:
        listed = commands.check(arguments.structure("commands"))
        return await self._keep_commands(bot_id, commands.place(arguments), listed)

    async def _delete_commands(self, bot_id: int, arguments: Arguments) -> bool:
        return await self._keep_commands(bot_id, commands.place(arguments), [])

    async def _get_commands(self, bot_id: int, arguments: Arguments) -> list[dict[str, str]]:
        return (await self._commands(bot_id)).get(commands.place(arguments), [])

    async def _keep_commands(self, bot_id: int, place: str, listed: list[dict[str, str]]) -> bool:
        kept = await self._commands(bot_id) | {place: listed}
        value = msgspec.json.encode({key: one for key, one in kept.items() if one}).decode()
        await self._ledger.write(
            lambda connection: connection.execute(
                "update telegram_bots set commands = ? where bot_id = ?", (value, bot_id)
            )
        )
        return True

    async def _nothing(self, bot_id: int, _: Arguments) -> bool:
        """The sandbox keeps no session of a bot, so that there is nothing to close."""
        return True
