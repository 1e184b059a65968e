"""A phone of pyVoIP's making: a command a line on standard input, an event a line on standard output."""

from __future__ import annotations

import json
import sys
import time

from pyVoIP.VoIP import PhoneStatus, VoIPPhone

_PATIENCE = 20.0


def main():
    wanted = json.loads(sys.argv[1])
    ringing = []

    def rings(call):
        print("call RINGING")
        ringing.append(call)

    phone = VoIPPhone(
        wanted["server"],
        wanted["server_port"],
        wanted["user"],
        wanted["password"],
        myIP=wanted["address"],
        sipPort=wanted["port"],
        callCallback=rings,
    )
    phone.start()
    end = time.monotonic() + _PATIENCE
    while phone.get_status() is PhoneStatus.REGISTERING and time.monotonic() < end:
        time.sleep(0.02)
    print("registered" if phone.get_status() is PhoneStatus.REGISTERED else phone.get_status())
    for line in sys.stdin:
        if line.strip() == "answer":
            ringing[-1].answer()
            print("call", ringing[-1].state.name)
        elif line.strip() == "quit":
            break
    phone.stop()


if __name__ == "__main__":
    main()
