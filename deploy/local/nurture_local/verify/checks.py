"""The checks by their names. Each is a pure function from a snapshot, and what else it needs, to a verdict."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from nurture_local.verify.files import Hit
from nurture_local.verify.history import Snapshot
from nurture_local.verify.inputs import Rate, Refused, Sample
from nurture_local.verify.verdict import Verdict


def c1_duplicates(history: Snapshot) -> Verdict:
    """Nobody got a message twice: no delivery and no key twice in the ledger, none in two claims that both may have
    arrived, none with two provider ids, no second delivery of a step. Those of a step with `on_ambiguous = "retry"` are
    listed, not bad."""
    raise NotImplementedError


def c2_loss(history: Snapshot, *, accepted: Collection[UUID] = ()) -> Verdict:
    """Nothing was lost: every accepted start has its enrolments, every step its delivery, every delivery an end or a place
    where it waits. `accepted`: ids of commands that a client saw accepted, also where the gateway no longer knows them."""
    raise NotImplementedError


def c3_truth(history: Snapshot) -> Verdict:
    """What is said to be sent has an effect or evidence; what is said to have failed has none."""
    raise NotImplementedError


def c4_phantoms(history: Snapshot) -> Verdict:
    """Every effect belongs to a planned delivery, went to its frozen address, and always with the same words."""
    raise NotImplementedError


def c5_window(
    history: Snapshot,
    *,
    kills: Mapping[str, int] | None = None,
    concurrency: Mapping[str, int] | None = None,
    ambiguous: Mapping[str, int] | None = None,
) -> Verdict:
    """Each unknown is an ambiguous attempt without evidence, and there are at most kills × concurrency + ambiguous of them,
    each by channel. Without `kills` they are not bounded. All unknowns are listed."""
    raise NotImplementedError


def c6_projections(history: Snapshot) -> Verdict:
    """Facts equal the fold of the log, scores equal their formula over the log, the streams hold what the outboxes said."""
    raise NotImplementedError


def c7_order(history: Snapshot, *, seed: int = 0, other: Snapshot | None = None) -> Verdict:
    """The log shuffled and tripled gives the same projections. `other`: a history of the same events in another order."""
    raise NotImplementedError


def c8_liveness(history: Snapshot, *, patience: float = 0.0) -> Verdict:
    """Nothing stands still. `patience`: real seconds that something may be under way; 0 for a system that should be quiet."""
    raise NotImplementedError


def c9_suppression(history: Snapshot, *, refused: Iterable[Refused] = (), grace: float = 10.0) -> Verdict:
    """No effect later than `grace` real seconds after a refusal. `refused`: those that a client saw answered with 2xx."""
    raise NotImplementedError


def c10_schedule(history: Snapshot, *, rates: Mapping[str, Rate] | None = None) -> Verdict:
    """No effect before its time, or after it expired unless an attempt may have arrived before; no second busier than the
    rate of its channel."""
    raise NotImplementedError


def c11_counts(history: Snapshot, *, rest: Mapping[str, int] | None = None) -> Verdict:
    """Views, rows, ledger and, if given, the REST summary count the same."""
    raise NotImplementedError


def c12_bus(history: Snapshot, *, hits: Iterable[Hit] = (), bytes_read: int = 0) -> Verdict:
    """Message ids are unique within the window; no address stands in a message or (`hits`) in the store's files."""
    raise NotImplementedError


def c13_secrets(hits: Iterable[Hit], *, canaries: int, files: int) -> Verdict:
    """No canary stands in any of the files that were searched."""
    raise NotImplementedError


def c14_resources(samples: Mapping[str, Sequence[Sample]]) -> Verdict:
    """No process opens more and more files (tasks, connections): the last third of the samples, in time order by process,
    needs no more than the first did."""
    raise NotImplementedError
