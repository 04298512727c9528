"""One line of `nurture doctor`."""

from typing import Literal

from msgspec import Struct

Verdict = Literal["ok", "warn", "fail", "skip"]


class Finding(Struct, frozen=True, kw_only=True):
    """What was looked at, found and wanted, and how to mend it. `skip`: it could not be looked at from here."""

    check: str
    verdict: Verdict
    found: str
    wanted: str = ""
    fix: str = ""


def ok(check: str, found: str, wanted: str = "") -> Finding:
    return Finding(check=check, verdict="ok", found=found, wanted=wanted)


def warn(check: str, found: str, wanted: str, fix: str) -> Finding:
    return Finding(check=check, verdict="warn", found=found, wanted=wanted, fix=fix)


def fail(check: str, found: str, wanted: str, fix: str) -> Finding:
    return Finding(check=check, verdict="fail", found=found, wanted=wanted, fix=fix)


def skip(check: str, why: str, fix: str = "") -> Finding:
    return Finding(check=check, verdict="skip", found=f"not checked: {why}", fix=fix)
