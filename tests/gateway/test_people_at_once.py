"""Two who change one person at the same time: the later word stands, as if they had come one after the other."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from gateway_stand import Gateway

Request = tuple[str, str, dict[str, Any]]


def one_behind_the_other(gateway: Gateway, person: dict[str, Any], *requests: Request) -> list[httpx.Response]:
    """All of them are under way while somebody holds the person, each once the one before it waits; then they are let go."""

    async def scene() -> list[httpx.Response]:
        holder = await asyncpg.connect(gateway.servers.admin_url)
        watch = await asyncpg.connect(gateway.servers.admin_url)
        async with httpx.AsyncClient(base_url=gateway.url, headers=gateway.http.headers, timeout=30) as http:
            async with asyncio.timeout(30), holder.transaction():
                await holder.execute("select from gateway.users where id = $1 for update", UUID(person["id"]))
                under_way = []
                for waiting, (method, path, body) in enumerate(requests, 1):
                    under_way.append(asyncio.create_task(http.request(method, path, json=body)))
                    while await watch.fetchval("select count(*) from pg_locks where not granted") < waiting:
                        pass
            answers = await asyncio.gather(*under_way)
        await holder.close()
        await watch.close()
        return answers

    return asyncio.run(scene())


@pytest.mark.parametrize("before", ["email", None])
def test_an_address_is_the_one_that_was_written_last(gateway: Gateway, before: str | None) -> None:
    name = uuid4().hex
    was = before and f"{name}@example.org"
    person = gateway.person(email=was)
    url = f"/admin/api/users/{person['id']}"
    first = {"email": f"{name}-new@example.org", "telegram_chat_id": str(uuid4().int % 10**12 + 1)}
    answers = one_behind_the_other(
        gateway, person, ("PATCH", url, first), ("PATCH", url, {"email": was, "telegram_chat_id": None})
    )
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["email"] == first["email"]
    # Nothing, as it stood before the first: had it been compared with that, it would have changed nothing.
    now = gateway.http.get(url).json()
    assert (now["email"], now["telegram_chat_id"]) == (was, None) == (answers[1].json()["email"], None)


def test_an_address_that_has_just_been_given_up_leads_to_nobody(gateway: Gateway) -> None:
    person = gateway.person(first_name="Ada")
    url = f"/admin/api/users/{person['id']}"
    corrected = f"{uuid4().hex}@example.org"
    answers = one_behind_the_other(
        gateway,
        person,
        ("PATCH", url, {"email": corrected}),
        ("POST", "/admin/api/users", {"email": person["email"], "first_name": "Bob"}),
    )
    assert [answer.status_code for answer in answers] == [200, 201]
    ada, bob = gateway.http.get(url).json(), answers[1].json()
    assert (ada["first_name"], ada["email"]) == ("Ada", corrected)
    assert bob["id"] != ada["id"] and (bob["first_name"], bob["email"]) == ("Bob", person["email"])
