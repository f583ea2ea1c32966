"""A token or password that may be replaced while lbcore runs: files are read again when they change."""

from __future__ import annotations

from lbcore.config.secret import Secret
from lbcore.discovery.found import SourceFailed
from lbcore.tls.files import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.config.settings import SourceSettings
    from lbcore.tls.files import Stamp


class Credential:
    """read: gives the secret, None where there is none; it raises ValueError. path: the file that it reads, if it does. fixed:
    without a file, it gives the same secret always."""

    def __init__(self, read: Callable[[], Secret | None], path: str | None = None, *, fixed: bool = True) -> None:
        self._read, self._path, self._fixed = read, path, fixed
        self._seen: Stamp | None = None
        self._secret: Secret | None = None

    @classmethod
    def of(cls, settings: SourceSettings, name: str) -> Credential:
        """name: token or password."""
        return cls(lambda: settings.secret(name), getattr(settings, f"{name}_file"))

    def text(self) -> str | None:
        """The secret as it is now; a file that cannot be read just now says what it said before. Raises SourceFailed."""
        now = stamp([self._path] if self._path else [])
        if self._seen != now or not self._fixed:
            try:
                self._secret, self._seen = self._read(), now
            except ValueError as error:
                if self._secret is None:
                    raise SourceFailed(str(error)) from None
        return self._secret.reveal() if self._secret is not None else None
