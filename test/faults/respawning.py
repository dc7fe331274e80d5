"""Runs the tracker node and starts it again when it ends, as `launch` does with `respawn`.

python respawning.py [parameter:=value ...]
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time

command = [sys.executable, "-m", "distill_tracker_ros.nodes.tracker_node", "--ros-args"]
for setting in sys.argv[1:]:
    command += ["-p", setting]
asked_to_end = False


def end(*_: object) -> None:
    global asked_to_end
    asked_to_end = True
    node.send_signal(signal.SIGINT)


signal.signal(signal.SIGINT, end)
while not asked_to_end:
    node = subprocess.Popen(command)
    node.wait()
    time.sleep(0.5)
