"""The rows, pages and words of the bare pipeline, shared by the reference and the floors."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup
from mjml import mjml2html

PAGE = 100
BATCH = 1000
TABLES = """
drop table if exists enrolments, deliveries;
create table enrolments (
    id uuid primary key, user_id uuid not null, address text not null, name text not null, step smallint not null default 1,
    next_at timestamptz, state text not null default 'active'
);
create index enrolments_due on enrolments (next_at) where state = 'active';
create table deliveries (
    id uuid primary key, enrolment_id uuid not null, user_id uuid not null, step smallint not null, channel text not null,
    address text not null, template text not null, subject text not null, provider_id text, status text not null,
    scheduled_at timestamptz not null, sent_at timestamptz, delivered_at timestamptz,
    unique (enrolment_id, step)
);
create index deliveries_of_user on deliveries (user_id, id);
"""
FILL = """
insert into enrolments (id, user_id, address, name, next_at)
select gen_random_uuid(), gen_random_uuid(), 'person' || n || '@example.com', 'Person' || n, now() - interval '1 minute'
from generate_series(1, $1::int) n
"""
CLAIM = """
update enrolments e set step = step + 1, next_at = null, state = 'completed'
where id = any(array(
    select id from enrolments where state = 'active' and next_at <= now() order by next_at limit $1 for update skip locked))
returning e.id, e.user_id, e.address, e.name
"""
RECORD = """
insert into deliveries (id, enrolment_id, user_id, step, channel, address, template, subject, provider_id, status, scheduled_at,
                        sent_at)
select u.id, u.enrolment_id, u.user_id, 1, 'email', u.address, 'nurture_sequence', u.subject, u.provider_id, 'sent', u.at, u.at
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
     as u (id, enrolment_id, user_id, address, subject, provider_id, at)
on conflict (enrolment_id, step) do nothing
"""
FOLD = """
update deliveries d set status = 'delivered', delivered_at = least(d.delivered_at, u.at)
from unnest($1::uuid[], $2::timestamptz[]) as u (id, at) where d.id = u.id
"""


class Job(msgspec.Struct):
    """One email to send; a page on the bus is a list of these."""

    id: UUID
    enrolment_id: UUID
    user_id: UUID
    address: str
    name: str


class Done(msgspec.Struct):
    """One email that the provider has."""

    id: UUID
    enrolment_id: UUID
    user_id: UUID
    address: str
    subject: str
    provider_id: str
    at: datetime


def layout() -> Template:
    """The layout that Nurture's email room ships, so that both put the same bytes on the wire."""
    source = files("nurture_email").joinpath("layouts", "nurture_sequence@1.mjml").read_text(encoding="utf-8")
    return ImmutableSandboxedEnvironment(autoescape=True).from_string(str(mjml2html(source)))


_PARAGRAPH = '<p style="margin:0 0 16px">{}</p>\n'
_WORDS = (
    "Hi {}, here is the most reliable trick we know. A plan that names a moment gets done far more often than a plan that only "
    "names a goal: when I have poured my morning coffee, then I will write for ten minutes.",
    "The coffee is the reminder, so you do not need to remember anything. Look at what you wrote down yesterday and give it a "
    "moment like that: after something that happens every day anyway.",
)
_CONTENT = "".join(_PARAGRAPH.format(words) for words in _WORDS)
_TEXT = "\n\n".join(_WORDS)
_PREHEADER = Markup("&#8199;&#65279;&#847; ") * 30


def mail(template: Template, job: Job) -> dict[str, Any]:
    """Render one email: one template, three links, no tracking keys to derive."""
    token = job.id.hex
    subject = f"One small promise for this week, {job.name}"
    unsubscribe = f"http://127.0.0.1:8001/u/{token}"
    html = template.render(
        subject=subject,
        preheader=_PREHEADER,
        brand="Nurture",
        user_name=job.name,
        message_content=Markup(_CONTENT.format(job.name)),
        dashboard_url=f"http://127.0.0.1:8001/t/c/{token}",
        unsubscribe_url=unsubscribe,
        tracking_url=f"http://127.0.0.1:8001/t/o/{token}",
        postal_address="",
    )
    return {
        "from": "Nurture <hello@example.com>", "to": [job.address], "subject": subject, "html": html,
        "text": _TEXT.format(job.name), "headers": {"List-Unsubscribe": f"<{unsubscribe}>"},
        "tags": [{"name": "delivery_id", "value": str(job.id)}],
    }  # fmt: skip


def encode(mails: list[dict[str, Any]]) -> bytes:
    return msgspec.json.encode(mails)


async def prepare(connection: asyncpg.Connection, people: int) -> None:
    """Fresh tables with that many people due."""
    await connection.execute(TABLES)
    await connection.execute(FILL, people)
    await connection.execute("vacuum analyze enrolments")


async def record(connection: asyncpg.Connection, page: list[Done]) -> None:
    """A page of outcomes as rows."""
    await connection.execute(
        RECORD,
        [one.id for one in page], [one.enrolment_id for one in page], [one.user_id for one in page],
        [one.address for one in page], [one.subject for one in page], [one.provider_id for one in page],
        [one.at for one in page],
    )  # fmt: skip


def signed(key: bytes, headers: dict[bytes, bytes], body: bytes) -> bool:
    """Whether a webhook carries our signature."""
    stamped = b".".join((headers.get(b"svix-id", b""), headers.get(b"svix-timestamp", b""), body))
    wanted = hmac.new(key, stamped, hashlib.sha256).digest()
    return hmac.compare_digest(b"v1," + base64.b64encode(wanted), headers.get(b"svix-signature", b""))


def now() -> datetime:
    return datetime.now(UTC)
