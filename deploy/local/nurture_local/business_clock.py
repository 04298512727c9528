"""Business time across restarts: it stands still while nothing runs and never goes back."""

from nurture_chassis.clock import Clock

from nurture_local.instance import ClockOrigin


def at(origin: ClockOrigin, real: float) -> float:
    """Business time, Unix seconds, at a moment of real time."""
    return origin.business + (real - origin.real) * origin.speed


def resume(last: ClockOrigin | None, stopped_at: float | None, speed: float, now: float) -> ClockOrigin | None:
    """The clock of the run that begins `now`; None means plain real time.

    `stopped_at` is when the last run ended cleanly. Without it that run may have gone on until now.
    """
    reached = at(last, min(stopped_at, now) if stopped_at is not None else now) if last else now
    if speed == 1 and reached <= now:
        return None
    return ClockOrigin(speed, now, max(now, reached))


def setting(origin: ClockOrigin | None) -> str | None:
    """As NURTURE_CLOCK."""
    return Clock(origin.speed, origin.real, origin.business).to_setting() if origin else None
