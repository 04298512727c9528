"""How often somebody may ask: the rule by itself, and over HTTP on a gateway with small numbers."""

import time
from contextlib import ExitStack

import pytest
from gateway_stand import TELEGRAM_SECRET, Gateway, Servers
from hypothesis import given
from hypothesis import strategies as st
from nurture_gateway.limits import KEYS, Limit, caller
from test_health_and_pages import problem

EVENT = {"type": "email.opened", "data": {"tags": [{"name": "tracking_id", "value": "x"}]}}


@given(st.integers(1, 50), st.lists(st.floats(0, 30), max_size=200))
def test_no_minute_has_more_than_two_shares_and_waiting_helps(per_minute: int, gaps: list[float]) -> None:
    limit, now, taken = Limit(per_minute), 1000.0, []
    for gap in gaps:
        now += gap
        wait = limit.take("a", now)
        if wait == 0:
            taken.append(now)
            # One share at once, and what trickled back meanwhile.
            assert sum(at > now - 60 for at in taken) <= 2 * per_minute
        else:
            assert 0 < wait <= 60 / per_minute + 1e-6
            now += wait + 1e-6
            assert limit.take("a", now) == 0
            taken.append(now)
        assert limit.take("b" + str(len(taken)), now) == 0


def test_a_share_comes_at_once_and_trickles_back() -> None:
    limit = Limit(6)
    assert [limit.take("a", 0.0) for _ in range(6)] == [0] * 6
    assert limit.take("a", 0.0) == pytest.approx(10)
    assert limit.take("a", 4.0) == pytest.approx(6)
    assert limit.take("a", 10.0) == 0 and limit.take("a", 10.0) == pytest.approx(10)


def test_what_is_remembered_has_a_bound() -> None:
    limit = Limit(1)
    assert limit.take("first", 0.0) == 0
    for n in range(KEYS):
        limit.take(str(n), 0.0)
    assert limit.take("first", 0.0) == 0 and limit.take(str(KEYS - 1), 0.0) > 0


@pytest.mark.parametrize(
    ("peer", "forwarded", "whom"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("2001:db8::1", None, "2001:db8::/64"),
        ("2001:db8::ffff:1", None, "2001:db8::/64"),
        ("::ffff:192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", " ,", "192.0.2.7"),
        (None, None, ""),
    ],
)
def test_a_caller_is_an_address_or_a_network(peer: str | None, forwarded: str | None, whom: str) -> None:
    assert caller(peer, forwarded) == whom


def test_each_kind_of_path_has_its_limit_and_says_when_to_come_back(servers: Servers) -> None:
    numbers = {
        "ADMIN_REQUESTS_PER_MINUTE": "5",
        "SIGN_IN_ATTEMPTS_PER_MINUTE": "3",
        "BAD_SIGNATURES_PER_MINUTE": "2",
        "TRUST_PROXY": "yes",
    }
    with ExitStack() as stack:
        gateway = Gateway(servers, stack, "limited", **numbers)
        answers = [gateway.http.get("/admin/api/metrics") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        problem(answers[-1], 429, "too_many_requests")
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 12

        def knock(address: str, token: str = "wrong") -> int:
            headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": f"10.0.0.1, {address}"}
            return gateway.anonymous.get("/admin/api/metrics", headers=headers).status_code

        assert [knock("192.0.2.1") for _ in range(4)] == [401, 401, 401, 429]
        assert knock("192.0.2.2") == 401
        assert [gateway.anonymous.get("/admin/api/metrics").status_code for _ in range(5)] == [401] * 5
        browser = gateway.stranger()
        browser.http.headers["X-Forwarded-For"] = "192.0.2.9"
        assert [browser.sign_in("wrong").status_code for _ in range(4)] == [401, 401, 401, 429]
        assert browser.http.get(f"/admin/sign-in/{'x' * 43}").status_code == 429
        old = time.time() - 3600
        assert [gateway.webhook(EVENT, at=old).status_code for _ in range(3)] == [401, 401, 429]
        # What the provider signed is taken all the same, also from there.
        assert [gateway.webhook(EVENT).status_code for _ in range(4)] == [200] * 4
        bot = gateway.anonymous.post("/telegram/webhook", json={}, headers={"X-Forwarded-For": "192.0.2.3"})
        assert bot.status_code == 401
        header = {"X-Telegram-Bot-Api-Secret-Token": TELEGRAM_SECRET}
        assert gateway.anonymous.post("/telegram/webhook", json={"update_id": 1}, headers=header).status_code == 200
