"""Clients that send junk, stop in the middle of a handshake, or come by the hundred: others are served."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from pathlib import Path

import pytest
from harness import SLOWER, Peer, dial, echo, read_all, reset, wait_for
from http_balancers import figure
from http_peers import Backend
from tls_balancers import HTTPS, TLS, V12, V13, https, refused, request
from tls_peers import (
    Authority,
    ByHand,
    TlsClient,
    balancing,
    shown,
    trusting,
)


@pytest.mark.parametrize("bind", [HTTPS, TLS])
@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\0" * 100,
        b"\x80\x2e\x01\x03\x01" + b"\0" * 50,
        b"\x16\x03\x01\x00\x00" * 40,
        b"\x16\x03\x01\x00\x04\x02\0\0\0",
        b"\x17\x03\x03\x00\x10" + b"x" * 16,
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"SSH-2.0-x\r\n",
        b"\x16\x03\x01\x40\x01" + b"\x01" * 16385,
    ],
)
def test_junk_is_closed_and_counted(site: Path, bind: str, junk: bytes) -> None:
    with Peer(echo) as peer, balancing(bind, peer, listener={"certificates": shown(site)}) as lb:
        with dial(lb.address) as client, contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(junk)
            read_all(client)
        wait_for(lambda: figure(lb, "refused") == 1, "it is counted")
        assert figure(lb, "refused_handshake") + figure(lb, "refused_preread") == 1
        assert peer.connections == 0


@pytest.mark.parametrize("bind", [HTTPS, TLS])
@pytest.mark.parametrize("version", [V12, V13])
def test_a_hello_cut_anywhere(authority: Authority, site: Path, bind: str, version: ssl.TLSVersion) -> None:
    """Then the client closes, or resets, or says no more."""
    listener = {"certificates": shown(site), "header_timeout": "300ms"}
    with Peer(echo) as peer, balancing(bind, peer, listener=listener) as lb, contextlib.ExitStack() as stack:
        context = trusting(authority, version=version)
        with ByHand(lb.address, context) as client:
            hello = client.hello()
        wait_for(lambda: figure(lb, "refused") == 1, "a client that says nothing at all")
        cuts = [1, 2, 5, 6, 9, 11, 43, 44, 76, *range(80, len(hello), 41), len(hello) - 1]
        for cut in cuts:
            with dial(lb.address) as client:
                client.sendall(hello[:cut])
            with dial(lb.address) as client:
                client.sendall(hello[:cut])
                reset(client)
            silent = stack.enter_context(dial(lb.address))
            silent.sendall(hello[:cut])
        wait_for(lambda: figure(lb, "refused") == 1 + 3 * len(cuts), "all are counted")
        assert figure(lb, "refused_client_aborts") >= len(cuts)
        assert figure(lb, "refused_handshake") + figure(lb, "refused_preread") >= len(cuts)
        assert peer.connections == 0


@pytest.mark.parametrize("version", [V12, V13])
def test_clients_that_stop_after_our_answer(authority: Authority, site: Path, version: ssl.TLSVersion) -> None:
    context = trusting(authority, version=version)
    with Backend() as backend, https(site, backend, listener={"header_timeout": "300ms"}) as lb:
        with ByHand(lb.address, context) as silent:
            silent.socket.sendall(silent.hello())
            while silent.socket.recv(1 << 16):
                pass
            refused(lb)
        with ByHand(lb.address, context) as client:
            client.socket.sendall(client.hello())
            assert client.socket.recv(1)
        wait_for(lambda: figure(lb, "refused_client_aborts") == 1, "who leaves in the middle")
        with ByHand(lb.address, context) as garbled:
            garbled.socket.sendall(garbled.hello())
            assert garbled.socket.recv(1)
            garbled.socket.sendall(b"\x16\x03\x03\x00\x20" + b"x" * 32)
            with contextlib.suppress(ConnectionResetError):
                while garbled.socket.recv(1 << 16):
                    pass
        refused(lb, 2)


def test_a_handshake_and_nothing_more(authority: Authority, site: Path) -> None:
    with Backend() as backend, https(site, backend, listener={"header_timeout": "1s"}) as lb:
        with ByHand(lb.address, trusting(authority)) as client:
            client.shake()
            wait_for(lambda: figure(lb, "active") == 1, "it is served")
        wait_for(lambda: figure(lb, "closed_done") == 1, "who leaves is done")
        with ByHand(lb.address, trusting(authority)) as client:
            client.shake()
            client.socket.sendall(client.sealed(b"GET / HT"))
            with contextlib.suppress(ConnectionResetError):
                read_all(client)  # type: ignore[arg-type]
        assert figure(lb, "requests") == 0


def test_stalled_handshakes_do_not_keep_others_out(authority: Authority, site: Path) -> None:
    """Fifty stop after their hello, fifty in the middle of it, and as many say nothing at all. Only the first get a place, and
    lose it again soon."""
    context = trusting(authority)
    with Backend() as backend, https(site, backend, top={"max_handshakes": 4}) as lb, contextlib.ExitStack() as stack:
        for _ in range(50):
            halting = stack.enter_context(ByHand(lb.address, context))
            halting.socket.sendall(halting.hello())
            halved = stack.enter_context(ByHand(lb.address, context))
            halved.socket.sendall(halved.hello()[:100])
            stack.enter_context(ByHand(lb.address, context))
        wait_for(lambda: figure(lb, "handshakes_active") == 4, "all places are taken")
        for _ in range(3):
            began = time.monotonic()
            with TlsClient(lb.address, context) as client:
                assert client.get().status == 200
            assert time.monotonic() - began < 2 * SLOWER
        assert figure(lb, "handshakes_active") <= 4
        stack.close()
        wait_for(lambda: figure(lb, "refused") == 150, "all are counted")


def test_two_hundred_at_once(authority: Authority, site: Path) -> None:
    async def ask(address: tuple[str, int]) -> bytes:
        reader, writer = await asyncio.open_connection(
            *address, ssl=trusting(authority), server_hostname="a.test", ssl_handshake_timeout=30 * SLOWER
        )
        writer.write(request())
        head = await reader.readuntil(b"\r\n\r\n")
        await together.wait()
        writer.close()
        return head[:12]

    async def all_of_them(address: tuple[str, int]) -> list[bytes]:
        asked = asyncio.gather(*(ask(address) for _ in range(200)))
        await asyncio.to_thread(wait_for, lambda: figure(lb, "handshakes") >= 200 or asked.done(), "all have shaken hands", 30)
        together.set()
        return await asked

    together = asyncio.Event()
    # two hundred clients in one slow process may leave each handshake hanging, for which the engine would let them go
    bounds = {"top": {"max_handshakes": 8}} if SLOWER == 1 else {"listener": {"header_timeout": "60s"}}
    with Backend() as backend, https(site, backend, **bounds) as lb:
        assert asyncio.run(all_of_them(lb.address)) == [b"HTTP/1.1 200"] * 200
        assert (figure(lb, "handshakes"), figure(lb, "accepted"), figure(lb, "refused")) == (200, 200, 0)
