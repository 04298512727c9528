"""Pure: C2, nothing was lost."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from datetime import timedelta
from uuid import UUID

from nurture_local.verify import ties
from nurture_local.verify.history import Command, Delivery, EmailClaim, Snapshot
from nurture_local.verify.verdict import Bad, Verdict
from nurture_local.verify.ways import Ways

KEPT = timedelta(days=34)
"""Channels keep pages and claims for 35 days."""
Found = tuple[Bad, bool]
"""What was found, and whether it may still come right by itself."""

_SEND = {
    "email": ("controller", "nurture.cmd.email.send_emails", "email-send"),
    "telegram": ("controller", "nurture.cmd.telegram.send_telegrams", "telegram-send"),
}
_SETTLED = {
    "email": ("email", "nurture.evt.email.settled", "controller-email-settled"),
    "telegram": ("telegram", "nurture.evt.telegram.settled", "controller-telegram-settled"),
}


def c2_loss(history: Snapshot, *, accepted: Collection[UUID] = (), quiet: bool = False) -> Verdict:
    """Nothing was lost: every accepted start has its enrolments, every step its delivery, every delivery an end or a place
    where it waits. `accepted`: ids of commands that a client saw accepted, also where the gateway no longer knows them.
    `quiet`: everything should have ended by now, so what is still open counts as lost."""
    ways = Ways(history)
    found = [
        *_starts(history, ways, accepted), *_requests(history), *_steps(history), *_members(history), *_open(history, ways),
    ]  # fmt: skip
    # The same loss can show in several places; the first tells best.
    lost: dict[str, Bad] = {}
    still: dict[str, Bad] = {}
    for bad, may_end in found:
        (still if may_end and not quiet else lost).setdefault(bad.id, bad)
    still = {id: bad for id, bad in still.items() if id not in lost}
    starts = sum(one.kind == "trigger" for one in history.commands.values())
    return Verdict(
        check="C2", name="lost", of=starts + len(history.deliveries), bad=list(lost.values()), open=list(still.values()),
        notes=[f"{starts:,} starts, {len(history.enrolments):,} enrolments, {len(history.deliveries):,} deliveries"],
    )  # fmt: skip


def _starts(history: Snapshot, ways: Ways, accepted: Collection[UUID]) -> Iterator[Found]:
    for id in accepted:
        if id not in history.commands:
            yield Bad(str(id), "a command that a client saw accepted, and the gateway has no row of it"), False
    begun = Counter(one.command_id for one in history.enrolments.values())
    for command in history.commands.values():
        if command.kind == "trigger":
            yield from _start(history, ways, command, begun[command.id])


def _start(history: Snapshot, ways: Ways, command: Command, begun: int) -> Iterator[Found]:
    id, answer, job = str(command.id), history.answers.get(command.id), history.jobs.get(command.id)
    if answer is None and command.state == "settled":
        return  # refused at the door: nobody heard of it
    if job is not None and begun != job.started:
        yield Bad(id, f"its job counted {job.started} people started, and there are {begun} enrolments"), False
    if answer is None:
        if job is not None:
            yield Bad(id, f"its job has come to {job.cursor} of {job.people} people"), True
        elif command.expires_at > history.taken_at:
            why = ways.under_way("gateway", "nurture.cmd.controller.start_sequences", "controller-start")
            yield (
                Bad(id, f"a start that the controller has not answered: {why or 'and nothing is on its way'}"),
                bool(why),
            )
        return
    wanted = (answer.started or 0) if job is not None else int(answer.status < 300)
    if begun != wanted:
        yield Bad(id, f"answered with {wanted} started, and there are {begun} enrolments"), False
    if answer.enrolment_id is not None and answer.status < 300 and answer.enrolment_id not in history.enrolments:
        yield Bad(id, f"answered with enrolment {answer.enrolment_id}, which is not there"), False
    if command.state == "settled":
        if command.status != answer.status:
            yield Bad(id, f"the caller was told {command.status}, and the controller decided {answer.status}"), False
    elif command.expires_at > history.taken_at:
        why = ways.under_way("controller", "nurture.evt.controller.command_settled", "gateway-settled")
        yield Bad(id, f"answered, but the caller has not been told: {why or 'and nothing is on its way'}"), bool(why)


def _requests(history: Snapshot) -> Iterator[Found]:
    """What was asked for in SQL is planned, cancelled, or still to come."""
    for one in history.requests:
        if one.next_at is None and one.cancelled_at is None and one.id not in history.deliveries:
            yield Bad(str(one.id), "a message that was asked for in SQL, and its delivery is not there"), False


def _steps(history: Snapshot) -> Iterator[Found]:
    planned: dict[UUID, int] = defaultdict(int)
    for one in history.deliveries.values():
        planned[one.enrolment_id] |= 1 << one.step
        if one.enrolment_id not in history.enrolments:
            yield Bad(str(one.id), f"a delivery of enrolment {one.enrolment_id}, which is not there"), False
    for enrolment in history.enrolments.values():
        first = enrolment.step - 1 if enrolment.single else 1
        missing = [step for step in range(first, enrolment.step) if not planned[enrolment.id] >> step & 1]
        if missing:
            steps = ", ".join(map(str, missing))
            yield (
                Bad(str(enrolment.id), f"it stands at step {enrolment.step} and has no delivery of step {steps}"),
                False,
            )


def _members(history: Snapshot) -> Iterator[Found]:
    """Every member of a channel's page has a claim, every member of a settled claim an end or another claim."""
    claims = ties.email_claims(history)
    since = history.taken_at - KEPT
    for page in history.pages:
        if not page.test and page.claim_id is not None and page.received_at >= since:
            for member in page.members:
                why = _without_end(member, claims.get(member), page.claim_id)
                if why:
                    yield Bad(str(member), f"in email's page {page.id}, and {why}"), False
    for page in history.telegram_pages:
        if page.received_at >= since:
            for member in page.members:
                if member not in history.telegram_claims:
                    yield Bad(str(member), f"in telegram's page {page.id}, and it has no claim"), False


