"""Every check in its order: first what the later ones stand on."""

from nurture_local.checkup import channels, running, stores
from nurture_local.checkup.facts import Facts
from nurture_local.checkup.finding import Finding


def diagnose(facts: Facts) -> list[Finding]:
    """All findings. Pure. Without an instance there is only one."""
    first = running.instance(facts)
    if first.verdict == "fail":
        return [first]
    return [
        first,
        *running.processes(facts),
        *running.gateway(facts),
        stores.migrations(facts),
        *stores.bus(facts),
        running.dead_letters(facts),
        *running.holds(facts),
        running.clock(facts),
        channels.public_url(facts),
        *channels.email(facts),
        *channels.telegram(facts),
    ]
