"""Edits of headers as the engine reads them: settings in, rows of the segment's routes area out (csrc/layout/segment.h)."""

from __future__ import annotations

import zlib

from lbcore._layout import ffi
from lbcore.config.settings.edits import HSTS, folded, hsts_value
from lbcore.config.settings.templates import VARIABLES, parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from lbcore.config.settings import HeaderEdits, ListenerSettings, PoolSettings, RouteSettings

OF_LISTENER: int = ffi.integer_const("LB_EDITS_OF_LISTENER")
OF_POOL: int = ffi.integer_const("LB_EDITS_OF_POOL")
OF_ROUTE: int = ffi.integer_const("LB_EDITS_OF_ROUTE")
DROPS: int = ffi.integer_const("LB_EDIT_DROPS")
BY_TLS: int = ffi.integer_const("LB_EDIT_BY_TLS")
TEXT: int = ffi.integer_const("LB_PIECE_TEXT")
VALUE: int = ffi.integer_const("LB_PIECE_VALUE")
LINE: int = ffi.integer_const("LB_PIECE_LINE")
END: int = ffi.integer_const("LB_PIECE_END")
_PIECES: dict[str, int] = {
    **{name: ffi.integer_const(f"LB_PIECE_{name.upper()}") for name in VARIABLES},
    **{str(group): ffi.integer_const("LB_PIECE_CAPTURE") + group for group in range(1, 10)},
}
_OWN: dict[str, int] = {
    name: ffi.integer_const(f"LB_OWN_{name.upper().replace('-', '_')}")
    for name in (
        *("host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix", "forwarded"),
        *("client-cert", "x-request-id", "traceparent", "via"),
    )
}

Edit = tuple[str, "str | None", int]
"""A header's name, the template of the line that is added (None: none is), and enum lb_edit_flag."""


def edits_of(edits: HeaderEdits, hsts: str | None = None) -> Iterator[Edit]:
    """The edits of one table, in the order in which their lines are sent."""
    for name in edits.remove:
        yield name, None, DROPS
    for name, value in edits.set.items():
        yield name, value.reveal(), DROPS
    for name, value in edits.add.items():
        yield name, value.reveal(), 0
    if hsts is not None:
        yield HSTS, hsts_value(hsts), DROPS | BY_TLS


class EditRows:
    """The rows of all editors. put: keeps a text, and says where it stands and how long it is."""

    def __init__(self, put: Callable[[bytes], tuple[int, int]]) -> None:
        self._put = put
        self._known: dict[tuple[object, ...], int] = {}
        self.editors: list[dict[str, Any]] = []
        self.edits: list[dict[str, int]] = []
        self.pieces: list[dict[str, int]] = []

    def of_listener(self, listener: ListenerSettings, row: int) -> None:
        """Have what a listener says done to the heads of all its requests."""
        self._editor(OF_LISTENER, row, edits_of(listener.request_headers), edits_of(listener.response_headers, listener.hsts))

    def of_pool(self, pool: PoolSettings, row: int) -> None:
        """Have what a pool says done to the heads of its requests."""
        self._editor(OF_POOL, row, edits_of(pool.request_headers), edits_of(pool.response_headers))

    def of_route(self, route: RouteSettings) -> int:
        """The number of a route's editor, the same for routes that do the same; 0: it has none."""
        return self._editor(OF_ROUTE, 0, edits_of(route.request_headers), edits_of(route.response_headers))

    def _editor(self, kind: int, row: int, request: Iterable[Edit], response: Iterable[Edit]) -> int:
        runs = (tuple(request), tuple(response))
        if runs == ((), ()):
            return 0
        known = (kind, row, runs)
        if known not in self._known:
            self.editors.append({"kind": kind, "row": row, "run": [self._run(run) for run in runs]})
            self._known[known] = len(self.editors)
        return self._known[known]

    def _run(self, edits: tuple[Edit, ...]) -> dict[str, int]:
        """Conditional edits come last, as the engine wants them."""
        always = [edit for edit in edits if not _is_conditional(edit)]
        sometimes = [edit for edit in edits if _is_conditional(edit)]
        dropped = [folded(name).encode() for name, _, flags in always if flags & DROPS]
        names, names_length = self._put(b"".join(bytes([len(name)]) + name for name in dropped))
        pieces, piece_count = self._lines(always)
        first = len(self.edits)
        self.edits += [self._row(edit) for edit in (*always, *sometimes)]
        return {
            "lengths": _bits(len(name) for name in dropped),
            "drops": _bits(_hash(name) for name, _, flags in edits if flags & DROPS),
            "adds": _bits(_hash(name) for name, template, _ in edits if template is not None),
            "edits": first,
            "edit_count": len(edits),
            "conditional": len(sometimes),
            "own": sum({_OWN.get(name.decode(), 0) for name in dropped}),
            "names": names,
            "names_length": names_length,
            "pieces": pieces,
            "piece_count": piece_count,
        }

    def _row(self, edit: Edit) -> dict[str, int]:
        name, _, flags = edit
        at, length = self._put(folded(name).encode())
        piece, piece_count = self._lines([edit])
        own = _OWN.get(folded(name), 0)
        return {
            "name": at,
            "name_length": length,
            "flags": flags,
            "own": own,
            "piece": piece,
            "piece_count": piece_count,
        }

    def _lines(self, edits: Iterable[Edit]) -> tuple[int, int]:
        """The pieces of the lines that these edits add: the first, and how many. Text that never varies is one piece."""
        first, merged = len(self.pieces), ""
        pieces: list[tuple[int, str]] = []
        for name, template, _ in edits:
            if template is None:
                continue
            said = list(parts(template))
            if not any(varies for _, varies in said):
                merged += f"{name}: {''.join(text for text, _ in said)}\r\n"
                continue
            pieces += [(TEXT, merged)] if merged else []
            merged = ""
            pieces += [(LINE, f"{name}: ")]
            pieces += [(_PIECES[text], "") if varies else (VALUE, text) for text, varies in said]
            pieces += [(END, "")]
        pieces += [(TEXT, merged)] if merged else []
        for kind, text in pieces:
            at, length = self._put(text.encode())
            self.pieces.append({"kind": kind, "text": at, "text_length": length})
        return first, len(pieces)


def _is_conditional(edit: Edit) -> bool:
    """Is it for some requests only: of clients that speak TLS, or with a Host?"""
    name, _, flags = edit
    return bool(flags & BY_TLS) or folded(name) == "host"


def _bits(places: Iterable[int]) -> int:
    made = 0
    for place in places:
        made |= 1 << place % 64
    return made


def _hash(name: str) -> int:
    return zlib.crc32(folded(name).encode())
