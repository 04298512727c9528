"""The statements in memory against PostgreSQL: the same walk at random on both, whose answers and rows must be the same."""

import random
from datetime import timedelta
from typing import Any

import pytest

from tests.simulation.planned import NOW, Planned, new_id, some
from tests.simulation.two_databases import Both

pytestmark = pytest.mark.xdist_group("simulated-statements")


def test_email_claims(walk) -> None:
    tables = ("email.pages", "email.claims", "email.suppressions")

    async def scene(pair: Both, chance: random.Random) -> None:
        planned = await Planned(pair, chance).make()
        members, pages, claimed = planned.deliveries["email"], [], 0

        async def claim(beside: bool, times: int = 1) -> None:
            nonlocal claimed
            args = (60.0, NOW, {"sender": "a"}, 4)
            name = "claim_next_beside" if beside else "claim_next"
            async with pair.transaction("email") as first:
                claimed += len(await first.run(name, new_id(chance), *args))
                if times > 1:
                    async with pair.transaction("email") as second:
                        claimed += len(await second.run(name, new_id(chance), *args))

        for _ in range(250):
            match chance.randrange(9):
                case 0 | 1:
                    if not pages or chance.random() < 0.9:
                        pages.append((new_id(chance), chance.sample(members, chance.randint(1, 3))))
                    await pair.run("email", "page_take", *chance.choice(pages[-2:]), False)
                case 2:
                    await claim(chance.random() < 0.5)
                case 3:
                    await claim(chance.random() < 0.5, 2)
                case 4:
                    await pair.run("email", "look", "resend")
                    await pair.run("email", "look_beside")
                case 5 if (known := some(pair, chance, "email.claims")) is not None:
                    fence = known["fence"] - chance.choice((0, 0, 1))
                    results = {str(member): {"outcome": "accepted"} for member in known["members"]}
                    await pair.run("email", "claim_settle", known["id"], fence, results)
                    if chance.random() < 0.2:
                        again = (
                            new_id(chance),
                            known["members"],
                            False,
                            known["attempt"],
                            1,
                            known["first_call_at"],
                            5.0,
                        )
                        await pair.run("email", "claim_follow_up", *again)
                case 6 if (known := some(pair, chance, "email.claims")) is not None:
                    fence, doubt = known["fence"] - chance.choice((0, 0, 1)), chance.random() < 0.5
                    await pair.run("email", "claim_retry", known["id"], fence, 5.0, doubt, not doubt)
                case 7:
                    await pair.pass_time(chance.choice((1, 10, 70)), "email.pages", "email.claims")
                case 8:
                    await planned.meddle("email")
                    if chance.random() < 0.1:
                        await pair.run("email", "suppress", [chance.choice(members)], ["bounced"], [NOW])
            await pair.agree(*tables)
        assert claimed > 30 and {row["state"] for row in pair.tables.rows("email.claims")} == {"open", "settled"}

    walk(scene)


def test_email_volleys(walk) -> None:
    tables = ("email.pages", "email.claims", "email.suppressions")

    async def scene(pair: Both, chance: random.Random) -> None:
        planned = await Planned(pair, chance).make(6, 30)
        members, pages, claimed = planned.deliveries["email"], [], 0
        # Each in one page: of two, the second claim would wait for the first's end.
        unused = chance.sample(members, len(members))

        async def claim(beside: bool, times: int = 1) -> None:
            nonlocal claimed
            args = (60.0, NOW, {"sender": "a"}, chance.randint(1, 4))
            name = "claim_volley_beside" if beside else "claim_volley"
            async with pair.transaction("email") as first:
                claimed += len(await first.run(name, new_id(chance), *args))
                if times > 1:
                    async with pair.transaction("email") as second:
                        claimed += len(await second.run(name, new_id(chance), *args))

        def opened() -> list[dict[str, Any]]:
            found = [some(pair, chance, "email.claims") for _ in range(chance.randint(1, 3))]
            return list({row["id"]: row for row in found if row is not None}.values())

        for _ in range(250):
            match chance.randrange(9):
                case 0 | 1:
                    if unused and (not pages or chance.random() < 0.9):
                        pages.append(
                            (new_id(chance), [unused.pop() for _ in range(min(len(unused), chance.randint(1, 5)))])
                        )
                    await pair.run("email", "page_take", *chance.choice(pages[-2:]), False)
                case 2:
                    await claim(chance.random() < 0.5)
                case 3:
                    await claim(chance.random() < 0.5, 2)
                case 4:
                    await pair.run("email", "look", "smtp")
                    await pair.run("email", "look_volley_beside")
                case 5 if known := opened():
                    fences = [row["fence"] - chance.choice((0, 0, 1)) for row in known]
                    results = [{str(row["members"][0]): {"outcome": "accepted"}} for row in known]
                    await pair.run("email", "volley_settle", [row["id"] for row in known], fences, results)
                    if chance.random() < 0.1:
                        one = known[0]
                        again = (new_id(chance), one["members"], False, one["attempt"], 1, one["first_call_at"], 5.0)
                        await pair.run("email", "claim_follow_up", *again)
                case 6 if known := opened():
                    fences = [row["fence"] - chance.choice((0, 0, 1)) for row in known]
                    doubts = [chance.random() < 0.5 for _ in known]
                    args = ([5.0] * len(known), doubts, [not doubt for doubt in doubts])
                    await pair.run("email", "volley_retry", [row["id"] for row in known], fences, *args)
                    if chance.random() < 0.2 and known[0]["volley"]:
                        await pair.run("email", "volley_give_back", [known[0]["volley"]])
                case 7:
                    await pair.pass_time(chance.choice((1, 10, 70)), "email.pages", "email.claims")
                case 8:
                    await planned.meddle("email")
                    if chance.random() < 0.1:
                        await pair.run("email", "suppress", [chance.choice(members)], ["bounced"], [NOW])
            await pair.agree(*tables)
        assert claimed > 30 and {row["state"] for row in pair.tables.rows("email.claims")} == {"open", "settled"}

    walk(scene)


