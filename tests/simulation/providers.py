"""Resend and the Bot API as far as the product leans on them, with everything that goes wrong on the way, and a ledger of effects."""

import asyncio
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

from msgspec import Struct
from nurture_email.rendering import Mail, RenderSettings
from nurture_email.rendering import Outbound as OutboundMail
from nurture_email.resend import TOTAL_SECONDS, Reply
from nurture_email.smtp import TOTAL_SECONDS as RELAY_SECONDS
from nurture_email.smtp_verdicts import broken, refused
from nurture_email.verdicts import Answer as MailAnswer
from nurture_email.verdicts import MemberVerdict, Verdict, read
from nurture_local.verify.history import Effect
from nurture_telegram.bot_api import TOTAL_SECONDS as CHAT_SECONDS
from nurture_telegram.rendering import Outbound as OutboundText
from nurture_telegram.rendering import Text
from nurture_telegram.verdicts import Answer

from tests.simulation.chance import Chance
from tests.simulation.virtual_time import VirtualLoop

KEY_REMEMBERED = 25 * 60.0
"""Seconds that the provider knows a key for: 24 h in earnest, and 23 h the product's 20 minutes here."""
KEY_TRUSTED = 20 * 60.0
_REPLIES = ("ok", "not_reached", "request_lost", "reply_lost", "late", "500", "500_after", "429", "401")


class MailRenderer:
    """A mail that says which delivery it is, and repeats itself to the byte."""

    def render(self, message: OutboundMail, settings: RenderSettings) -> Mail:
        words = f"{message.delivery_id} {message.body}"
        return Mail(
            delivery_id=message.delivery_id, sender=settings.sender, to=message.address, subject=message.subject, html=words,
            text=words, headers={}, tags=[], links={},
        )  # fmt: skip


class TextRenderer:
    """The same for a chat."""

    def render(self, message: OutboundText) -> Text:
        words = f"{message.delivery_id} {message.body}"
        return Text(chat_id=int(message.chat_id), html=words, plain=words, buttons=[], links={})


class Ledger:
    """Every message that a provider took. `told` hears of each."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.effects: list[Effect] = []
        self.told: Callable[[Effect], None] = lambda effect: None

    def enter(self, channel: Any, words: str, recipient: str, key: str | None) -> str:
        """The provider's id for it."""
        n = len(self.effects) + 1
        effect = Effect(
            seq=n, channel=channel, at=self._loop.now, real_at=self._loop.time(), recipient=recipient, key=key,
            provider_id=f"{recipient}:{n}" if channel == "telegram" else f"p{n}", delivery_id=UUID(words[:36]),
            payload_sha256=sha256(words.encode()).hexdigest(),
        )  # fmt: skip
        self.effects.append(effect)
        self.told(effect)
        return effect.provider_id


class _Kept(Struct):
    body: list[tuple[str, str]]
    answer: MailAnswer | None
    at: float


class Resend:
    """Batches in permissive mode; a key stands for one request."""

    def __init__(self, loop: VirtualLoop, chance: Chance, ledger: Ledger) -> None:
        self._loop = loop
        self._chance = chance
        self._ledger = ledger
        self._keys: dict[str, _Kept] = {}
        self.invalid: set[str] = set()
        self.ambiguous = 0

    async def send(self, key: str, mails: Sequence[Mail]) -> Reply:
        body = [(mail.to, mail.html) for mail in mails]
        fault = self._chance.reply(_REPLIES)
        if fault == "not_reached":
            await asyncio.sleep(self._chance.short())
            return Reply(Verdict(kind="not_sent", reason="ConnectError"))
        if fault == "429":
            return Reply(read(MailAnswer(status=429, retry_after=self._chance.random.uniform(0.5, 20)), len(mails)))
        if fault == "401":
            return Reply(read(MailAnswer(status=401, body={"name": "missing_api_key"}), len(mails)))
        if fault == "request_lost":
            return await self._no_answer(TOTAL_SECONDS)
        if fault == "late":
            # It is still being worked on when our patience ends; until then another one under this key is refused.
            if key not in self._keys:
                self._keys[key] = _Kept(body, None, self._loop.time())
                self._loop.call_later(self._chance.random.uniform(0, 60), self._finish, key)
            return await self._no_answer(TOTAL_SECONDS)
        answered: asyncio.Future[MailAnswer] = self._loop.create_future()
        self._loop.call_later(self._chance.short(), self._take, answered, fault, key, body)
        answer = await answered
        if fault == "reply_lost":
            return await self._no_answer(self._chance.short())
        if fault in ("500", "500_after"):
            return await self._no_answer(0.0, MailAnswer(status=500))
        return Reply(read(answer, len(mails)))

    async def _no_answer(self, seconds: float, answer: MailAnswer | None = None) -> Reply:
        await asyncio.sleep(seconds)
        self.ambiguous += 1
        return Reply(read(answer, 1) if answer else Verdict(kind="ambiguous", reason="ReadTimeout"))

    def _take(self, answered: asyncio.Future[MailAnswer], fault: str, key: str, body: list[tuple[str, str]]) -> None:
        # What arrived is worked on, whether or not somebody is left to hear of it.
        answer = MailAnswer(status=500) if fault == "500" else self._answer(key, body)
        if not answered.done():
            answered.set_result(answer)

    def _answer(self, key: str, body: list[tuple[str, str]]) -> MailAnswer:
        kept = self._keys.get(key)
        if kept is not None and self._loop.time() - kept.at < KEY_REMEMBERED:
            if kept.answer is None:
                return MailAnswer(status=409, body={"name": "concurrent_idempotent_requests"})
            if kept.body != body:
                return MailAnswer(status=409, body={"name": "invalid_idempotent_request"})
            return kept.answer
        self._keys[key] = _Kept(body, None, self._loop.time())
        return self._finish(key)

    def _finish(self, key: str) -> MailAnswer:
        kept = self._keys[key]
        bad = [place for place, (to, _) in enumerate(kept.body) if to in self.invalid]
        if bad and (len(kept.body) == 1 or self._chance.random.random() < 0.5):
            kept.answer = MailAnswer(status=422, body={"name": "validation_error"})
            return kept.answer
        data = [
            {"id": self._ledger.enter("email", words, to, key)}
            for place, (to, words) in enumerate(kept.body)
            if place not in bad
        ]
        errors = [{"index": place, "name": "validation_error"} for place in bad]
        kept.answer = MailAnswer(status=200, body={"data": data, "errors": errors} if len(kept.body) > 1 else data[0])
        return kept.answer


