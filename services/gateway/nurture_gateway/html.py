"""Pages: Jinja2 templates, autoescaped, without scripts, with one stylesheet of our own."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Response

_pages = Environment(
    loader=PackageLoader("nurture_gateway"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def html(template: str, status: int = 200, **values: Any) -> Response[bytes]:
    """A rendered page."""
    body = _pages.get_template(template).render(**values).encode()
    return Response(
        body, status_code=status, media_type="text/html; charset=utf-8", headers={"Cache-Control": "no-store"}
    )
