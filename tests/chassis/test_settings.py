"""Settings: from the environment or from files, with errors that name and never show."""

from pathlib import Path

import msgspec
import pytest
from nurture_chassis.settings import Secret, SettingsError, load


class Sample(msgspec.Struct, kw_only=True, frozen=True):
    """A room's settings in small."""

    nats_url: str
    secret_key: Secret
    pool: int = 4
    sandbox: bool = False


def test_values_come_from_the_environment_with_their_types() -> None:
    settings = load(Sample, {"NATS_URL": "nats://x", "SECRET_KEY": "s", "POOL": "9", "SANDBOX": "1"})
    assert (settings.nats_url, settings.secret_key.reveal(), settings.pool, settings.sandbox) == (
        "nats://x",
        "s",
        9,
        True,
    )


def test_a_file_stands_in_for_a_value(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    settings = load(Sample, {"NATS_URL": "nats://x", "SECRET_KEY_FILE": str(tmp_path / "key")})
    assert settings.secret_key.reveal() == "from-file"


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match="missing: NATS_URL, SECRET_KEY"):
        load(Sample, {"NATS_URL": " "})


def test_a_malformed_value_is_named_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="POOL") as caught:
        load(Sample, {"NATS_URL": "n", "SECRET_KEY": "s", "POOL": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_an_unreadable_file_is_named() -> None:
    with pytest.raises(SettingsError, match="SECRET_KEY_FILE"):
        load(Sample, {"NATS_URL": "n", "SECRET_KEY_FILE": "/nowhere/at/all"})


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret!r} {secret} {[secret]}"
    assert secret and not Secret("")
