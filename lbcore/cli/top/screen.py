"""top's screen: totals, listeners, pools, and a list of backends that can be steered. Reads only what is on the screen anew."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from rich.segment import Segment as Part
from rich.style import Style
from rich.text import Text
from textual import work
from textual.app import App
from textual.binding import Binding
from textual.containers import Horizontal
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Footer, Input, Label, Static

from lbcore.cli.colours import COLOURS
from lbcore.cli.top import rows as table
from lbcore.engine.segment import SegmentError
from lbcore.errors import LbcoreError
from lbcore.observe.rates import History, Rates, between, sparkline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual import events
    from textual.app import ComposeResult

    from lbcore.cli.top.source import Source

MOST_POOLS = 8
MOST_SOURCES = 4
SOURCES_S = 2.0
"""How often the control plane is asked for sources: shared memory does not have them."""
MOST_LISTENERS = 4


class Backends(ScrollView, can_focus=True):
    """The list: as many lines are drawn as are seen, so that thousands of backends cost what ten do."""

    BINDINGS: ClassVar[list[Any]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "move(-1000000)", show=False),
        Binding("end,G", "move(1000000)", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[table.Row] = []
        self.cursor: int = 0
        self._chosen: str | None = None  # the id under the cursor, which stays with it when the order changes

    @property
    def room(self) -> Size:
        """Cells for lines, beside the scrollbar."""
        return self.scrollable_content_region.size

    @property
    def chosen(self) -> table.Row | None:
        """The backend under the cursor."""
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    def show(self, found: list[table.Row]) -> None:
        """These, from now on."""
        self.rows = found
        places = (place for place, row in enumerate(found) if row.id == self._chosen)
        self.cursor = next(places, min(self.cursor, max(0, len(found) - 1)))
        self.virtual_size: Size = Size(1, len(found))  # as wide as there is room
        self.refresh()

    def _place(self, cursor: int) -> None:
        self.cursor = max(0, min(cursor, len(self.rows) - 1))
        self._chosen = self.chosen.id if self.chosen else None
        top, height = self.scroll_offset.y, self.room.height
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)
        self.refresh()

    def action_move(self, by: int) -> None:
        """The cursor, by so many lines."""
        self._place(self.cursor + by)

    def action_page(self, by: int) -> None:
        """The cursor, by so many screens."""
        self._place(self.cursor + by * max(1, self.room.height - 1))

    def on_click(self, event: events.Click) -> None:
        """The cursor goes where the mouse points."""
        self._place(self.scroll_offset.y + event.y)

    def render_line(self, y: int) -> Strip:
        """One line of the list."""
        at = self.scroll_offset.y + y
        if at >= len(self.rows):
            return Strip.blank(self.room.width, self.rich_style)
        row, chosen = self.rows[at], table.columns(self.room.width)
        base = self.rich_style + Style(reverse=True) if at == self.cursor and self.has_focus else self.rich_style
        if at == self.cursor:
            base += Style(bold=True)
        parts = []
        for column, cell in zip(chosen, table.line(row, chosen), strict=True):
            coloured = column.title in ("state", "")
            ink = COLOURS.get(row.state) if column.title == "state" else "blue"
            parts.append(Part(cell + " " * table.GAP, base + Style(color=ink) if coloured else base))
        return Strip(parts).adjust_cell_length(self.room.width, base)


class AskWeight(ModalScreen[int | None]):
    """The new weight of a backend; None: never mind."""

    BINDINGS: ClassVar[list[Any]] = [Binding("escape", "leave", "Cancel")]
    CSS: ClassVar[str] = "AskWeight { align: center middle; } AskWeight Label, AskWeight Input { width: 50; max-width: 100%; }"

    def __init__(self, address: str, weight: int) -> None:
        super().__init__()
        self._address, self._weight = address, weight

    def compose(self) -> ComposeResult:
        """A line to write in."""
        yield Label(f"Weight of {self._address}, 0 to 256:")
        yield Input(str(self._weight), type="integer", max_length=3, select_on_focus=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Taken, when it is one."""
        if event.value.isdigit() and int(event.value) <= 256:
            self.dismiss(int(event.value))
        else:
            self.query_one(Label).update("A whole number from 0 to 256:")

    def action_leave(self) -> None:
        """Nothing is changed."""
        self.dismiss(None)


