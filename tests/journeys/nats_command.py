"""What the `nats` command asks a server, for machines that have none: `python -m tests.journeys.nats_command …`.

The registries that tests may use have no `nats`. Each of its commands that a page of ours names sends one request of JetStream's
API; here it is sent over a bare socket, and refused answers, strange commands and strange names end with exit code 1, as there.
"""

import json
import sys
from typing import Any

from tests.journeys.bare import Bare


def ask(words: list[str], client: Bare) -> dict[str, Any]:
    """The answer to `stream ls`, `stream info NAME` and so on. Raises SystemExit for what is not known."""
    match words:
        case ["stream", "ls" | "report"]:
            return _answer(client, "STREAM.LIST")
        case ["stream", "info", stream]:
            return _answer(client, f"STREAM.INFO.{stream}")
        case ["stream", "get", stream, "--last-for", subject]:
            return _answer(client, f"STREAM.MSG.GET.{stream}", last_by_subj=subject)
        case ["consumer", "ls" | "report", stream]:
            return _answer(client, f"CONSUMER.LIST.{stream}")
        case ["consumer", "info", stream, durable]:
            return _answer(client, f"CONSUMER.INFO.{stream}.{durable}")
        case _:
            raise SystemExit(f"not a command that a page names: nats {' '.join(words)}")


def _answer(client: Bare, path: str, **asked: object) -> dict[str, Any]:
    answer: dict[str, Any] = client.ask(f"$JS.API.{path}", asked)
    if "error" in answer:
        raise SystemExit(f"nats: {answer['error']}")
    return answer


def main(arguments: list[str]) -> None:
    option, server, *words = arguments
    if option != "--server":
        raise SystemExit("a page names the server first")
    client = Bare(server)
    try:
        sys.stdout.write(json.dumps(ask(words, client)) + "\n")
    finally:
        client.close()


if __name__ == "__main__":
    main(sys.argv[1:])
