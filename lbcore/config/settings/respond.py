"""The fixed response of a route."""

from __future__ import annotations

from lbcore.config import options
from lbcore.config.option import size_text, slots
from lbcore.config.settings.base import Settings
from lbcore.regular_file import read_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MAX_BODY = 32 << 10
"""LB_FIXED_BYTES of csrc/layout/words.h."""
MAX_TYPE = 127
NO_CONTENT = 204
ALLOWED = range(200, 205)
"""Of successful statuses: 205 and 206 mean what a fixed response cannot do. A redirect (3xx) has an option of its own."""


class RespondSettings(Settings):
    """A status and a body, which a route responds with in the place of a pool."""

    OPTIONS = options.RESPOND
    __slots__ = slots(options.RESPOND, "content")
    KEY = "respond."

    status: int
    body: str | None
    body_file: str | None
    content_type: str
    content: bytes
    """The body, wherever it was said."""

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        values.pop("content", None)  # replace() has it read anew
        self.content_type = self.content_type or "text/plain; charset=utf-8"
        self.content = (self.body or "").encode()
        if self.body_file is not None:
            try:
                self.content = read_regular(self.body_file, MAX_BODY, size_text(MAX_BODY))
            except (OSError, ValueError) as error:
                yield f"body_file: {self.body_file!r} cannot be read ({getattr(error, 'strerror', None) or error})"

    def check(self) -> Iterable[str]:
        if self.status not in ALLOWED and self.status < 400:
            yield f"status: {self.status} is not allowed (allowed: 200 to 204, or 400 to 599; redirect has its own)"
        if self.body is not None and self.body_file is not None:
            yield "body_file: a response has one of body and body_file"
        if self.content and self.status == NO_CONTENT:
            yield "status: 204 has no body"
        if not self.content_type.isascii() or "/" not in self.content_type or len(self.content_type) > MAX_TYPE:
            yield (
                f"content_type: {self.content_type!r} is not allowed (allowed: a media type such as text/html; charset=utf-8, "
                f"at most {MAX_TYPE} characters)"
            )
