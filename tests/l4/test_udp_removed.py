"""A udp listener that a reload removes: its clients are served on, and the listener may come again."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import Command, free_port, wait_for
from orphans import kill_control
from udp_peers import Server, ask, balanced, client, echo, named, settings

from lbcore.errors import PortTaken

if TYPE_CHECKING:
    from lbcore import Balancer
    from lbcore.config.settings import BalancerSettings, ListenerSettings


def without(known: BalancerSettings, *others: ListenerSettings) -> BalancerSettings:
    return known.replace(listeners=list(others))


def reads_nothing(made: socket.socket) -> bool:
    """Does nobody answer?"""
    made.settimeout(0.3)
    made.send(b"?")
    try:
        made.recv(100)
    except (TimeoutError, ConnectionRefusedError):
        return True
    return False


def accepted(lb: Balancer) -> int:
    return int(lb.status()["listeners"][0]["tally"]["accepted"])


@pytest.mark.parametrize("workers", [1, 2])
def test_it_comes_again_while_its_sessions_are_there(workers: int) -> None:
    with Server(echo) as server:
        known = settings([server.address], {"bind": f"udp://127.0.0.1:{free_port()}"}, workers=workers)
        with balanced(settings=known) as lb, client(lb.address) as old:
            where = lb.address
            assert ask(old) == b"?"
            lb.reload(without(known))
            assert ask(old) == b"?", "its client is served on"
            for _ in range(4):
                with client(where) as stranger:
                    assert reads_nothing(stranger), "and no new one"
            for _ in range(3):
                lb.reload(known)
                assert ask(old) == b"?"
                assert accepted(lb) == 0, "the session is the one that it had"
                lb.reload(without(known))
            lb.reload(known)
            for _ in range(8):
                with client(where) as fresh:
                    assert ask(fresh) == b"?"
            assert accepted(lb) == 8


def test_it_comes_again_when_its_sessions_have_ended() -> None:
    with Server(echo) as server:
        bind = f"udp://127.0.0.1:{free_port()}"
        known = settings([server.address], {"bind": bind, "idle_timeout": "500ms"}, workers=2)
        with balanced(settings=known) as lb, client(lb.address) as old:
            assert ask(old) == b"?"
            where = lb.address
            lb.reload(without(known))

            def free() -> bool:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
                    return trial.connect_ex(where) == 0 and _binds(where)

            wait_for(free, "the port is free when the last session has ended")
            lb.reload(known)
            assert ask(old) == b"?"


def _binds(where: tuple[str, int]) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind(where)
        except OSError:
            return False
        return True


def test_another_listener_does_not_get_its_row() -> None:
    """The row is taken while workers have sessions of it."""
    with Server(named(b"one")) as one, Server(named(b"two")) as two:
        known = settings([one.address], {"bind": f"udp://127.0.0.1:{free_port()}", "pool": "default"})
        other = settings([two.address], {"bind": f"udp://127.0.0.1:{free_port()}"}).listeners
        with balanced(settings=known) as lb, client(lb.address) as old:
            assert ask(old) == b"one"
            lb.reload(without(known))
            lb.reload(without(known, *other))
            with client(lb.address) as fresh:
                assert ask(fresh) == b"one"
            assert ask(old) == b"one"


def test_another_address_at_its_port_is_refused_with_the_reason() -> None:
    port = free_port()
    with Server(echo) as server:
        known = settings([server.address], {"bind": f"udp://127.0.0.1:{port}", "idle_timeout": "45s"})
        other = settings([server.address], {"bind": f"udp://0.0.0.0:{port}"})
        with balanced(settings=known) as lb, client(lb.address) as old:
            assert ask(old) == b"?"
            lb.reload(without(known))
            with pytest.raises(PortTaken, match=rf"clients of udp://127.0.0.1:{port}, which was removed, .* silent for 45 s"):
                lb.reload(without(known, *other.listeners))
            lb.reload(known)
            assert ask(old) == b"?"


def test_a_reload_that_fails_leaves_it_removed() -> None:
    with Server(echo) as server, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        known = settings([server.address], {"bind": f"udp://127.0.0.1:{free_port()}"})
        clash = settings([server.address], {"bind": f"tcp://127.0.0.1:{taken.getsockname()[1]}", "name": "clash"})
        with balanced(settings=known) as lb, client(lb.address) as old:
            assert ask(old) == b"?"
            where = lb.address
            lb.reload(without(known))
            with pytest.raises(PortTaken, match="the port is in use"):
                lb.reload(without(known, *known.listeners, *clash.listeners))
            assert ask(old) == b"?"
            with client(where) as stranger:
                assert reads_nothing(stranger)
            lb.reload(known)
            assert ask(old) == b"?"


@pytest.mark.parametrize("again", [True, False], ids=["and comes again", "and is not wanted"])
def test_it_was_removed_before_the_control_plane_was_killed(tmp_path: Path, again: bool) -> None:
    config, ports = tmp_path / "lb.toml", [free_port(), free_port()]
    with Server(echo) as server:

        def write(*listeners: str) -> None:
            config.write_text(
                'name = "shop"\nworkers = 1\ndrain_timeout = "1s"\n'
                + "".join(f'[[listener]]\nbind = "{bind}"\n' for bind in listeners)
                + f'[[pool]]\n[pool.probe]\nkind = "off"\n[[pool.backend]]\naddress = "{server.address}"\n'
            )

        udp, tcp = f"udp://127.0.0.1:{ports[0]}", f"tcp://127.0.0.1:{ports[1]}"
        write(tcp, udp)
        first = Command(tmp_path, "-c", str(config), "--admin", "off")
        with client(("127.0.0.1", ports[0])) as old:
            assert ask(old) == b"?"
            write(tcp)
            assert first.call("/reload")[0] == 200
            kill_control(first, 1)
            if again:
                write(tcp, udp)
            second = Command(tmp_path, "-c", str(config), "--admin", "off")
            try:
                assert ask(old) == b"?"
                with client(("127.0.0.1", ports[0])) as fresh:
                    assert reads_nothing(fresh) is not again
                if not again:
                    write(tcp, udp)
                    code, answer = second.call("/reload")
                    assert (code, "which was removed" in answer["error"]) == (409, True), answer
            finally:
                second.stop()