class Top(App[None]):
    """source: the balancer. interval_s: between two readings."""

    CSS: ClassVar[str] = """
    #head { height: auto; padding: 0 1; }
    #listeners, #pools, #sources { height: auto; padding: 0 1; margin-top: 1; }
    #sources { display: none; }
    #sources.any { display: block; }
    #columns { height: 1; padding: 0 1; margin-top: 1; text-style: bold; color: $text-muted; }
    Backends { height: 1fr; margin: 0 1; overflow-x: hidden; scrollbar-size-vertical: 1; }
    #filter { display: none; height: 3; }
    #filter.open { display: block; }
    #said { height: 1; padding: 0 1; color: $text-muted; }
    Screen.short #listeners, Screen.short #pools, Screen.short #sources { display: none; }
    """
    BINDINGS: ClassVar[list[Any]] = [
        Binding("d", "act('drain')", "Drain"),
        Binding("r", "act('ready')", "Ready"),
        Binding("w", "weigh", "Weight"),
        Binding("s", "sort", "Sort"),
        Binding("S", "reverse", "Reverse", show=False),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("escape", "clear", "Clear", show=False),
        Binding("q", "quit", "Quit"),
    ]
    ENABLE_COMMAND_PALETTE: ClassVar[bool] = False

    def __init__(self, source: Source, interval_s: float = 1.0) -> None:
        super().__init__(ansi_color=True)
        self._source, self._interval_s = source, interval_s
        self._before: dict[str, Any] | None = None
        self._read_at = 0.0
        self._rates: Rates | None = None
        self._history = History()
        self._sources: list[tuple[str, dict[str, Any]]] | None = []
        self.order: str = "trouble"
        self.backwards: bool = False
        self.wanted: str = ""

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield Static(id="head")
        yield Static(id="listeners")
        yield Static(id="pools")
        yield Static(id="sources")
        yield Static(id="columns")
        yield Backends()
        with Horizontal(id="filter"):
            yield Input(placeholder="pool, address, state or reason")
        yield Static(id="said")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to read."""
        self.query_one(Backends).focus()
        self.read()
        self.set_interval(self._interval_s, self.read)
        self.ask_for_sources()
        self.set_interval(SOURCES_S, self.ask_for_sources)

    def on_resize(self, event: events.Resize) -> None:
        """Less fits a smaller terminal."""
        self.screen_stack[0].set_class(event.size.height < 20, "short")
        self.call_after_refresh(self.draw)

    # --- looking -------------------------------------------------------------------------------------------------

    def read(self) -> None:
        """The next document; when there is none, what was last stays, and the reason is said."""
        try:
            document = self._source.read()
        except (LbcoreError, OSError, SegmentError) as error:
            self._source.state = f"gone: {error}"
            self.draw()
            return
        now, before = time.monotonic(), self._before
        if before and before["pid"] != document["pid"]:
            before, self._history = None, History()
        rates = between(before, document, now - self._read_at)
        self._history.note(
            {name: rate.per_s for name, rate in rates.backends.items()}
            | {f"pool {name}": rate.per_s for name, rate in rates.pools.items()}
            | {"": sum(rate.per_s or 0 for rate in rates.pools.values()) if before else None}
        )
        self._before, self._read_at, self._rates = document, now, rates
        self.draw()

    @work(thread=True, exclusive=True, group="sources")
    def ask_for_sources(self) -> None:
        """From a thread of its own: the control plane may hang."""
        found = self._source.sources()
        if found is not None or self._sources:  # of a balancer that may have none nothing is said
            self._sources = found

    def draw(self) -> None:
        """What is known, on the screen."""
        document, rates = self._before, self._rates
        if document is None or rates is None or not self.is_running:  # as it ends its parts go before its clock
            return
        width, screen = self.size.width - 2, self.screen_stack[0]
        screen.query_one("#head", Static).update(_lines(self._head(document, rates, width)))
        screen.query_one("#listeners", Static).update(_lines(_listeners(document, width)))
        pools = table.pool_lines(document, rates, self._history, width, MOST_POOLS)
        screen.query_one("#pools", Static).update(_lines([Text(line, style=COLOURS.get(state, "")) for line, state in pools]))
        told = table.source_lines(self._sources, width, MOST_SOURCES)
        screen.query_one("#sources", Static).update(_lines([Text(line, style=COLOURS.get(state, "")) for line, state in told]))
        screen.query_one("#sources", Static).set_class(bool(told), "any")
        shown = table.rows(document, rates, self._history, order=self.order, backwards=self.backwards, text=self.wanted)
        listing = screen.query_one(Backends)
        screen.query_one("#columns", Static).update(Text("  ".join(table.title(table.columns(listing.room.width)))))
        listing.show(shown)
        screen.query_one("#said", Static).update(
            Text(self._said(len(shown), sum(len(pool["backends"]) for pool in document["pools"])))
        )

    def _head(self, document: dict[str, Any], rates: Rates, width: int) -> list[Text]:
        name = Text.assemble(
            (document["name"], "bold"),
            "  ",
            (self._source.state, "green" if self._source.state == "serving" else "yellow"),
            f"  pid {document['pid']}  up {document['uptime_s']:.0f} s  {len(document['workers'])} workers",
            f"  datapath {document['datapath']}  lbcore {document['version']}",
        )
        known = [rate.per_s for rate in rates.pools.values() if rate.per_s is not None]
        states = [entry["state"] for pool in document["pools"] for entry in pool["backends"]]
        moved = [table.volume(rates.totals[way]) for way in ("bytes_in", "bytes_out")]
        figures = Text.assemble(
            (f"{table.amount(sum(known) if known else None)}/s", "bold"),
            f"  {sum(worker['active'] for worker in document['workers'])} connections  {moved[0]} in  {moved[1]} out",
            f"  {table.amount(rates.totals['responses_5xx'])} 5xx/s  {states.count('up')} of {len(states)} backends up",
        )
        return [name, figures, Text(sparkline(self._history.of(""), min(width, 60)), style="blue")]

    def _said(self, shown: int, known: int) -> str:
        only = f"  only those with {self.wanted!r}" if self.wanted else ""
        return f"{shown} of {known} backends, by {self.order}{' backwards' if self.backwards else ''}{only}"

    # --- keys ----------------------------------------------------------------------------------------------------

    def action_sort(self) -> None:
        """By the next order."""
        names = list(table.ORDERS)
        self.order = names[(names.index(self.order) + 1) % len(names)]
        self.draw()

    def action_reverse(self) -> None:
        """The other way round."""
        self.backwards = not self.backwards
        self.draw()

    def action_filter(self) -> None:
        """Ask what to look for."""
        box = self.query_one("#filter")
        box.add_class("open")
        box.query_one(Input).focus()

    def action_clear(self) -> None:
        """Show all again."""
        self.query_one("#filter Input", Input).value = ""
        self._leave_filter()

    def _leave_filter(self) -> None:
        self.query_one("#filter").remove_class("open")
        self.query_one(Backends).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Look for it while it is being written."""
        if event.input.parent is self.screen_stack[0].query_one("#filter"):
            self.wanted = event.value.strip()
            self.draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Back to the list."""
        self._leave_filter()

    # --- acting --------------------------------------------------------------------------------------------------

    def action_act(self, verb: str) -> None:
        """To the backend under the cursor."""
        row = self.query_one(Backends).chosen
        if row is not None:
            self.send(verb, row, None)

    def action_weigh(self) -> None:
        """Ask for the weight first."""
        row = self.query_one(Backends).chosen
        if row is None:
            return

        def taken(weight: int | None) -> None:
            if weight is not None:
                self.send("weight", row, weight)

        self.push_screen(AskWeight(row.address, row.weight), taken)

    @work(thread=True)
    def send(self, verb: str, row: table.Row, weight: int | None) -> None:
        """An order to the balancer, which may hang: from a thread of its own."""
        try:
            said, severity = self._source.act(verb, row.address, row.pool, weight), "information"
        except (LbcoreError, OSError) as error:
            said, severity = f"{verb} {row.address}: {error}", "error"
        self.call_from_thread(self.told, said, severity == "error")

    def told(self, text: str, wrong: bool) -> None:
        """What became of an order."""
        self.notify(text, severity="error" if wrong else "information", markup=False)
        self.read()


def _lines(lines: Iterable[Text]) -> Text:
    return Text("\n").join(lines)


def _listeners(document: dict[str, Any], width: int) -> list[Text]:
    found = document["listeners"]
    lines = []
    for entry in found if len(found) <= MOST_LISTENERS else found[: MOST_LISTENERS - 1]:
        expires = f"  certificate until {entry['certificate_expires']}" if entry.get("certificate_expires") else ""
        lines.append(
            Text(f"{entry['name']:<12}  {entry['mode']}://{entry['address']} → {entry['pool'] or 'routes'}{expires}"[:width])
        )
    if len(found) > MOST_LISTENERS:
        lines.append(Text(f"and {len(found) - len(lines)} more listeners"))
    return lines
