"""Pure: C12 to C14, the bus says nothing twice and nothing personal, secrets stay secret, nothing grows."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from nurture_local.verify.files import Hit
from nurture_local.verify.history import Snapshot
from nurture_local.verify.inputs import Sample
from nurture_local.verify.verdict import Bad, Verdict, skipped


def c12_bus(history: Snapshot, *, hits: Iterable[Hit] = (), bytes_read: int = 0) -> Verdict:
    """Message ids are unique within the window; no address stands in a message or (`hits`) in the store's files."""
    bus = history.bus
    bad = _by_file(hits)
    notes = [f"{bytes_read:,} bytes of its files"] if bytes_read else []
    if (bus is None or bus.messages is None) and not bytes_read:
        return skipped("C12", "bus", "its messages were not read")
    messages = (bus.messages if bus else None) or ()
    windows = {one.name: one.duplicate_window for one in bus.streams} if bus else {}
    last: dict[tuple[str, str], float] = {}
    for one in messages:
        if one.msg_id is not None:
            at, before = one.at.timestamp(), last.get((one.stream, one.msg_id))
            if before is not None and at - before < windows.get(one.stream, 600.0):
                bad.append(
                    Bad(one.msg_id, f"twice in {one.stream}, {at - before:.1f} s apart, the second as number {one.seq}")
                )
            last[one.stream, one.msg_id] = at
        if one.personal:
            bad.append(Bad(f"{one.stream}:{one.seq}", f"{len(one.personal)} addresses in a message of {one.subject}"))
    return Verdict(check="C12", name="bus", of=len(messages), bad=bad, notes=notes)


def c13_secrets(hits: Iterable[Hit], *, canaries: int, files: int) -> Verdict:
    """No canary stands in any of the files that were searched."""
    if not canaries:
        return skipped("C13", "secrets", "no secrets are known here")
    return Verdict(
        check="C13",
        name="secrets",
        of=files,
        bad=_by_file(hits),
        notes=[f"{canaries} secrets looked for in {files:,} files"],
    )


def _by_file(hits: Iterable[Hit]) -> list[Bad]:
    """One for each file and what stands in it; where it stands first tells where to look."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for hit in hits:
        found[hit.path, hit.label].append(hit.offset)
    return [
        Bad(path, f"{label} stands there {len(at)} times, first at byte {min(at)}")
        for (path, label), at in found.items()
    ]


GROWTH = 1.25
ROOM = 8
"""A process may have this many more of something at the end than at the beginning."""


def c14_resources(samples: Mapping[str, Sequence[Sample]]) -> Verdict:
    """No process opens more and more files (tasks, connections): the last third of the samples, in time order by process,
    needs no more than the first did."""
    known = {name: sorted(values, key=lambda one: one.at) for name, values in samples.items() if len(values) >= 6}
    if not known:
        return skipped("C14", "resources", "it takes six samples of a process or more")
    bad: list[Bad] = []
    for name, values in sorted(known.items()):
        third = len(values) // 3
        began, ended = (median(one.value for one in part) for part in (values[:third], values[-third:]))
        if ended > began * GROWTH + ROOM:
            bad.append(Bad(name, f"it had {began:g} at first and {ended:g} at the end"))
    return Verdict(check="C14", name="resources", of=len(known), bad=bad, notes=[f"{len(known)} processes"])
