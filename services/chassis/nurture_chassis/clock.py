"""The one clock: business time may run faster than real time in the sandbox; leases and time-outs never ask it."""

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """Business time: `business_epoch + (real - real_epoch) * speed`, epochs in Unix seconds."""

    def __init__(self, speed: float = 1.0, real_epoch: float = 0.0, business_epoch: float = 0.0) -> None:
        self.speed = speed
        self._real_epoch = real_epoch
        self._business_epoch = business_epoch

    @classmethod
    def from_setting(cls, text: str | None) -> "Clock":
        """`speed@real_epoch@business_epoch`, or nothing for real time. Raises ValueError on anything else."""
        if not text:
            return cls()
        try:
            speed, real_epoch, business_epoch = (float(part) for part in text.split("@"))
        except ValueError:
            raise ValueError(f"NURTURE_CLOCK is {text!r}; it takes speed@real_epoch@business_epoch") from None
        if speed <= 0:
            raise ValueError("NURTURE_CLOCK: speed must be above 0")
        return cls(speed, real_epoch, business_epoch)

    def to_setting(self) -> str:
        return f"{self.speed!r}@{self._real_epoch!r}@{self._business_epoch!r}"

    def now(self) -> datetime:
        """Business time, aware, UTC."""
        return self._at(time.time())

    def at(self, real: datetime) -> datetime:
        """Business time at a moment of real time."""
        return self._at(real.timestamp())

    def _at(self, real: float) -> datetime:
        return datetime.fromtimestamp(self._business_epoch + (real - self._real_epoch) * self.speed, UTC)

    def real(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        return datetime.now(UTC)

    def real_delay(self, business: timedelta) -> float:
        """Real seconds that a stretch of business time takes."""
        return business.total_seconds() / self.speed
