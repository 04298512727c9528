"""A made-up audience: time zones and locales of the world, addresses and chats that the sandbox reacts to."""

import csv
import io
import random
from collections.abc import Iterator
from typing import NamedTuple

COLUMNS = ("external_id", "first_name", "email", "telegram_chat_id", "timezone", "locale", "preferred_time")
DOMAIN = "example.test"  # .test never resolves, so that no mail can leave by mistake

PLACES = (
    ("America/Los_Angeles", "en-US", ("Ava", "Liam", "Mia", "Noah", "Zoe")),
    ("America/New_York", "en-US", ("Emma", "Jack", "Grace", "Owen", "Ruth")),
    ("America/Mexico_City", "es-MX", ("Ximena", "Diego", "Camila", "Emilio")),
    ("America/Sao_Paulo", "pt-BR", ("Beatriz", "João", "Larissa", "Thiago")),
    ("Europe/London", "en-GB", ("Ada", "Arthur", "Imogen", "Nigel")),
    ("Europe/Paris", "fr-FR", ("Chloé", "Gaël", "Inès", "Rémi")),
    ("Europe/Berlin", "de-DE", ("Anke", "Jörg", "Mila", "Veit")),
    ("Europe/Kyiv", "uk-UA", ("Oksana", "Taras", "Леся", "Богдан")),
    ("Africa/Lagos", "en-NG", ("Amara", "Chidi", "Ngozi", "Tunde")),
    ("Africa/Nairobi", "sw-KE", ("Achieng", "Juma", "Wanjiru", "Kip")),
    ("Asia/Dubai", "ar-AE", ("Fatima", "Omar", "ليلى", "Yusuf")),
    ("Asia/Kolkata", "hi-IN", ("Ananya", "Arjun", "Diya", "Rohan")),
    ("Asia/Kathmandu", "ne-NP", ("Asmita", "Bibek", "Sita")),
    ("Asia/Singapore", "en-SG", ("Wei Ling", "Hafiz", "Priya")),
    ("Asia/Tokyo", "ja-JP", ("さくら", "Haruto", "Yui", "Ren")),
    ("Australia/Sydney", "en-AU", ("Isla", "Angus", "Matilda")),
    ("Pacific/Auckland", "en-NZ", ("Aroha", "Nikau", "Ruby")),
)
BEHAVIOURS = (("open", 40), ("click", 22), ("ignore", 12), ("", 16), ("bounce", 6), ("complain", 4))
"""What the sandbox does with a mail to such an address, and how many of a hundred people have it."""
MORNINGS = (("morning", 70), ("", 15), ("07:30", 5), ("08:45", 5), ("09:30", 5))
CHATS = (
    ("1", 14), ("2", 12), ("3", 13), ("4", 15), ("5", 13), ("6", 14), ("8", 6), ("0", 5), ("7", 5), ("9", 3),
)  # fmt: skip
"""What the person behind a chat does is in its last digit: reads (1, 2), replies (3), presses a button (4, 5), follows a
link (6), ignores (8, 0), has blocked the bot (7), blocks it after one message (9)."""
REACH = (("email", 62), ("both", 24), ("telegram", 10), ("none", 4))


class Person(NamedTuple):
    """A line of the file, in the order of COLUMNS; empty text where there is nothing."""

    external_id: str
    first_name: str
    email: str
    telegram_chat_id: str
    timezone: str
    locale: str
    preferred_time: str


def people(number: int, seed: int = 1) -> Iterator[Person]:
    """The same people for the same seed, whatever the number: a larger audience begins with the smaller one."""
    choose = random.Random(seed)  # noqa: S311 - an audience that can be made again, not a secret
    for position in range(1, number + 1):
        zone, locale, names = choose.choice(PLACES)
        name = choose.choice(names)
        behaviour, reach = _weighted(choose, BEHAVIOURS), _weighted(choose, REACH)
        chat = _chat(choose.randrange(10**8, 10**10))
        time = _weighted(choose, MORNINGS)
        local = f"s{seed}-{position}" + (f"+{behaviour}" if behaviour else "")
        yield Person(
            external_id=f"sample-{seed}-{position:06d}",
            first_name=name,
            email=f"{local}@{DOMAIN}" if reach in ("email", "both") else "",
            telegram_chat_id=chat if reach in ("telegram", "both") else "",
            timezone=zone,
            locale=locale,
            preferred_time=time,
        )


def as_csv(audience: Iterator[Person]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(audience)
    return text.getvalue()


def _chat(number: int) -> str:
    # Its own digits choose, so that everybody else stays who they are.
    return f"{number // 10}{_at(CHATS, number // 10 % 100)}"


def _weighted(choose: random.Random, table: tuple[tuple[str, int], ...]) -> str:
    return _at(table, choose.randrange(sum(weight for _, weight in table)))


def _at(table: tuple[tuple[str, int], ...], point: int) -> str:
    for value, weight in table:
        point -= weight
        if point < 0:
            return value
    return table[-1][0]
