"""A sandbox that is busy at the moment of its stop: it ends all the same."""

import asyncio
from pathlib import Path

from nurture_chassis.clock import Clock
from nurture_local.sandbox.chaos import Chaos
from nurture_local.sandbox.courier import Courier
from nurture_local.sandbox.ledger import Due, Ledger


class _Asked(Ledger):
    """Tells when the courier has nothing to do, and is about to wait."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Clock.from_setting(""), 0.05)
        self.idle = asyncio.Event()

    async def next_due(self) -> float | None:
        at = await super().next_due()
        self.idle.set()
        return at


async def _nobody(_: Due) -> str:
    raise AssertionError("nothing is due")


def test_a_courier_that_is_woken_while_it_is_stopped_stops(tmp_path: Path) -> None:
    async def run() -> None:
        ledger = _Asked(tmp_path / "ledger.sqlite3")
        ledger.open()
        for turns in range(8):
            courier = Courier(ledger, Chaos(tags_as_array=False), "", None, _nobody)
            ledger.idle.clear()
            courier.start()
            await ledger.idle.wait()
            courier.wake()
            for _ in range(turns):
                await asyncio.sleep(0)
            stop = asyncio.create_task(courier.stop())
            done, _ = await asyncio.wait({stop}, timeout=10)
            assert done, f"woken {turns} turns of the loop before its stop, it goes on"
        ledger.close()

    asyncio.run(run())
