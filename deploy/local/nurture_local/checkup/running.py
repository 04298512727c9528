"""Pure: whether the instance runs, each of its processes is ready, the gateway opens to the key, and clocks agree."""

from typing import Any

from nurture_local.checkup.facts import Facts, Process
from nurture_local.checkup.finding import Finding, fail, ok, skip, warn

_SKEW_WARNS, _SKEW_FAILS = 2.0, 30.0


def instance(facts: Facts) -> Finding:
    if facts.remote:
        return skip("instance", f"only {facts.where} is known", "run this beside the instance, with --data-dir")
    if facts.trouble:
        return fail("instance", facts.trouble, "a supervisor that answers", "nurture down, then nurture up --detach")
    if facts.pid is not None:
        return ok("instance", f"runs in {facts.where} (pid {facts.pid})", "running")
    if facts.leftovers:
        left = ", ".join(facts.leftovers)
        return fail("instance", f"killed; still there: {left}", "running", "nurture down, then nurture up --detach")
    return fail("instance", f"none runs in {facts.where}", "running", "nurture up --detach, or name one by --data-dir")


def processes(facts: Facts) -> list[Finding]:
    """A line for each server and service."""
    if facts.remote:
        return [skip("services", "REST tells of the gateway only")]
    return [_process(name, process) for name, process in facts.processes.items()]


def _process(name: str, process: Process) -> Finding:
    if process.state == "stopped":
        return fail(name, "stopped", "ready", f"nurture service start {name}")
    if process.state == "ready" and not process.problems:
        if process.held:
            fix = "nurture resume says what to do; it takes --confirm-restored"
            return warn(name, f"ready, and holds back: {'; '.join(process.held)}", "ready", fix)
        return ok(name, "ready", "ready")
    found = process.state if process.state != "ready" else "not ready"
    if process.problems:
        found += f": {'; '.join(process.problems)}"
    return fail(name, found, "ready", f"read logs/{name}.log in the data dir; nurture service restart {name}")


def gateway(facts: Facts) -> list[Finding]:
    """Whether the gateway answers and takes our key."""
    front = facts.front
    if front is None:
        return []
    if front.trouble:
        how = "set NURTURE_URL to the gateway's address" if facts.remote else "nurture service start gateway"
        return [fail("rest api", front.trouble, f"an answer from {front.url}", how), skip("api key", "no answer")]
    problems = (front.health or {}).get("problems") or []
    answers = (
        fail("rest api", "; ".join(map(str, problems)), "no problems", "nurture service restart gateway")
        if problems
        else ok("rest api", f"{front.url} answers", "answers")
    )
    if front.key_trouble:
        fix = "set NURTURE_API_KEY to the ADMIN_API_KEY of that instance"
        return [answers, fail("api key", front.key_trouble, "accepted", fix)]
    return [answers, ok("api key", "accepted", "accepted")]


def dead_letters(facts: Facts) -> Finding:
    letters = facts.front.letters if facts.front else None
    if letters is None:
        return skip("dead letters", "the gateway did not tell")
    if letters:
        fix = "nurture bus dead shows why; then nurture bus dead --replay ID"
        return warn("dead letters", f"{letters} waiting", "none", fix)
    return ok("dead letters", "none waiting", "none")


def holds(facts: Facts) -> list[Finding]:
    """What is held, and how to let it go. Pausing is no fault; a database that nobody vouches for is."""
    held = facts.front.holds if facts.front else None
    if held is None:
        return [skip("holds", "the gateway did not tell")]
    return [_hold(one) for one in held] or [ok("holds", "nothing is held", "sending")]


def _hold(hold: dict[str, Any]) -> Finding:
    if hold["reason"] == "restored":
        fix = "nurture resume says what to do; it takes --confirm-restored"
        return fail("holds", f"nothing is sent: {hold['detail']}", "a database that was confirmed", fix)
    everything = hold["sequence_type"] == "*"
    what = "everything is" if everything else f"{hold['sequence_type']} is"
    fix = "nurture resume" if everything else f"nurture resume {hold['sequence_type']}"
    return warn("holds", f"{what} paused since {hold['at'][:16].replace('T', ' ')}", "sending", fix)


def clock(facts: Facts) -> Finding:
    """Leases and retries go by the database's clock, tokens and time-outs by ours: they have to agree."""
    skews = {
        "the database": (facts.record or {}).get("skew"),
        "the gateway": facts.front.ahead if facts.front else None,
    }
    known = {name: skew for name, skew in skews.items() if skew is not None}
    if not known:
        return skip("clock", "neither database nor gateway told the time")
    # HTTP dates have whole seconds: a gateway is never known better than that.
    name, skew = max(known.items(), key=lambda pair: abs(pair[1]))
    wanted = f"within {_SKEW_WARNS:g} s of this machine"
    if abs(skew) >= _SKEW_WARNS:
        found = f"{name} is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
        kind = fail if abs(skew) >= _SKEW_FAILS else warn
        return kind("clock", found, wanted, "let both machines keep time by NTP")
    if facts.speed != 1 and facts.any_live:
        fix = "nurture down, then nurture up with another --data-dir"
        return fail("clock", f"{facts.speed:g} times real time, and messages are real", "real time", fix)
    pace = "" if facts.speed == 1 else f"; business time runs {facts.speed:g} times as fast"
    return ok("clock", f"agrees{pace}", wanted)
