"""What an operator does by hand, on a whole system: once more, the queue, a mailbox confirmed, a webhook by command."""

import json
import re
from pathlib import Path
from uuid import uuid4

from tests.journeys.system import System, eventually

CLICK = re.compile(r"https?://[^\s\"<>/]+(/t/c/[A-Za-z0-9_-]+)")
CONFIRM = re.compile(r"https?://[^\s\"<>/]+(/v/[A-Za-z0-9_-]+)")


def test_a_refused_mail_goes_out_once_more_and_is_no_duplicate(system: System) -> None:
    name = f"rea-{uuid4().hex[:8]}"
    person = system.person(name, email=f"{name}@example.test")
    system.answer({"user_id": person, "sequence_type": "onboarding"})
    (first,) = eventually(lambda: system.messages(to=f"{name}@example.test"))
    eventually(lambda: [one for one in system.deliveries(user=person) if one["sent_at"]])
    refused = system.command(f"/admin/api/deliveries/{first['delivery_id']}/resend")
    assert (refused.status_code, refused.json()["code"]) == (409, "may_have_arrived")
    url = f"/admin/api/deliveries/{first['delivery_id']}/resend"
    again = system.command(url, {"may_have_arrived": True})
    assert again.status_code == 201, again.text
    both = eventually(lambda: len(found := system.messages(to=f"{name}@example.test")) == 2 and found)
    assert {one["delivery_id"] for one in both} == {first["delivery_id"], again.json()["delivery_id"]}
    assert len({one["subject"] for one in both}) == 1
    shown = system.api.get(f"/admin/api/deliveries/{again.json()['delivery_id']}").json()
    assert shown["decision"]["resend_of"] == first["delivery_id"] and shown["delivery"]["round"] == 1
    eventually(lambda: not system.counts().get("pending"), what="the end of the second round")
    assert "0 of" in system.cli("verify", "duplicates").stdout
    processed = system.command("/admin/api/nurture/process")
    assert processed.status_code == 200 and processed.json()["planned"] == 0


def test_a_mailbox_is_confirmed_by_its_reader(system: System) -> None:
    name = f"vera-{uuid4().hex[:8]}"
    person = system.person(name, email=f"{name}@example.test")
    sent = system.post(f"/admin/api/users/{name}/verification")
    assert sent.status_code == 202, sent.text
    (mail,) = eventually(lambda: system.messages(to=f"{name}@example.test"))
    (page,) = set(CONFIRM.findall(mail["html"] + mail["text"]))
    preferences = f"/admin/api/users/{person}/preferences"
    assert system.api.get(page).status_code == 200
    assert not system.api.get(preferences).json()["email"]["is_verified"]
    assert system.api.post(page).status_code == 200
    assert system.api.get(preferences).json()["email"]["is_verified"]
    token = page.rpartition("/")[2]
    assert not system.rows("select from email.links where url like '%' || $1 || '%'", token)


def test_the_link_of_a_message_opens_the_persons_own_page(system: System) -> None:
    name = f"pia-{uuid4().hex[:8]}"
    person = system.person(name, email=f"{name}@example.test")
    system.answer({"user_id": person, "sequence_type": "onboarding"})
    (mail,) = eventually(lambda: system.messages(to=f"{name}@example.test"))
    link = CLICK.search(mail["html"])
    assert link
    own = system.api.get(link[1]).headers["location"]
    assert own.startswith(str(system.api.base_url).rstrip("/") + "/p/")
    assert system.api.post(own, data={"preferred_time": "night"}).status_code == 200
    shown = system.api.get(f"/admin/api/users/{person}/preferences").json()
    assert (shown["preferred_time"], shown["email"]["opt_in_sequences"]) == ("night", False)
    refused = system.answer({"user_id": person, "sequence_type": "re_engagement"})
    assert (refused.status_code, refused.json()["code"]) == (422, "no_reachable_channel")


def test_a_webhook_by_command_counts_once(system: System, tmp_path: Path) -> None:
    name = f"web-{uuid4().hex[:8]}"
    person = system.person(name, email=f"{name}+ignore@example.test")
    system.answer({"user_id": person, "sequence_type": "onboarding"})
    (mail,) = eventually(lambda: system.messages(to=f"{name}+ignore@example.test"))
    event = {
        "type": "email.opened",
        "data": {
            "tags": [{"name": "tracking_id", "value": mail["delivery_id"]}],
            "timestamp": "2024-01-01T12:00:00Z",
        },
    }
    file = tmp_path / "opened.json"
    file.write_text(json.dumps(event))
    for _ in range(2):
        assert system.cli("webhook", "send", str(file), "--id", f"msg_{name}").stdout == f"stored: msg_{name}\n"
    url = f"/admin/api/deliveries/{mail['delivery_id']}"
    shown = eventually(lambda: (found := system.api.get(url).json())["delivery"]["opened_at"] and found)
    assert [one["kind"] for one in shown["events"]].count("opened") == 1
    file.write_text("[]")
    assert system.cli("webhook", "send", str(file), check=False).returncode == 1
