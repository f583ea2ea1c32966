"""A secret: a text that no repr, log, status or error shows."""

from __future__ import annotations

import hmac
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HIDDEN = "***"


class Secret:
    """A token or a key. Only `reveal()` gives the text; everything that prints gives "***".

    advice: what is wrong with how the secret is kept, in one line; None: nothing.
    """

    __slots__ = ("_text", "advice")

    def __init__(self, text: str, advice: str | None = None) -> None:
        self._text = text
        self.advice: str | None = advice

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Secret:
        """The first line of a file. Raises ValueError, which names the file."""
        try:
            with open(path, encoding="utf-8") as file:
                text, mode = file.readline().strip(), os.fstat(file.fileno()).st_mode
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{os.fspath(path)!r} cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8 text'})"
            ) from None
        readable = stat.S_ISREG(mode) and mode & stat.S_IROTH
        return cls(text, f"{os.fspath(path)!r} can be read by every user of this host (chmod o-r)" if readable else None)

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __len__(self) -> int:
        return len(self._text)

    def __eq__(self, other: object) -> bool:
        """In constant time, with another secret or a text."""
        text = other._text if isinstance(other, Secret) else other
        return isinstance(text, str) and hmac.compare_digest(self._text.encode(), text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled")


def revealed(secret: Secret | str | None) -> str | None:
    """The text of a secret that may be absent, or was given as text."""
    return secret.reveal() if isinstance(secret, Secret) else secret
