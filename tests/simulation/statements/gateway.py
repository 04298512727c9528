"""What the gateway does to contacts when other rooms tell it something."""

from tests.simulation.tables import Session as _Session


def suppress_contacts(s: _Session, channels, deliveries, reasons, ats):
    for channel, delivery, reason, at in zip(channels, deliveries, reasons, ats, strict=True):
        user = s.get("controller.deliveries", delivery)["user_id"]
        if s.get("contacts", (user, channel)):
            s.update("contacts", (user, channel), state=reason, changed_at=at)
    return len(channels)


def chats_state(s: _Session, users, at):
    """A chat that is blocked or gone cannot be written to."""
    for user in users:
        if s.get("contacts", (user, "telegram")):
            s.update("contacts", (user, "telegram"), state="blocked", changed_at=at)
    return len(users)


def consent(s: _Session, user, channel, said, at):
    if s.get("contacts", (user, channel)):
        s.update("contacts", (user, channel), consent=said, changed_at=at)
    return 1


def correct_address(s: _Session, user, channel, front, at):
    contact = s.get("contacts", (user, channel))
    s.update("contacts", (user, channel), address=front + contact["address"], changed_at=at)
    return 1


def command_add(s: _Session, id, kind, at):
    """False for a command that was asked for before: its answer is that of the first time."""
    row = {"id": id, "kind": kind, "created_at": at, "state": "accepted", "status": None, "result": None}
    return [{"added": s.insert("commands", id, row)}]


def settle_command(s: _Session, id, status, result):
    if s.get("commands", id)["state"] == "settled":
        return 0
    s.update("commands", id, state="settled", status=status, result=result)
    return 1
