"""An existing aiogram bot and Nurture on one token: the bot keeps its commands and passes its updates on."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.journeys.system import System, eventually, running

REPLIES, READS = 900_000_013, 900_000_021
"""Chats of the sandbox: a last digit of 3 answers by itself, 1 only reads."""


async def _run(system: System, token: str, started: threading.Event, stop: asyncio.Event) -> None:
    # Not above: it takes three seconds, of every worker that collects this file.
    from aiogram import Bot, Dispatcher
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer
    from aiogram.filters import Command
    from aiogram.types import Message

    bot = Bot(token, session=AiohttpSession(api=TelegramAPIServer.from_base(str(system.inbox.base_url).rstrip("/"))))
    dispatcher = Dispatcher()
    key = {"Authorization": system.api.headers["Authorization"]}
    async with httpx.AsyncClient(base_url=system.api.base_url, headers=key, timeout=20) as nurture:

        @dispatcher.update.outer_middleware()
        async def pass_on(handler, update, data):
            raw = json.loads(update.model_dump_json(by_alias=True, exclude_none=True))
            (await nurture.post("/admin/api/telegram/updates", json=raw)).raise_for_status()
            return await handler(update, data)

        @dispatcher.message(Command("help"))
        async def help_(message: Message) -> None:
            await message.answer("I am the bot that was here before.")

        @dispatcher.startup()
        async def ready() -> None:
            started.set()

        polling = asyncio.create_task(dispatcher.start_polling(bot, handle_signals=False, polling_timeout=1))
        await stop.wait()
        await dispatcher.stop_polling()
        await polling


@contextmanager
def host_bot(system: System, token: str) -> Iterator[None]:
    """The host's bot, polling in a thread of its own."""
    started, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(_run(system, token, started, stop),))
    thread.start()
    try:
        assert started.wait(30)
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


@pytest.mark.long
def test_the_bot_keeps_its_commands_and_we_get_the_engagement(data_dir: Path) -> None:
    with running(data_dir, env={"TELEGRAM_UPDATES": "off"}) as system:
        token = json.loads((data_dir / "secrets.json").read_text())["sandbox_bot_token"]
        with host_bot(system, token):
            one = system.person("replies", telegram_chat_id=str(REPLIES))
            other = system.person("reads", telegram_chat_id=str(READS))
            told = [system.answer({"user_id": who, "sequence_type": "onboarding"}).json() for who in (one, other)]
            assert [answer["channel"] for answer in told] == ["telegram", "telegram"]

            def status(delivery: str) -> str:
                return system.api.get(f"/admin/api/deliveries/{delivery}").json()["delivery"]["status_detail"]

            eventually(
                lambda: status(told[0]["delivery_id"]) == "clicked", within=40, what="the reply, passed on by the bot"
            )
            assert status(told[1]["delivery_id"]) == "delivered"

            system.inbox.post("/api/telegram/say", json={"chat_id": READS, "text": "/help"})
            answers = eventually(
                lambda: [
                    m for m in system.messages(channel="telegram", to=str(READS)) if "here before" in (m["text"] or "")
                ],
                what="the bot's own answer",
            )
            assert len(answers) == 1

            system.inbox.post("/api/telegram/say", json={"chat_id": READS, "text": "/stop"})

            def refused() -> bool:
                contacts = system.api.get(f"/admin/api/users/{other}").json()["contacts"]
                return any(contact["consent"] == "refused" for contact in contacts)

            eventually(refused, within=30, what="/stop, heard through the bot")
            # The host's bot talks; we only listen.
            texts = [m["text"] for m in system.messages(channel="telegram", to=str(READS))]
            assert len(texts) == 2, texts
