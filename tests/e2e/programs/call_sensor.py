"""An agent's process asks the sensor to kill somebody: call_sensor.py SOCKET."""

import socket
import sys

with socket.socket(socket.AF_UNIX) as channel:
    channel.connect(sys.argv[1])
    channel.sendall(b'{"op": "kill", "target": "somebody"}\n')
    assert b"CALLER_IS_AGENT" in channel.makefile("rb").readline()
