"""Pages: Jinja2 templates, autoescaped, without scripts, with one stylesheet of our own."""

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Response
from markupsafe import Markup, escape

_pages = Environment(
    loader=PackageLoader("nurture_gateway"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_CODE = re.compile(r"`([^`]+)`")


def _coded(text: str) -> Markup:
    """Plain text whose `words in backticks` are shown as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just before


_pages.filters["coded"] = _coded


def html(template: str, status: int = 200, **values: Any) -> Response[bytes]:
    """A rendered page."""
    body = _pages.get_template(template).render(**values).encode()
    return Response(
        body, status_code=status, media_type="text/html; charset=utf-8", headers={"Cache-Control": "no-store"}
    )
