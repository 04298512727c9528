"""The thirteen groups of tests by what they are about: each is a marker (`make test ARGS="-m email_delivery"`).

A test may stand in several groups, and one about none of them (the bus, the command line) in none.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest


class Category(NamedTuple):
    """`title` is for people; a test belongs to it whose id below `tests/` begins with one of `where`."""

    title: str
    where: tuple[str, ...]


CATEGORIES = {
    "sequence_triggering": Category("Sequence Triggering", ("journeys/test_trigger.py", "gateway/test_commands.py")),
    "channel_selection": Category(
        "Channel Selection", ("controller/test_choosing.py", "database/test_seed_functions.py", "journeys/test_second")
    ),
    "engagement_scoring": Category(
        "Engagement Scoring", ("scoring/", "database/test_seed_functions.py", "gateway/test_events_and_scores.py")
    ),
    "message_personalization": Category(
        "Message Personalization",
        (
            "controller/test_wording.py",
            "controller/test_choosing.py::test_words",
            "email/test_email_rendering.py",
            "telegram/test_telegram_rendering.py",
        ),
    ),
    "multi_channel_scheduling": Category(
        "Multi-Channel Scheduling",
        (
            "controller/test_planning.py",
            "controller/test_timing.py",
            "controller/test_operating.py::test_a_pass",
            "database/test_message_requests.py",
        ),
    ),
    "telegram_delivery": Category("Telegram Delivery", ("telegram/", "sandbox/test_sandbox_telegram")),
    "email_delivery": Category("Email Delivery", ("email/", "sandbox/test_sandbox_inbox.py")),
    "delivery_fallback": Category(
        "Delivery Fallback",
        (
            "controller/test_choosing.py::test_a_bounce_goes",
            "controller/test_choosing.py::test_wishes_and_doubts",
            "controller/test_choosing.py::test_every_no_says_why",
            "controller/test_choosing.py::test_no_other_channel",
            "controller/test_choosing.py::test_a_step_bound_to_a_dead_channel",
            "controller/test_choosing.py::test_a_refusal_is_no_reason",
            "controller/test_delivery_facts.py",
            "journeys/test_second_channel.py",
        ),
    ),
    "webhook_handling": Category(
        "Webhook Handling",
        (
            "gateway/test_webhook_rules.py",
            "gateway/test_inbound.py",
            "gateway/test_telegram_over_http.py",
            "email/test_email_observations.py",
            "sandbox/test_sandbox_webhooks.py",
            "faults/test_webhooks.py",
        ),
    ),
    "analytics_generation": Category(
        "Analytics Generation",
        (
            "local/test_verify_projections.py",
            "database/test_seed_views.py",
            "gateway/test_operations.py::test_analytics",
            "gateway/test_evidence.py",
            "gateway/test_variants.py",
            "journeys/test_variants.py",
        ),
    ),
    "user_preferences": Category(
        "User Preferences",
        (
            "gateway/test_people",
            "gateway/test_preference",
            "gateway/test_verification.py",
            "journeys/test_consent.py",
            "telegram/test_telegram_conversations.py",
        ),
    ),
    "error_handling": Category(
        "Error Handling",
        (
            "gateway/test_faults.py",
            "gateway/test_hostile_input.py",
            "gateway/test_limits.py",
            "gateway/test_openapi_contract.py",
            "chassis/test_bus_faults.py",
            "email/test_email_retrying.py",
            "email/test_email_verdicts.py",
            "telegram/test_telegram_verdicts.py",
            "journeys/test_crashes.py",
            "faults/",
        ),
    ),
    "performance_load": Category(
        "Performance Load",
        (
            "bench/",
            "journeys/test_budget.py",
            "journeys/test_replicas.py",
            "email/test_email_pace.py",
            "sandbox/test_sandbox_webhooks.py::test_under_load",
        ),
    ),
}
_HERE = Path(__file__).parent
_TABLE = pytest.StashKey[list[str]]()


def of(item: pytest.Item) -> list[str]:
    """The groups that a test belongs to."""
    id = item.path.relative_to(_HERE).as_posix() + "::" + item.name
    return [name for name, category in CATEGORIES.items() if id.startswith(category.where)]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--categories", action="store_true", help="print the groups of tests, with how many each has")


def pytest_configure(config: pytest.Config) -> None:
    for name, category in CATEGORIES.items():
        config.addinivalue_line("markers", f"{name}: {category.title}")
    # Who asks for a group wants its ordinary tests: what breaks a system on purpose has a command of its own.
    chosen = config.option.markexpr
    if chosen:
        apart = [mark for mark in ("faults", "containers") if mark not in chosen]
        config.option.markexpr = " and not ".join([f"({chosen})", *apart])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each test gets the markers of its groups, and its report their names."""
    for item in items:
        for name in of(item):
            item.add_marker(name)
            item.user_properties.append(("category", name))
    config.stash[_TABLE] = table(items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.option.categories:
        for line in config.stash[_TABLE]:
            terminalreporter.write_line(line)


def table(items: list[pytest.Item]) -> list[str]:
    """A line for each group: number, title, marker, tests; and one for those in no group."""
    groups = [of(item) for item in items]
    counts = Counter(name for names in groups for name in names)
    lines = [
        f"{n:>3}. {category.title:<26} {name:<26} {counts[name]:>5}"
        for n, (name, category) in enumerate(CATEGORIES.items(), 1)
    ]
    return [*lines, f"     {'(about none of these)':<53} {groups.count([]):>5}"]
