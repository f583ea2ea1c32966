"""The flags of `lbcore run`, declared once: typer is told of them (`run_command`), and a plain command line is read without it.

To load typer, which loads pydantic, would double what a start costs.
"""

from __future__ import annotations

from typing import NamedTuple

from lbcore.config import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from lbcore.config.option import Option

_METAVARS = {"duration": "DURATION", "size": "BYTES", "int": "N", "access_log": "PATH|stdout|stderr|syslog"}

_LISTEN = (
    "An address that clients connect to: MODE://HOST:PORT, with MODE tcp, udp, tls, http or https; port 0: any free port."
    " May be given several times."
)


class RunFlag(NamedTuple):
    """A flag. metavar: None where it takes no value. many: it may be given several times. short: the same in one letter."""

    name: str
    metavar: str | None
    help: str
    many: bool = False
    short: str | None = None

    @property
    def words(self) -> list[str]:
        """How it is written."""
        return [*([self.short] if self.short else []), f"--{self.name.replace('_', '-')}"]

    @property
    def unsaid(self) -> bool | None:
        """What it is when it is not given."""
        return False if self.metavar is None else None


def flag_of(option: Option) -> RunFlag:
    """The flag of an option: its help, and a metavar that says what is given."""
    if option.kind == "flag":
        return RunFlag(option.name, None, _help(option))
    own = _METAVARS.get(option.name) or _METAVARS.get(option.kind, option.name.upper())
    return RunFlag(option.name, "|".join(option.choices) or own, _help(option))


def _help(option: Option) -> str:
    allowed = "" if option.kind in ("flag", "choice") else f" ({option.allowed})"
    return f"{option.help[0].upper()}{option.help[1:]}{allowed}."


def _asked(table: Iterable[Option]) -> list[Option]:
    """The options that ask for a flag."""
    return [option for option in table if option.flag]


OF_LISTENERS = [option.name for option in _asked(options.LISTENER)]
OF_POOL = [option.name for option in _asked(options.POOL)]
OF_TOP = [option.name for option in _asked(options.TOP)]
FLAGS = (
    RunFlag("config", "FILE", "The configuration, a TOML file.", short="-c"),
    RunFlag("listen", "URL", _LISTEN, many=True),
    RunFlag("cert", "FILE", "PEM file of the certificate, then its chain, for each --listen of mode https or tls."),
    RunFlag("key", "FILE", "PEM file of the private key of --cert; default: the key is in the file of --cert."),
    RunFlag(
        "backend",
        "ADDRESS[,weight=N][,backup]",
        "A server to send sessions to: HOST:PORT, or unix:/PATH. May be given several times.",
        many=True,
    ),
    *(flag_of(option) for option in _asked(options.POOL)),
    RunFlag("health", "PATH|tcp|off", "How backends are probed: GET PATH, a TCP connect, or not at all."),
    RunFlag("admin", "HOST:PORT|unix:PATH|off", "Where the admin server listens; default: 127.0.0.1:9900."),
    *(flag_of(option) for option in (*_asked(options.TOP), *_asked(options.LISTENER))),
)


def read_plainly(arguments: Sequence[str]) -> dict[str, Any] | None:
    """What the flags say, by their names; None: they are not in plain form, such as --help, an unknown word or no value."""
    said: dict[str, Any] = {flag.name: flag.unsaid for flag in FLAGS}
    by_word = {word: flag for flag in FLAGS for word in flag.words}
    words = iter(arguments)
    for word in words:
        name, given, value = word.partition("=")
        flag = by_word.get(name)
        if flag is None or (given and (flag.metavar is None or name == flag.short)):
            return None
        if flag.metavar is None:
            said[flag.name] = True
            continue
        if not given:
            value = next(words, "-")
            if value.startswith("-"):
                return None
        said[flag.name] = [*(said[flag.name] or []), value] if flag.many else value
    return said


def run(said: dict[str, Any]) -> int:
    """Run a balancer as the flags say, by their names: the exit code."""
    from pathlib import Path

    from lbcore.cli import serve
    from lbcore.cli.flags import Flags

    flags = Flags(
        listen=said["listen"] or [],
        backends=said["backend"] or [],
        health=said["health"],
        admin=said["admin"],
        pem=(said["cert"], said["key"]),
        limits={name: said[name] or None for name in OF_LISTENERS},
        pool={name: said[name] for name in OF_POOL},
        top={name: said[name] or None for name in OF_TOP},
    )
    return serve.main(None if said["config"] is None else Path(said["config"]), flags)
