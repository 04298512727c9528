"""Settings from the environment: a struct's field `from_email` is read from FROM_EMAIL, or from the file in FROM_EMAIL_FILE."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from nurture_chassis.tokens import Tokens


class SettingsError(Exception):
    """A setting is missing or malformed; the text names it and never shows its value."""


class Secret:
    """A string that does not show itself. `reveal()` gives it up, at the place of use only."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


class ServiceSettings(msgspec.Struct, kw_only=True, frozen=True):
    """What every service is told. Times in seconds."""

    database_url: Secret
    """PostgreSQL 15 or newer; `nurture up` takes the administrator's address, a service its own role's."""
    nats_url: str
    """Servers of one NATS, separated by commas."""
    secret_key: Secret
    """Links, tokens and the roles' passwords come from it; generated once for an embedded server."""
    secret_key_previous: Secret = Secret("")
    """The SECRET_KEY before, or several with commas: links in messages that were sent under it go on working."""
    environment: Literal["development", "production"] = "development"
    """`production` refuses to start without keys, secrets and https."""
    public_url: str = "http://127.0.0.1:8001"
    """Where people and providers reach the gateway."""
    publish_schema: str = "public"
    """Where views and functions for others go."""
    database_pool_size: Annotated[int, msgspec.Meta(ge=2, le=200)] = 8
    """Connections that one service process may hold."""
    nurture_clock: str = ""
    """Business time that runs faster, as `nurture up --speed` writes it; empty is the time of now."""
    email_provider: Literal["resend", "smtp"] = "resend"
    """Who emails are given to: Resend, or a relay over SMTP."""
    nurture_sandbox: bool = False
    """Providers are the sandbox; pages and status lines say so."""
    nurture_http_host: str = "127.0.0.1"
    """Where health, metrics and the gateway listen."""
    nurture_http_port: int = 0
    """For health and metrics of one service; 0 is any that is free."""
    otel_exporter_otlp_endpoint: str = ""
    """Where spans go over OTLP/HTTP (`http://host:4318`); empty: nowhere. OpenTelemetry's other names count then as well."""
    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`."""
    log_format: Literal["json", "text"] = "json"
    """One JSON object a line, or text for people."""

    def tokens(self) -> Tokens:
        """Makes links under SECRET_KEY, and reads those of SECRET_KEY_PREVIOUS too."""
        earlier = (key.strip() for key in self.secret_key_previous.reveal().split(","))
        return Tokens(self.secret_key.reveal(), *filter(None, earlier))

    @property
    def mode(self) -> str:
        """What every page and status line says about email."""
        return email_mode(self.email_provider, live=not self.nurture_sandbox)


def email_mode(provider: str, *, live: bool) -> str:
    """What is said about email everywhere: whether it is real, and who it is given to."""
    name = {"resend": "Resend", "smtp": "SMTP"}[provider]
    if live:
        return f"LIVE ({name})"
    return "sandbox" if provider == "resend" else f"sandbox ({name})"


T = TypeVar("T", bound=msgspec.Struct)


def _read(name: str, environ: Mapping[str, str]) -> str | None:
    path = environ.get(f"{name}_FILE")
    if path:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"{name}_FILE points to a file that cannot be read: {error.strerror}") from None
    value = environ.get(name)
    return value.strip() if value and value.strip() else None


def _decode(kind: type, value: Any) -> Any:
    if kind is Secret:
        return Secret(value)
    raise NotImplementedError


_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def load(kind: type[T], environ: Mapping[str, str] = os.environ) -> T:
    """Read `kind`, a msgspec struct, from the environment.

    Raises SettingsError naming every variable that is missing, and the first that is malformed.
    """
    raw: dict[str, Any] = {}
    missing: list[str] = []
    for field in msgspec.structs.fields(kind):
        name = field.name.upper()
        value = _read(name, environ)
        if value is None:
            if field.required:
                missing.append(name)
            continue
        raw[field.name] = _BOOLEANS.get(value.lower(), value) if field.type is bool else value
    if missing:
        raise SettingsError(
            f"missing: {', '.join(missing)}. Set each in the environment, or NAME_FILE to a file with it."
        )
    try:
        return msgspec.convert(raw, kind, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise SettingsError(f"a setting is malformed: {_without_values(str(error))}") from None


def _without_values(text: str) -> str:
    # msgspec names the field as `$.field`; the environment calls it FIELD.
    head, _, path = text.rpartition(" - at `$.")
    return f"{path.rstrip('`').upper()}: {head}" if head else text
