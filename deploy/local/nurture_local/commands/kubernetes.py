"""kube-secret: what `deploy/kubernetes` takes its values from."""

from pathlib import Path

from nurture_local.terminal import Failure, console


def kube_secret(file: Path = Path("deploy/kubernetes/secret.yaml"), *, compose_env: Path | None = None) -> int:
    """Write the Secret of deploy/kubernetes: secrets made once, DATABASE_URL and providers' keys from this environment.

    Run it again after a change of the environment: what was made stays. Only its owner can read the file.

    Parameters
    ----------
    file
        The manifest to write, for `kubectl apply`.
    compose_env
        Go on with the secrets and settings of an installation in containers, from its deploy/.env.
    """
    import os

    from nurture_chassis.settings import SettingsError, email_mode

    from nurture_local import compose_env as compose
    from nurture_local import durable, kube_secret

    try:
        before = compose.read(compose_env.read_text(encoding="utf-8")) if compose_env else {}
        if file.exists():
            before |= kube_secret.read(file.read_text(encoding="utf-8"))
        made = kube_secret.make(before, os.environ)
        durable.write(file, kube_secret.write(made).encode())
    except SettingsError as error:
        raise Failure(str(error), code=2) from None
    except compose.NotWritable as error:
        raise Failure(str(error)) from None
    except ValueError:
        raise Failure(f"{file} was changed to something that cannot be read") from None
    except OSError as error:
        raise Failure(f"cannot use {error.filename or file}: {error.strerror}") from None
    telegram = "LIVE (Telegram)" if made.get("TELEGRAM_BOT_TOKEN") else "off"
    mode = email_mode(made["EMAIL_PROVIDER"], live=True)
    console.print(f"{file}: email {mode}, telegram {telegram}, reached at {made['PUBLIC_URL']}", markup=False)
    if made.get(kube_secret.CA_FILE):
        console.print("The file of SMTP_CA_FILE goes beside it:")
        console.print(
            "kubectl create configmap -n nurture nurture-relay-authority --from-file=ca.crt=FILE",
            soft_wrap=True,
            markup=False,
        )
    return 0
