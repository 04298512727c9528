"""What follows from what people said: whose chat it is, whether we may write, what they did with a message. Pure."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from msgspec import Struct, field
from nurture_contracts.events import ChatChange, EventKind, Observation
from nurture_contracts.ids import derived

from nurture_telegram.attempts import provider_id
from nurture_telegram.updates import Membership, Pressed, Reacted, Said, Started, Stopped, Update, Wrote

TOKEN_LIFE = timedelta(days=30)
_MOMENT = timedelta(microseconds=1)

LINKED = "You are connected: messages for you will come to this chat. Send /stop at any time and they will not come any more."
ALREADY = "This chat is connected already. Send /stop at any time to end the messages."
USED = "This link has been used before. Please ask for a new one where you got it."
EXPIRED = "This link is too old. Please ask for a new one where you got it."
HELLO = "To connect this chat, please use the personal link that you were given. It opens this chat and connects it."
BACK = "Good to see you again: messages for you will come to this chat."
STOPPED = "Done: no more messages will be sent to this chat. To have them again, ask for a new personal link."

ChatState = Literal["ok", "blocked", "gone", "replaced"]


class Chat(Struct, kw_only=True):
    """A chat as it is known. `user_id` is None for a stranger's; `latest` is the delivery last known to have come to it.

    `refused`: a /stop stands. `word_at`: when its person last said yes or no, wherever; `stopped_at`: now, among these updates.
    """

    user_id: UUID | None = None
    state: ChatState = "ok"
    refused: bool = False
    latest: UUID | None = None
    linked: bool = False
    word_at: datetime | None = None
    stopped_at: datetime | None = None


class Invitation(Struct, frozen=True, kw_only=True):
    """A linking token of ours, as found. `by` is the chat that used it before this moment, None if nobody did; `word_at` is when
    its person last said yes or no, in whichever chat or elsewhere."""

    user_id: UUID
    made_at: datetime
    known: bool
    by: str | None = None
    word_at: datetime | None = None


class Facts(Struct, kw_only=True):
    """Everything that a page of updates may ask about. `read_press` reads a button's data: delivery and button.
    `read_link` reads the address of a tracked link: the delivery that carries it."""

    bot_id: int
    chats: Mapping[str, Chat]
    invitations: Mapping[str, Invitation]
    messages: Mapping[str, UUID]
    read_press: Callable[[str], tuple[UUID, int] | None]
    read_link: Callable[[str], UUID | None]


class Reply(Struct, frozen=True):
    """A line to send to a chat, outside of any sequence."""

    chat_id: str
    text: str


class Effects(Struct, kw_only=True):
    """What a page of updates leads to. `chats` are those that changed."""

    chats: dict[str, Chat] = field(default_factory=dict)
    changes: list[ChatChange] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


Change = Literal["linked", "stopped", "blocked", "unblocked"]


class Conversation:
    """Folds updates, in their order, over what is known. `now` is business time, `today` real time (tokens age by it)."""

    def __init__(self, facts: Facts, now: datetime, today: datetime) -> None:
        self._facts = facts
        self._now = now
        self._last_word = now
        self._today = today
        self._used: dict[str, str] = {}
        self.effects = Effects()

    def hear(self, updates: Sequence[Update]) -> Effects:
        """The effects of all of them; each update's events have the same ids whenever it is heard again."""
        for update in updates:
            # Order within a page has to survive on the bus, where only times are compared.
            self._now += _MOMENT
            if update.said is not None:
                self._take(update.update_id, update.said)
        return self.effects

    def _take(self, update_id: int, said: Said) -> None:
        match said:
            case Started():
                self._start(update_id, said)
            case Stopped(chat_id):
                chat = self._touch(chat_id)
                chat.refused, chat.stopped_at = True, self._word(chat.word_at)
                self._change(update_id, chat_id, "stopped", chat.stopped_at)
                self._reply(chat_id, STOPPED)
            case Membership(chat_id, blocked):
                self._membership(update_id, chat_id, blocked)
            case Wrote(chat_id):
                self._revive(update_id, chat_id)
                # What names no message answers the last that is known to have come: it is no evidence of another.
                if delivery := self._quoted(said) or self._chat(chat_id).latest:
                    self._observe(update_id, "replied", delivery)
            case Reacted(chat_id, message):
                if delivery := self._facts.messages.get(provider_id(chat_id, message)):
                    self._observe(update_id, "replied", delivery)
            case Pressed(callback_id, data):
                self.effects.answers.append(callback_id)
                if pressed := self._facts.read_press(data):
                    self._observe(update_id, "pressed", pressed[0], f"button:{pressed[1]}")

    def _quoted(self, said: Wrote) -> UUID | None:
        """The delivery that a message replies to: by the message's id, or by the tokens that it carries."""
        if said.to_message is not None and (
            known := self._facts.messages.get(provider_id(said.chat_id, said.to_message))
        ):
            return known
        for mark in said.marks:
            if pressed := self._facts.read_press(mark):
                return pressed[0]
            if carried := self._facts.read_link(mark):
                return carried
        return None

    def _start(self, update_id: int, said: Started) -> None:
        invitation = self._facts.invitations.get(said.token)
        chat = self._chat(said.chat_id)
        if invitation is None or not invitation.known:
            revived = self._revive(update_id, said.chat_id)
            self._reply(said.chat_id, BACK if revived and not chat.refused else HELLO)
            return
        by = invitation.by or self._used.get(said.token)
        if by is not None:
            ours = by == said.chat_id and chat.user_id == invitation.user_id and not chat.refused and chat.state == "ok"
            self._reply(said.chat_id, ALREADY if ours else USED)
        elif self._today - invitation.made_at > TOKEN_LIFE:
            self._reply(said.chat_id, EXPIRED)
        else:
            self._used[said.token] = said.chat_id
            chat = self._touch(said.chat_id)
            chat.user_id, chat.state, chat.refused, chat.linked = invitation.user_id, "ok", False, True
            chat.stopped_at = None
            self._change(update_id, said.chat_id, "linked", self._word(chat.word_at, invitation.word_at))
            self._reply(said.chat_id, LINKED)

    def _membership(self, update_id: int, chat_id: str, blocked: bool) -> None:
        if not blocked:
            self._revive(update_id, chat_id)
            return
        chat = self._chat(chat_id)
        if chat.user_id is not None and chat.state != "replaced":
            self._touch(chat_id).state = "blocked"
            self._change(update_id, chat_id, "blocked")

    def _revive(self, update_id: int, chat_id: str) -> bool:
        """Whoever writes to us can be written to."""
        chat = self._chat(chat_id)
        if chat.user_id is None or chat.state not in ("blocked", "gone"):
            return False
        self._touch(chat_id).state = "ok"
        self._change(update_id, chat_id, "unblocked")
        return True

    def _chat(self, chat_id: str) -> Chat:
        return self.effects.chats.get(chat_id) or self._facts.chats.get(chat_id) or Chat()

    def _touch(self, chat_id: str) -> Chat:
        if chat_id not in self.effects.chats:
            known = self._facts.chats.get(chat_id) or Chat()
            self.effects.chats[chat_id] = Chat(
                user_id=known.user_id,
                state=known.state,
                refused=known.refused,
                latest=known.latest,
                word_at=known.word_at,
            )
        return self.effects.chats[chat_id]

    def _word(self, *known: datetime | None) -> datetime:
        """When a yes or no is said: after every one that is known, though another machine's clock may be ahead of ours."""
        self._last_word = max(self._now, *(at + _MOMENT for at in (self._last_word, *known) if at is not None))
        return self._last_word

    def _change(self, update_id: int, chat_id: str, change: Change, at: datetime | None = None) -> None:
        chat = self._chat(chat_id)
        if chat.user_id is not None and chat.state != "replaced":
            event_id = self._event(update_id, change)
            self.effects.changes.append(
                ChatChange(event_id=event_id, user_id=chat.user_id, change=change, at=at or self._now)
            )

    def _observe(self, update_id: int, kind: EventKind, delivery_id: UUID, link: str | None = None) -> None:
        self.effects.observations.append(
            Observation(
                event_id=self._event(update_id, kind),
                kind=kind,
                at=self._now,
                delivery_id=delivery_id,
                link=link,
                signal="human",
            )
        )

    def _reply(self, chat_id: str, text: str) -> None:
        self.effects.replies.append(Reply(chat_id, text))

    def _event(self, update_id: int, what: str) -> UUID:
        return derived("telegram", self._facts.bot_id, update_id, what)
