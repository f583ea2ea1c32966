"""The fixture `lbcore` of the pytest plugin, tried in tests of its own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]
SERVERS = """
    import socket, threading
    import pytest

    @pytest.fixture
    def server():
        bound = socket.create_server(("127.0.0.1", 0))
        def serve():
            while True:
                try:
                    connection, _ = bound.accept()
                except OSError:
                    return
                connection.sendall(b"hello")
                connection.close()
        threading.Thread(target=serve, daemon=True).start()
        yield "127.0.0.1:%d" % bound.getsockname()[1]
        bound.shutdown(socket.SHUT_RDWR)
        bound.close()
"""


def run(pytester: pytest.Pytester, body: str) -> pytest.RunResult:
    pytester.makeconftest(SERVERS)
    pytester.makepyfile(body)
    return pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-p", "no:xdist")


def test_a_balancer_in_front_of_test_servers(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        import socket

        def test_it(lbcore, server):
            lb = lbcore(server)
            with socket.create_connection(lb.address) as client:
                assert client.recv(5) == b"hello"
            other = lbcore(server, policy="round_robin", workers=2)
            assert other.address != lb.address
            lb.stop()

        def test_without_any(lbcore):
            pass
        """,
    )
    done.assert_outcomes(passed=2)


def test_a_failed_test_shows_the_status(pytester: pytest.Pytester) -> None:
    done = run(pytester, "def test_it(lbcore, server):\n    lbcore(server)\n    assert False\n")
    done.assert_outcomes(failed=1)
    done = run(pytester, "def test_it(lbcore, server):\n    lbcore(server)\n    raise SystemExit\n")
    assert "Traceback" not in done.stderr.str()


def test_a_session_that_is_left_open_is_told(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        import socket
        import lbcore.pytest_plugin as plugin

        plugin.QUIET_S = 0.2
        kept = []

        def test_it(lbcore):
            waits = socket.create_server(("127.0.0.1", 0))
            lb = lbcore("127.0.0.1:%d" % waits.getsockname()[1])
            kept.append((waits, socket.create_connection(lb.address)))
            kept.append(waits.accept())
        """,
    )
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(["*1 sessions are still open after 0.2 s*", "*lbcore status 0*"])