def _without_end(member: UUID, claims: list[EmailClaim] | None, claim_id: UUID) -> str | None:
    if not claims:
        return f"no claim has it, also not the page's claim {claim_id}"
    if any(claim.state == "open" or member in claim.results for claim in claims):
        return None
    return f"its last claim {claims[-1].id} is settled without a word about it"


def _open(history: Snapshot, ways: Ways) -> Iterator[Found]:
    waiting = [one for one in history.deliveries.values() if one.open]
    if not waiting:
        return
    claims, pages = ties.email_claims(history), ties.pages(history)
    for one in waiting:
        place = _in_email(one, claims) if one.channel == "email" else _in_telegram(one, history)
        if place is None and one.id in pages:
            # A page without a claim waits; one whose claim does not know its member is told of above.
            place = f"waits in {one.channel}'s page {pages[one.id].id}"
        if place is not None and not place.startswith("settled"):
            yield Bad(str(one.id), place), True
            continue
        way = ways.under_way(*(_SEND if place is None else _SETTLED)[one.channel])
        what = place or f"planned, and {one.channel} does not know it"
        yield Bad(str(one.id), f"{what}: {way or 'and nothing is on its way'}"), bool(way)


def _in_email(one: Delivery, claims: dict[UUID, list[EmailClaim]]) -> str | None:
    for claim in reversed(claims.get(one.id, [])):
        if claim.state == "open":
            return f"in the open claim {claim.id}, attempt {claim.attempt}"
        if one.id in claim.results:
            return f"settled as {claim.results[one.id].outcome} by claim {claim.id}, which the controller has not heard"
    return None


def _in_telegram(one: Delivery, history: Snapshot) -> str | None:
    claim = history.telegram_claims.get(one.id)
    if claim is None:
        return None
    if claim.state == "settled":
        return f"settled as {claim.outcome}, which the controller has not heard"
    return f"{claim.state}, attempt {claim.attempt}"
