"""An option is declared once: settings, flags, the file and the rule of reloads follow it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from lbcore.cli.commands import app
from lbcore.config import options, settings
from lbcore.config.schema import json_schema
from lbcore.config.settings.balancer import TAKES_RESTART

KINDS = [
    value
    for value in vars(settings).values()
    if isinstance(value, type) and issubclass(value, settings.Settings) and value.OPTIONS
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_settings_have_a_type_for_each_of_their_attributes(kind: type[settings.Settings]) -> None:
    parts = [part for part in kind.__mro__ if issubclass(part, settings.Settings) and part is not settings.Settings]
    assert {name for part in parts for name in part.__annotations__} == set(kind.__slots__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_settings_keep_each_option_or_read_it(kind: type[settings.Settings]) -> None:
    """What they do not keep is a file of a secret, or is taken apart."""
    unkept = {option.name for option in kind.OPTIONS if option.attribute not in kind.__slots__}
    assert {name for name in unkept if not name.endswith("_file")} <= {"bind"}


def test_a_flag_for_each_option_that_asks_for_one() -> None:
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["run", "--help"]).output
    for option in {option.name: option for option in (*options.LISTENER, *options.TOP)}.values():
        assert (f"--{option.name.replace('_', '-')} " in shown) == option.flag, option.name


def test_what_a_reload_does_not_change_is_marked() -> None:
    assert set(TAKES_RESTART) == {option.name for option in options.TOP if option.restart} | {"acme", "admin", "cluster"}
    assert not any(option.restart for option in (*options.LISTENER, *options.POOL, *options.PROBE, *options.LEASE))


def test_the_schema_has_each_option() -> None:
    properties = json_schema()["properties"]
    assert {option.name for option in options.TOP} <= set(properties)