class Relay:
    """SMTP: no key either. What it refuses it says by its stage."""

    def __init__(self, loop: VirtualLoop, chance: Chance, ledger: Ledger, invalid: set[str]) -> None:
        self._loop = loop
        self._chance = chance
        self._ledger = ledger
        self._invalid = invalid
        self.ambiguous = 0

    async def send(self, key: str, mails: Sequence[Mail]) -> Reply:
        (mail,) = mails
        fault = self._chance.reply(_REPLIES)
        if fault == "not_reached":
            await asyncio.sleep(self._chance.short())
            return Reply(broken("connect", "timeout"), answered=False)
        if fault == "401":
            return Reply(refused("login", 535, "5.7.8"))
        if fault == "429":
            return Reply(refused("recipient", 450, "4.7.1"))
        if fault == "500":
            return Reply(refused("message", 451, "4.3.0"))
        if mail.to in self._invalid:
            return Reply(refused("recipient", 550, "5.1.1"))
        if fault == "request_lost":
            return await self._no_answer(RELAY_SECONDS)
        if fault == "late":
            self._loop.call_later(self._chance.random.uniform(0, 60), self._take, mail)
            return await self._no_answer(RELAY_SECONDS)
        answered: asyncio.Future[str] = self._loop.create_future()
        self._loop.call_later(self._chance.short(), self._take, mail, answered)
        provider_id = await answered
        if fault in ("reply_lost", "500_after"):
            return await self._no_answer(self._chance.short())
        return Reply(Verdict(kind="accepted", members=[MemberVerdict(kind="accepted", provider_id=provider_id)]))

    async def _no_answer(self, seconds: float) -> Reply:
        await asyncio.sleep(seconds)
        self.ambiguous += 1
        return Reply(broken("message", "timeout"), answered=False)

    def _take(self, mail: Mail, answered: asyncio.Future[str] | None = None) -> None:
        # What arrived is worked on, whether or not somebody is left to hear of it.
        provider_id = self._ledger.enter("email", mail.html, mail.to, None)
        if answered is not None and not answered.done():
            answered.set_result(provider_id)


class BotApi:
    """No key, no memory: what comes twice is there twice."""

    def __init__(self, loop: VirtualLoop, chance: Chance, ledger: Ledger) -> None:
        self._loop = loop
        self._chance = chance
        self._ledger = ledger
        self.blocked: set[str] = set()
        self.ambiguous = 0

    async def send(self, text: Text, *, plain: bool = False) -> Answer:
        fault = self._chance.reply(_REPLIES)
        if fault == "not_reached":
            await asyncio.sleep(self._chance.short())
            return Answer(fault="not_sent", reason="ConnectError")
        if fault == "429":
            wait = self._chance.random.randint(1, 20)
            return _refusal(429, "Too Many Requests", {"retry_after": wait})
        if fault == "401":
            return _refusal(401, "Unauthorized")
        if fault == "request_lost":
            return await self._no_answer(CHAT_SECONDS)
        if fault == "late":
            self._loop.call_later(self._chance.random.uniform(0, 60), self._take, None, fault, text)
            return await self._no_answer(CHAT_SECONDS)
        answered: asyncio.Future[Answer] = self._loop.create_future()
        self._loop.call_later(self._chance.short(), self._take, answered, fault, text)
        answer = await answered
        if fault == "reply_lost":
            return await self._no_answer(self._chance.short())
        if fault in ("500", "500_after"):
            self.ambiguous += 1
            return _refusal(500, "Internal Server Error")
        return answer

    async def _no_answer(self, seconds: float) -> Answer:
        await asyncio.sleep(seconds)
        self.ambiguous += 1
        return Answer(fault="ambiguous", reason="ReadTimeout")

    def _take(self, answered: asyncio.Future[Answer] | None, fault: str, text: Text) -> None:
        answer = Answer(status=500)
        if str(text.chat_id) in self.blocked:
            answer = _refusal(403, "Forbidden: bot was blocked by the user")
        elif fault != "500":
            named = self._ledger.enter("telegram", text.html, str(text.chat_id), None)
            answer = Answer(status=200, body={"ok": True, "result": {"message_id": int(named.partition(":")[2])}})
        if answered is not None and not answered.done():
            answered.set_result(answer)


def _refusal(code: int, description: str, parameters: dict[str, Any] | None = None) -> Answer:
    body = {"ok": False, "error_code": code, "description": description, "parameters": parameters or {}}
    return Answer(status=code, body=body)
