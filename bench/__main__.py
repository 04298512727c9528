"""`python -m bench`: measure, show, and write JSON when asked."""

import argparse
import sys
from pathlib import Path

import msgspec
from rich.console import Console

from bench import report
from bench.run import NAMES, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__import__("bench").__doc__)
    parser.add_argument("--people", type=int, default=20_000, metavar="N", help="deliveries in each pass (20000)")
    parser.add_argument(
        "--rounds", type=int, default=1, metavar="N", help="rounds of everything; medians are shown (1)"
    )
    parser.add_argument(
        "--only", action="append", choices=NAMES, metavar="NAME", help=f"one of {', '.join(NAMES)}; repeatable"
    )
    parser.add_argument(
        "--long",
        action="store_true",
        help="also replicas, and claims at five million waiting: minutes and 4 GB of disk",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number")
    asked = parser.parse_args()
    only = set(asked.only or (name for name in NAMES if name not in ("waiting", "replicas") or asked.long))
    console, progress = Console(), Console(stderr=True, highlight=False)
    shape = report.machine()
    results = run(asked.people, asked.rounds, only, progress.print)
    report.show(results, shape, console)
    if asked.json:
        asked.json.write_bytes(
            msgspec.json.format(msgspec.json.encode(report.document(results, shape)), indent=1) + b"\n"
        )
    # A missed mark is a finding, not a failure; a message sent twice is one.
    repeated = sum(one.system.repeated for one in (*results.sent, *results.delivered, *results.slow))
    repeated += sum(one.repeated for one in results.telegram)
    if repeated:
        console.print(f"[bold red]{repeated} messages reached the provider twice[/]")
    return 1 if repeated else 0


if __name__ == "__main__":
    sys.exit(main())
