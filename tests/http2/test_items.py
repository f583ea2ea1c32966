"""What an HTTP/2 proxy must do with its peers, item by item: who needs it, and which tests hold us to it.

The items were found by running real peers. A test of raw frames does what the peer does; one with the peer's name runs it.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ITEMS: dict[int, tuple[str, str, tuple[str, ...]]] = {
    1: (
        "GOAWAY to a client at a moment without streams",
        "httpx2, grpclib",
        (
            "test_endings::test_a_drain_waits_for_streams_before_it_says_goaway",
            "test_no_call_fails::test_an_upgrade_under_httpx2",
        ),
    ),
    2: (
        "a drain in two steps; one for those that take nothing behind a GOAWAY",
        "grpcio; httpx2",
        (
            "test_endings::test_a_drain_warns_first_and_goes_after_a_round_trip",
            "test_endings::test_a_client_of_pips_h2_gets_one_goaway_and_nothing_behind_it",
            "test_no_call_fails::test_an_upgrade_under_grpcio",
        ),
    ),
    3: (
        "an idle end is GOAWAY with the true last stream, and FIN",
        "httpx2",
        (
            "test_endings::test_an_idle_connection_ends_by_goaway_and_fin",
            "test_what_peers_need::test_httpx2_asks_again_after_an_idle_end",
        ),
    ),
    4: (
        "no GOAWAY to a backend while a stream runs",
        "hypercorn, grpclib",
        ("test_backends::test_an_idle_connection_ends_with_goaway",),
    ),
    5: (
        "PINGs of backends are acknowledged at once",
        "grpcio",
        ("test_backends::test_pings_are_acknowledged_at_once", "test_grpc::test_no_call_fails_when_one_of_two_servers_goes"),
    ),
    6: (
        "nothing new behind a GOAWAY; CANCELLED of a server that stops is a refusal",
        "grpcio",
        (
            "test_late_calls::test_cancelled_behind_the_goaway_is_asked_elsewhere",
            "test_late_calls::test_cancelled_that_overtakes_the_goaway_is_asked_elsewhere",
            "test_grpc::test_no_call_fails_when_one_of_two_servers_goes",
        ),
    ),
    7: (
        "refused streams go elsewhere, POST too",
        "grpcio, Envoy, nginx as clients: none repeats by itself",
        (
            "test_refused_requests::test_a_refused_request_goes_to_another_backend_post_too",
            "test_refused_requests::test_a_request_whose_body_came_in_parts_goes_to_another_backend_whole",
        ),
    ),
    8: (
        "RST_STREAM(NO_ERROR) before a response is a refusal",
        "hypercorn",
        (
            "test_what_peers_need::test_a_true_goaway_ends_what_hypercorn_has_taken_back",
            "test_no_call_fails::test_a_server_stops_under_httpx2",
        ),
    ),
    9: (
        "SETTINGS in mid-connection",
        "hypercorn, grpclib",
        (
            "test_backends::test_no_streams_at_all_in_mid_connection_means_a_new_connection",
            "test_backends::test_a_small_window_is_kept_and_a_smaller_setting_makes_it_negative",
            "test_servers_behind::test_calls_to_grpclib",
        ),
    ),
    10: (
        "own errors in gRPC's words, in one HEADERS",
        "grpcio, grpclib",
        (
            "test_calls::test_a_call_without_a_backend_gets_a_status_in_one_frame",
            "test_grpc::test_a_call_to_nobody_is_unavailable",
            "test_clients_before::test_grpclib_is_told_of_a_backend_that_is_not_there",
        ),
    ),
    11: ("trailers-only stays one frame", "grpcio", ("test_calls::test_trailers_only_stay_one_frame",)),
    12: ("a call never ends with DATA", "grpcio, grpclib", ("test_what_peers_need::test_a_call_never_ends_with_data",)),
    13: ("no 1xx on calls", "grpcio, grpclib", ("test_calls::test_interim_responses_of_calls_are_dropped",)),
    14: ("no padding", "grpcio", ("test_what_peers_need::test_grpcio_and_grpclib_get_known_frames_without_padding",)),
    15: (
        "no frames of extensions",
        "grpclib",
        ("test_what_peers_need::test_grpcio_and_grpclib_get_known_frames_without_padding",),
    ),
    16: (
        "frames of any announced size are taken, 16 KiB are sent",
        "nginx, grpcio",
        (
            "test_what_peers_need::test_data_is_16_kib_whatever_nginx_announces",
            "test_what_peers_need::test_frames_of_16_kib_are_taken",
            "test_clients_before::test_nginx_by_grpc_pass",
        ),
    ),
    17: (
        "SETTINGS before anything is read",
        "grpcio",
        ("test_conformance::test_settings_come_before_anything_is_asked", "test_grpc::test_calls_of_all_kinds"),
    ),
    18: (
        "no more streams than announced, a hundred until known",
        "hypercorn, nghttpd, grpclib, Envoy",
        (
            "test_backends::test_no_more_streams_than_announced",
            "test_what_peers_need::test_nghttpd_gets_no_more_streams_than_it_announces",
            "test_what_peers_need::test_streams_of_a_first_burst_that_a_backend_refuses_come_again",
        ),
    ),
    19: (
        "te: trailers is passed and added, other values are not",
        "grpcio, grpclib",
        ("test_calls::test_te_is_added_to_calls", "test_smuggling_requests::test_what_is_of_a_connection_stays_there"),
    ),
    20: (
        "one name of the host",
        "nginx, Caddy, hypercorn, granian",
        (
            "test_requests::test_host_and_authority",
            "test_clients::test_host_that_differs_from_authority_is_a_400",
            "test_servers_behind::test_nginx",
        ),
    ),
    21: (
        "cookies are joined",
        "granian",
        ("test_smuggling_requests::test_crumbs_are_one_cookie", "test_what_peers_need::test_crumbs_are_joined_for_granian"),
    ),
    22: (
        "too large a head is refused alone",
        "HAProxy, nginx and Caddy end the connection",
        (
            "test_clients::test_a_header_list_that_is_too_large_is_refused_alone",
            "test_backends::test_a_head_that_is_too_large_is_a_502_for_its_request_alone",
        ),
    ),
    23: ("few headers are added", "grpcio", ("test_what_peers_need::test_metadata_below_the_soft_limit_of_grpcio_arrives",)),
    24: ("no PINGs to backends", "grpcio", ("test_what_peers_need::test_grpcio_and_grpclib_get_known_frames_without_padding",)),
    25: (
        "windows in batches; those of others within a budget",
        "grpcio",
        (
            "test_what_peers_need::test_small_windows_are_allowed_in_batches",
            "test_client_bounds::test_a_unary_call_of_grpcio_is_no_abuse",
        ),
    ),
    26: (
        "frames and HPACK in any pieces; CONTINUATION by bytes",
        "Envoy and HAProxy count frames",
        (
            "test_frames::test_every_split_of_one_of_each",
            "test_conformance::test_every_frame_byte_by_byte",
            "test_conformance::test_a_header_block_in_many_continuations",
            "test_client_bounds::test_empty_continuations_without_end",
        ),
    ),
    27: (
        "idle time-outs of backends are learned",
        "hypercorn",
        (
            "test_idle_backends::test_it_is_learned_from_the_first_end",
            "test_idle_backends::test_calls_about_that_time_are_not_lost",
            "test_idle_backends::test_hypercorn_ends_idle_connections",
        ),
    ),
    28: (
        "a cancel reaches the backend at once; deadlines are seen",
        "grpcio",
        (
            "test_calls::test_a_call_that_its_client_cancels_is_cancelled_at_once",
            "test_calls::test_the_deadline_of_a_call_is_seen",
            "test_grpc::test_a_deadline_and_a_cancel_reach_the_server",
        ),
    ),
    29: (
        "content-length of calls is right or left out",
        "grpclib",
        ("test_what_peers_need::test_grpclib_is_told_no_wrong_length", "test_clients_before::test_grpclib"),
    ),
    30: (
        "the preface on http, ALPN on https, h2c by Upgrade is passed over",
        "curl, grpcio, Java 17",
        (
            "test_peers::test_curl_by_the_preface",
            "test_peers::test_curl_over_tls",
            "test_peers::test_curl_that_offers_h2c_by_upgrade_speaks_http_1_1",
            "test_what_peers_need::test_grpcio_over_tls",
        ),
    ),
    31: (
        "trailers both ways; pseudo-headers in any order",
        "grpcio begins with :path; Envoy and nginx drop trailers",
        (
            "test_backends::test_trailers_reach_a_client_of_http1_in_its_last_chunk",
            "test_clients::test_trailers_of_a_chunked_response",
            "test_requests::test_a_request_as_http1_says_it",
            "test_servers_behind::test_node",
        ),
    ),
    32: (
        "resets and cheap frames by rate",
        "nginx, nghttp2 and Envoy do so",
        (
            "test_client_bounds::test_streams_that_are_reset_at_once_without_end",
            "test_client_bounds::test_cheap_frames_without_end",
        ),
    ),
}
"""Number: what, for whom, tests."""


def functions_in(module: str) -> set[str]:
    """The names of a module's tests."""
    tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("number", range(1, 33))
def test_each_item_has_tests(number: int) -> None:
    _, peers, tests = ITEMS[number]
    assert peers
    for module, _, name in (test.partition("::") for test in tests):
        assert name in functions_in(module)
