"""README's walk: a thousand people, imported and triggered by one call each, and what becomes of every one of them."""

from collections import Counter
from pathlib import Path

from tests.journeys.system import System, eventually, running

PEOPLE = 1000


def import_sample(system: System, directory: Path, people: int = PEOPLE) -> None:
    """`nurture people sample N > people.csv` and `nurture people import people.csv`."""
    file = directory / "people.csv"
    file.write_text(system.cli("people", "sample", str(people)).stdout)
    system.cli("people", "import", str(file))


def reachable(system: System) -> dict[str, dict[str, object]]:
    """Everybody who can be written to, by id."""
    return {
        user["id"]: user
        for user in system.pages("/admin/api/users")
        if user.get("email") or user.get("telegram_chat_id")
    }


def ledger_and_rows_agree(system: System) -> None:
    """What the providers took is what we say was sent: nothing more, nothing twice, nothing less but known doubts."""
    rows = system.deliveries()
    taken = {message["delivery_id"] for message in system.messages() if message["delivery_id"]}
    doubtful = {row["id"] for row in rows if row["status_detail"] == "unknown"}
    sent = {row["id"] for row in rows if row["sent_at"]}
    assert taken - doubtful == sent, (len(taken), len(sent), len(doubtful))
    assert taken <= {row["id"] for row in rows}
    assert system.ledger()["repeats"] == 0


def test_everybody_reachable_gets_one_first_message_and_its_events_come_home(data_dir: Path, tmp_path: Path) -> None:
    with running(data_dir) as system:
        import_sample(system, tmp_path)
        people = reachable(system)
        answer = system.trigger_all()
        assert answer["started"] == len(people)
        assert answer["started"] + sum(answer["refused_by_reason"].values()) == PEOPLE
        system.quiet(len(people))

        # Each address says by itself what should become of its message.
        wanted = {"+open@": "opened", "+click@": "clicked", "+bounce@": "bounced", "+complain@": "complained"}

        def expected(address: str) -> str:
            return next((status for mark, status in wanted.items() if mark in address), "delivered")

        def arrived() -> bool:
            mails = system.deliveries(channel="email")
            return all(row["status_detail"] == expected(row["recipient_address"]) for row in mails)

        eventually(arrived, within=90, what=f"the events of {PEOPLE} people")
        eventually(lambda: not system.counts().get("pending"), what="the fallbacks")
        rows = system.rows("select user_id::text, fallback_of is not null as fallback from message_deliveries")
        assert Counter(row["user_id"] for row in rows if not row["fallback"]) == Counter(people.keys())
        assert max(Counter(message["to"] for message in system.messages(channel="email")).values()) == 1
        ledger_and_rows_agree(system)
