"""Whose signature on a certificate counts."""

import ssl

from nurture_chassis.settings import SettingsError


def trusting(name: str, path: str) -> ssl.SSLContext:
    """For connections to whom an authority of this PEM file has signed for, and nobody else's; without a path the system's.

    Raises SettingsError that calls the file by its setting's `name`.
    """
    try:
        context = ssl.create_default_context(cafile=path or None)
    # Which is an OSError too.
    except ssl.SSLError:
        raise SettingsError(_empty(name)) from None
    except OSError as error:
        raise SettingsError(f"{name} points to a file that cannot be read: {error.strerror}") from None
    if path and not context.cert_store_stats()["x509"]:
        raise SettingsError(_empty(name))
    return context


def _empty(name: str) -> str:
    return f"{name} points to a file without a certificate: it takes PEM, with -----BEGIN CERTIFICATE-----"
