"""Postfix as relays are run: STARTTLS demanded, a login, mailboxes of its own, and mail for elsewhere from who logged in. The next
server, which knows nobody, is a second port of it.

Everything is in a folder of its own, on a free port; nothing leaves it.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from nurture_local.ports import free_port

from tests.journeys.system import eventually

HOST = "localhost"
DOMAIN = "x.test"
SENDER = "acme.test"
MAILBOXES = (f"ann@{DOMAIN}", f"bob@{DOMAIN}", f"hello@{SENDER}")
LOGIN = "nurture"
_NOBODY = 65534
_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
myhostname = mx.{domain}
mydestination =
alias_maps =
smtpd_tls_chain_files = {folder}/tls.pem
smtpd_tls_security_level = encrypt
smtpd_sasl_auth_enable = yes
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = {domain}
cyrus_sasl_config_path = {folder}/settings/sasl
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = reject_unlisted_recipient, permit_sasl_authenticated, reject
virtual_mailbox_domains = {domain}, {sender}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = inline:{{ {mailboxes} }}
virtual_uid_maps = static:{nobody}
virtual_gid_maps = static:{nobody}
relayhost = [127.0.0.1]:{next}
"""
_SASL = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
mech_list: PLAIN LOGIN
sasldb_path: {folder}/logins
"""
_MASTER = """\
{port} inet n - n - - smtpd
{next} inet n - n - - smtpd
  -o myhostname=far.test
  -o smtpd_tls_security_level=none
  -o smtpd_sasl_auth_enable=no
  -o {{ smtpd_recipient_restrictions = check_recipient_access static:{{550 5.1.1 nobody of that name}}, reject }}
  -o smtpd_relay_restrictions=permit
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
error unix - - n - - error
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
retry unix - - n - - error
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
virtual unix - n n - - virtual
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A running one. `authority` is the file with who signed for it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.authority = folder / "authority.pem"
        self._mail = folder / "mail"

    def kept(self, domain: str, enough: Callable[[list[bytes]], bool]) -> list[bytes]:
        """The mails in that domain's mailboxes, once there are enough."""

        def mails() -> list[bytes] | None:
            found = [file.read_bytes() for file in self._mail.glob(f"*@{domain}/new/*")]
            return found if enough(found) else None

        return eventually(mails, within=30, what=f"enough mail at {domain}")


@contextmanager
def postfix(password: str) -> Iterator[Postfix]:
    """Skips where it cannot be run; fails where NURTURE_REQUIRE holds the word `relay`."""
    lacking = [name for name in ("postfix", "saslpasswd2") if shutil.which(name) is None]
    if lacking or os.geteuid() != 0:
        why = f"Postfix is started by root, with {', '.join(lacking) or 'nothing else'} to be installed first"
        if "relay" in os.environ.get("NURTURE_REQUIRE", "").split():
            pytest.fail(why)
        pytest.skip(f"{why}; on Debian, apt-get install postfix sasl2-bin brings it")
    # Not below pytest's folders: its processes give up being root, and have to come by.
    folder = Path(tempfile.mkdtemp(prefix="nurture-postfix-"))
    folder.chmod(0o755)
    try:
        port = free_port()
        settings = _settings(folder, port, password)
        subprocess.run(["postfix", "-c", settings, "start"], check=True, capture_output=True, timeout=60)
        try:
            _listening(port, folder / "log")
            yield Postfix(folder, port)
        finally:
            subprocess.run(["postfix", "-c", settings, "stop"], check=True, capture_output=True, timeout=60)
    finally:
        shutil.rmtree(folder)


def _settings(folder: Path, port: int, password: str) -> Path:
    for name in ("settings", "settings/sasl", "queue", "data", "mail"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    os.chown(folder / "mail", _NOBODY, _NOBODY)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(str(folder / "tls.pem"))
    (folder / "tls.pem").chmod(0o600)
    mailboxes = ", ".join(f"{{ {name} = {name}/ }}" for name in MAILBOXES)
    places = {"domain": DOMAIN, "sender": SENDER, "mailboxes": mailboxes}
    values = {"folder": folder, "port": port, "next": free_port(), "nobody": _NOBODY, **places}
    for name, text in (
        ("settings/main.cf", _MAIN),
        ("settings/master.cf", _MASTER),
        ("settings/sasl/smtpd.conf", _SASL),
    ):
        (folder / name).write_text(text.format(**values))
    make = ["saslpasswd2", "-p", "-c", "-f", folder / "logins", "-u", DOMAIN, LOGIN]
    subprocess.run(make, check=True, capture_output=True, input=password.encode(), timeout=30)
    shutil.chown(folder / "logins", "postfix")
    return folder / "settings"


def _listening(port: int, log: Path) -> None:
    def greeted() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as talk:
                return talk.recv(4) == b"220 "
        except OSError:
            return False

    eventually(greeted, within=30, what=f"Postfix's greeting ({log})")
