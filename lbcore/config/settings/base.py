"""The common ground of all settings: filled from their options, checked, comparable."""

from __future__ import annotations

from lbcore.config.option import did_you_mean
from lbcore.config.option import is_token as is_token
from lbcore.config.secret import Secret
from lbcore.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any, ClassVar, Self

    from lbcore.config.option import Option


class Settings:
    """The common ground of all settings: keyword-only, checked, comparable, printable."""

    __slots__: tuple[str, ...] = ("said",)
    OPTIONS: tuple[Option, ...] = ()
    KEY = ""
    """How errors name this kind of settings."""
    said: frozenset[str]
    """The options that were given, by name: the others have their defaults."""

    def __init__(self, **values: Any) -> None:
        """Raises ConfigError with all that is wrong. said: replace() alone passes it."""
        said = values.pop("said", None)
        self.said = frozenset(name for name, value in values.items() if value is not None) if said is None else said
        problems = [f"{self.KEY}{problem}" for problem in self._fill(values)]
        if not problems:
            problems = [f"{self.KEY}{problem}" for problem in self.check()]
        if problems:
            raise ConfigError(problems)

    def _fill(self, values: dict[str, Any]) -> Iterable[str]:
        """Set what the options describe; yield what is wrong. What is left in values belongs to the subclass."""
        for option in self.OPTIONS:
            if option.attribute != option.name and option.attribute in values:
                ms = values.pop(option.attribute)
                values[option.name] = None if ms is None else ms / 1000
            if option.attribute not in self.__slots__:
                continue
            if values.get(option.name) is None:
                values.pop(option.name, None)
                setattr(self, option.attribute, option.default)
                continue
            try:
                setattr(self, option.attribute, option.parse(values.pop(option.name)))
            except ValueError as error:
                setattr(self, option.attribute, option.default)  # the checks that follow find something
                yield str(error)
        yield from self.take(values)
        for name in values:
            known = [option.name for option in self.OPTIONS]
            yield f"{name}: unknown key{did_you_mean(str(name), known)} (allowed: {', '.join(known)})"

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        """Set what the options do not describe, popping it; yield what is wrong."""
        return ()

    def take_secret(self, name: str, path: Any) -> Iterable[str]:
        """Set a secret from the first line of its file, if one is named."""
        if path is None:
            return
        try:
            setattr(self, name, Secret.from_file(path))
        except ValueError as error:
            yield f"{name}_file: {error}"

    def check(self) -> Iterable[str]:
        """Yield what is wrong between values that are each right."""
        return ()

    def out_of_scope(self, what: str, kinds: Collection[str]) -> Iterable[str]:
        """A line for each key that was set, and does nothing where these are all the kinds (or modes) that it is for."""
        for option in self.OPTIONS:
            more = ("https",) if what == "mode" and "http" in option.scope and "https" not in option.scope else ()
            scope = option.scope + more
            if scope and option.name in self.said and not set(scope) & set(kinds):
                yield f"{option.name}: only for {what} {' or '.join(scope)}, this is {', '.join(kinds)}"

    def values(self) -> dict[str, Any]:
        """All values by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    def advice(self) -> list[str]:
        """What is allowed, but should be otherwise: one line each, with its key."""
        return [
            f"{self.KEY}{name}_file: {value.advice}"
            for name, value in self.values().items()
            if isinstance(value, Secret) and value.advice
        ]

    def replace(self, **changes: Any) -> Self:
        """A copy with changes, by option or attribute, checked anew. Raises ConfigError."""
        kept = self.values()
        for option in self.OPTIONS:
            if option.name in changes:
                kept.pop(option.attribute)
        return type(self)(**{**kept, **changes, "said": self.said | {name.removesuffix("_ms") for name in changes}})

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.values() == other.values()

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self.values().items())
        return f"{type(self).__name__}({inside})"
