"""compose-env: the settings of `deploy/compose.yaml`."""

from pathlib import Path

from nurture_local.terminal import Failure, console


def compose_env(file: Path = Path("deploy/.env")) -> int:
    """Write what the containers of deploy/compose.yaml are told: secrets made once, providers' keys from this environment.

    Run it again after a change of the environment: what was made stays. Only its owner can read the file.

    Parameters
    ----------
    file
        Where compose looks for it.
    """
    import os

    from nurture_chassis.settings import SettingsError, email_mode

    from nurture_local import compose_env as settings
    from nurture_local import durable

    try:
        before = settings.read(file.read_text(encoding="utf-8")) if file.exists() else {}
        made = settings.make(before, os.environ)
        durable.write(file, settings.write(made).encode())
    except SettingsError as error:
        raise Failure(str(error), code=2) from None
    except settings.NotWritable as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"cannot write {file}: {error.strerror}") from None
    mode = email_mode(made["EMAIL_PROVIDER"], live=made["NURTURE_SANDBOX"] == "0")
    console.print(f"{file}: email {mode}, telegram {made['NURTURE_TELEGRAM']}", markup=False)
    return 0
