"""People tap in a chat as soon as a message comes: what an earlier version took for a machine's counts from its migration on."""

from pathlib import Path

import nurture_scoring
import pytest
from nurture_contracts.commands import RecordEvents
from nurture_contracts.events import TelegramsObserved
from nurture_scoring import credits
from scoring_stand import Stand, at, close, did, observed


def test_what_was_tapped_at_once_in_telegram_counts_from_the_migration_on(
    play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        people = await stand.people(4)
        chats, mails = await stand.messages(people, "telegram"), await stand.messages(people)
        everything = [*chats, *mails]
        await room.telegrams_observed(
            TelegramsObserved(items=[observed("delivered", one, at(0.5 * (one in chats))) for one in everything])
        )
        taps = [(1.0, "a", "human"), (2.0, "a", "unknown"), (40.0, "a", "machine")]
        burst = [(1.0, "a", "human"), (2.0, "b", "human"), (2.9, "c", "human"), (3.5, None, "unknown")]
        # As an earlier version valued them: in every channel alike.
        monkeypatch.setattr(credits, "SCANNED", frozenset({"email", "telegram"}))
        for one in everything:
            story = burst if one in (chats[1], mails[1]) else taps
            answers = [observed("clicked", one, at(s), link=link, signal=who) for s, link, who in story]
            if one in (chats[3], mails[3]):
                answers.append(observed("pressed", one, at(3)))
            await room.telegrams_observed(TelegramsObserved(items=answers))
        await room.record_events(RecordEvents(items=[did("bought", people[2], at(100))]))
        old = await stand.sums()
        assert close(old[0], (await stand.recomputed())[0])
        monkeypatch.undo()
        assert not close(old[0], (await stand.recomputed())[0])
        migration = Path(nurture_scoring.__file__).parent / "sql/migrations/0005_taps.sql"
        for _ in range(2):
            async with stand.admin.transaction():
                await stand.admin.execute("set local search_path = scoring")
                await stand.admin.execute(migration.read_text())
            for had, wanted in zip(await stand.sums(), await stand.recomputed(), strict=True):
                assert close(had, wanted)  # type: ignore[arg-type]
        rows = await stand.admin.fetch("select delivery_id, credit, signals from scoring.message_credits")
        found = {row["delivery_id"]: row for row in rows}
        assert [found[one]["credit"] for one in chats] == [0.6, 0, 1, 1]
        assert [found[one]["credit"] for one in mails] == [0, 0, 0, 1]
        assert [one["credit"] for one in found[chats[0]]["signals"]] == [0.6, 0.3, 0]

    play(scene)