def test_telegram_volleys_and_the_reaper(walk) -> None:
    tables = ("telegram.pages", "telegram.claims", "telegram.chat_pace", "telegram.chats", "telegram.refusals")

    async def scene(pair: Both, chance: random.Random) -> None:
        planned = await Planned(pair, chance).make(8, 10)
        members, pages, ends = planned.deliveries["telegram"], [], set()
        people = {row["address"]: row["user_id"] for row in pair.tables.rows("gateway.contacts")}
        for chat, person in (("1005", people["1005"]), ("1004", people["1003"]), ("-1002", None)):
            await pair.put("telegram.refusals", chat_id=chat, at=NOW, user_id=person)
        for chat in ("1004", "1005"):
            await pair.change("gateway.contacts", (people[chat], "telegram"), consent_at=NOW + timedelta(days=1))
        await pair.change("gateway.contacts", (people["1007"], "telegram"), address="77", address_key="77")

        def ended() -> dict[str, Any] | None:
            return some(pair, chance, "telegram.claims", lambda row: row["attempt"] > 0)

        for _ in range(500):
            match chance.randrange(10):
                case 0 | 1:
                    if not pages or chance.random() < 0.9:
                        pages.append((new_id(chance), chance.sample(members, chance.randint(1, 3))))
                    await pair.run("telegram", "page_take", *chance.choice(pages[-2:]))
                case 2 | 3 | 4:
                    name = chance.choice(("claim_volley", "claim_volley_beside"))
                    args = (chance.randint(1, 4), 60.0, NOW, 1.0, "telegram", new_id(chance))
                    ends |= {row["reason"] or "taken" for row in await pair.run("telegram", name, *args)}
                    await pair.run("telegram", "look", "telegram", 4)
                    await pair.run("telegram", "look_beside", 4)
                case 5 if (known := ended()) is not None:
                    outcome = chance.choice(("accepted", "rejected", "unknown"))
                    attempt = known["attempt"] - chance.choice((0, 0, 1))
                    args = ([outcome], [None], [None], [outcome != "rejected"])
                    await pair.run("telegram", "settle", [known["delivery_id"]], [attempt], *args)
                case 6 if (known := ended()) is not None:
                    attempt, doubt = known["attempt"] - chance.choice((0, 0, 1)), chance.random() < 0.5
                    args = ([5.0], [chance.random() < 0.2], [False], [doubt])
                    await pair.run("telegram", "try_again", [known["delivery_id"]], [attempt], *args)
                    if chance.random() < 0.2:
                        await pair.run("telegram", "chats_hold", [known["chat_id"]], [9.0])
                case 7:
                    ends |= {row["reason"] for row in await pair.run("telegram", "reap", 3)}
                    if (known := ended()) is not None and chance.random() < 0.3:
                        await pair.run("telegram", "give_back", [known["volley"]])
                case 8:
                    await pair.pass_time(chance.choice((1, 10, 70)), "telegram.claims", "telegram.chat_pace")
                case 9:
                    await planned.meddle("telegram")
                    if (known := ended()) is not None and chance.random() < 0.15:
                        state = chance.choice(("blocked", "gone"))
                        await pair.run("telegram", "chats_mark", [known["chat_id"]], [known["user_id"]], [state])
                    elif known is not None and chance.random() < 0.1:
                        await pair.run(
                            "telegram", "chat_move", known["chat_id"], f"-{known['chat_id']}", known["user_id"]
                        )
            await pair.agree(*tables)
        wanted = {"taken", "worker_lost", "refused", "too_late", "no_contact", "possible_duplicate", "chat_changed"}
        assert ends >= wanted

    walk(scene)
