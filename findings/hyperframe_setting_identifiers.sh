#!/usr/bin/env bash
# hyperframe 6.1.0 (and h2 4.4.1, which writes frames with it): an identifier of SETTINGS above 255 is written modulo 256.
#
# RFC 9113 6.5.1 gives identifiers 16 bits, and implementations use the upper ones for settings of their own: grpcio announces 0xfe03
# ("true binary metadata"). A Python endpoint that announces 0xfe03=1 says 0x0003=1 on the wire, which is SETTINGS_MAX_CONCURRENT_STREAMS:
# its peer opens one stream at a time from then on. Reading is not affected: 0xfe03 is read as 0xfe03.
#
# Seen on 2026-11-30 with Python 3.11:
#   wire: 000006040000000000000300000001
#   the peer understood: MAX_CONCURRENT_STREAMS = 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check h2==4.4.1 hyperframe==6.1.0 hpack==4.2.0
"$folder/venv/bin/python" - <<'PYTHON'
from h2.config import H2Configuration
from h2.connection import H2Connection

server = H2Connection(H2Configuration(client_side=False))
server.initiate_connection()
server.data_to_send()
server.update_settings({0xFE03: 1})
wire = server.data_to_send()
print("wire:", wire.hex())

client = H2Connection(H2Configuration(client_side=True))
client.initiate_connection()
client.receive_data(wire)
print("the peer understood: MAX_CONCURRENT_STREAMS =", client.remote_settings.max_concurrent_streams)
assert wire.hex() == "000006040000000000000300000001", "0xfe03 is written otherwise now"
assert client.remote_settings.max_concurrent_streams == 1
PYTHON
