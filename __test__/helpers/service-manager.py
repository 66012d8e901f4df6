# Plays systemd's part for one service: opens its sockets, starts it with them and with a socket for notifications, and writes what it
# is told, and by whom, as a line of JSON each. Ends, and the service with it, when its stdin does.
#
#   python3 service-manager.py CONFIG COMMAND...
#
# CONFIG is JSON: sockets ({ name, host, port } or { name, path }), notify (a path), watchdog (microseconds), subreaper, restart (whether a
# service that was killed is started anew).

import array
import ctypes
import json
import os
import select
import signal
import socket
import sys

FIRST = 3
PR_SET_CHILD_SUBREAPER = 36

config = json.loads(sys.argv[1])


def say(**line):
    print(json.dumps(line), flush=True)


def listening(wanted):
    if "path" in wanted:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.bind(wanted["path"])
    else:
        is_v6 = ":" in wanted["host"]
        one = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((wanted["host"], wanted["port"]))
    one.listen(64)
    return one


sockets = [listening(wanted) for wanted in config.get("sockets", [])]
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
notify.bind(config["notify"])
say(addresses=[one.getsockname()[1] if one.family != socket.AF_UNIX else one.getsockname() for one in sockets])


def start():
    service = os.fork()
    if service != 0:
        say(started=service)
        return service
    # The numbers may be in use here: first away from them, then to them.
    away = [os.dup2(one.fileno(), 100 + index) for index, one in enumerate(sockets)]
    for index, number in enumerate(away):
        os.dup2(number, FIRST + index)
        os.close(number)
    environment = dict(os.environ)
    environment["NOTIFY_SOCKET"] = config["notify"]
    if sockets:
        environment["LISTEN_FDS"] = str(len(sockets))
        environment["LISTEN_PID"] = str(os.getpid())
        environment["LISTEN_FDNAMES"] = ":".join(wanted["name"] for wanted in config["sockets"])
    if "watchdog" in config:
        environment["WATCHDOG_USEC"] = str(config["watchdog"])
        environment["WATCHDOG_PID"] = str(os.getpid())
    if config.get("subreaper"):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.execvpe(sys.argv[2], sys.argv[2:], environment)


main = service = start()
ended = os.pidfd_open(main)
while True:
    ready, _, _ = select.select([notify, sys.stdin, ended], [], [])
    if notify in ready:
        room = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(64 * 4)
        data, items, _, _ = notify.recvmsg(4096, room)
        pid = None
        for level, kind, content in items:
            if kind == socket.SCM_RIGHTS:
                for number in array.array("i", content[: len(content) // 4 * 4]):
                    os.close(number)
            else:
                pid = int.from_bytes(content[:4], sys.byteorder)
        lines = data.decode().split("\n")
        say(told=lines, by=pid)
        for line in lines:
            if pid == main and line.startswith("MAINPID="):
                main = int(line[len("MAINPID=") :])
                os.close(ended)
                ended = os.pidfd_open(main)
        continue
    if ended in ready:
        # Only of its own child does it hear how that has ended.
        status = os.waitpid(main, 0)[1] if main == service else None
        if config.get("restart") and status is not None and os.WIFSIGNALED(status):
            os.close(ended)
            main = service = start()
            ended = os.pidfd_open(main)
            continue
        say(code=None if status is None else os.waitstatus_to_exitcode(status))
        break
    if sys.stdin in ready and sys.stdin.readline() == "":
        os.kill(main, signal.SIGKILL)
        break
