"""A browser without a screen: it keeps cookies and sends the forms of the pages that it is shown."""

from html.parser import HTMLParser
from typing import Any

import httpx

HTML = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


class _Forms(HTMLParser):
    """The forms of a page: where each is sent, and its hidden fields."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str]] = {}
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = given.get("action", "")
            self.found.setdefault(self._open, {})
        elif tag == "input" and given.get("type") == "hidden":
            self.found[self._open].setdefault(given["name"], given.get("value", ""))


class Browser:
    """Follows no redirect by itself."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=30, headers=HTML)

    def page(self, path: str) -> str:
        """A page that has to be there."""
        answer = self.http.get(path)
        assert answer.status_code == 200, (answer.status_code, answer.headers.get("location"), answer.text)
        return answer.text

    def hidden(self, path: str, action: str) -> dict[str, str]:
        """The hidden fields of the form on `path` that is sent to `action`."""
        return _Forms(self.page(path)).found[action]

    def send(self, path: str, action: str, **fields: str) -> httpx.Response:
        """Open a page, fill in its form, send it."""
        return self.http.post(action, data=self.hidden(path, action) | fields)

    def done(self, path: str, action: str, **fields: str) -> str:
        """The same; follows the redirect that says it was done, and gives the page there."""
        answer = self.send(path, action, **fields)
        assert answer.status_code == 303, (answer.status_code, answer.text)
        return self.page(answer.headers["location"].partition("#")[0])

    def sign_in(self, key: str, to: str = "") -> httpx.Response:
        return self.send(f"/admin/sign-in?next={to}", "/admin/sign-in", key=key)

    def cookie(self, part: str) -> Any:
        """The cookie whose name ends so, with its attributes."""
        return next(cookie for cookie in self.http.cookies.jar if cookie.name.endswith(part))

    def close(self) -> None:
        self.http.close()
