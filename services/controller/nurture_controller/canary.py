"""Pure: the canary's one message, as a sequence that nobody publishes."""

from nurture_contracts.canary import PEOPLE, SEQUENCE
from nurture_contracts.commands import StartSequences
from nurture_contracts.ids import derived

from nurture_controller.sequence import MessageStep, Published, Sequence

PUBLISHED = Published(
    derived("canary", "sequence", 1),
    0,
    Sequence(
        format=1,
        type=SEQUENCE,
        title="Canary",
        # Nobody waits for an old one: after a long fault they must not come all at once.
        max_lateness="1h",
        steps=(
            MessageStep(
                when="now",
                subject="Nurture's canary: messages arrive",
                body="This message was planned, sent and reported as any other is. While it keeps coming, so do they.",
            ),
        ),
    ),
)


def is_for_it(command: StartSequences) -> bool:
    """Nobody else may get it: it counts nowhere."""
    return command.single and set(command.user_ids) <= set(PEOPLE.values())
