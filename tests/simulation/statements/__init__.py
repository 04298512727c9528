"""The named SQL statements over tables in memory. `test_conformance.py` holds them against PostgreSQL.

Each is a function of a session and the statement's own parameters, in its order; it returns the rows of the answer, or how many
rows it touched.
"""

from collections.abc import Callable
from typing import Any

from tests.simulation.statements import chassis, controller, deliveries, email, gateway, telegram, volleys

Statement = Callable[..., Any]


def of(module: Any) -> dict[str, Statement]:
    return {name: value for name, value in vars(module).items() if callable(value) and not name.startswith("_")}


ROOMS: dict[str, dict[str, Statement]] = {
    "gateway": {**of(chassis), **of(gateway)},
    "controller": {**of(chassis), **of(controller), **of(deliveries)},
    "email": {**of(chassis), **of(email), **of(volleys)},
    "telegram": {**of(chassis), **of(telegram)},
}
