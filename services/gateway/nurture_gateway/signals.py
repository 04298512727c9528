"""Who asked for a pixel or a link: a person, a machine that looks for people, or nobody can tell."""

import re
from typing import Literal

Signal = Literal["human", "machine", "unknown"]

_GMAIL_PREFETCH = "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
_PROXIES = ("GoogleImageProxy", "YahooMailProxy")
_MACHINES = re.compile(
    r"barracuda|proofpoint|mimecast|\btmes\b|ciscosecureemail|fireeye|symantec|forcepoint|trendmicro|sophos|zscaler"
    r"|(?<!cu)bot\b|crawl|spider|preview|scan|headless|phantomjs|puppeteer|playwright|selenium"
    r"|python|curl|wget|okhttp|go-http-client|java/|libwww|httpclient|axios|node-fetch|node\b|\bruby|\bperl|facebookexternalhit",
    re.IGNORECASE,
)
_READERS = re.compile(
    r"\([^)]{3,}\).*(?:Gecko|AppleWebKit|Trident)|Microsoft Outlook|Thunderbird|Apple ?Mail|Opera/", re.IGNORECASE
)
_SPECULATION = re.compile(r"prefetch|preview|prerender", re.IGNORECASE)


def classify(kind: Literal["opened", "clicked"], user_agent: str, purpose: str = "") -> Signal:
    """`purpose` is what Sec-Purpose, Purpose or X-Purpose said. A guess to weigh, never a reason to drop the hit:
    scanners with a browser's User-Agent are told apart later, by their timing."""
    agent = user_agent.strip()
    if not agent or _SPECULATION.search(purpose):
        return "machine"
    if agent == "Mozilla/5.0" or _GMAIL_PREFETCH in agent:
        # Apple's privacy proxy and Gmail's prefetch load every image of every mail, read or not.
        return "machine"
    if any(proxy in agent for proxy in _PROXIES):
        # These fetch when the mail is opened; a click never comes through them.
        return "human" if kind == "opened" else "machine"
    if _MACHINES.search(agent):
        return "machine"
    return "human" if _READERS.search(agent) else "unknown"
