"""pycos: two processes on loopback, as it comes: no TLS; see src/peers/pycos.rs.

server INBOX                        prints its contact, ends with its input
client CONTACT WORKLOAD N HOME      prints the figures as one line of JSON
"""

import json
import logging
import os
import resource
import signal
import sys
import threading
import time

import pycos
import pycos.netpycos

MAILBOXES = 1000
SENDERS = 64
ASKERS = 256
NOTICE_LIMIT = 10
CHUNK = 256 << 10
HOST = "127.0.0.1"


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def node(name, port):
    pycos.logger.setLevel(logging.ERROR)
    return pycos.Pycos(
        host=HOST, name=name, tcp_port=port, udp_port=port, discover_peers=False
    )


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


# ---- the receiving process

COUNTED = [0, 0]


def mailbox(task=None):
    task.set_daemon()
    while True:
        message = yield task.receive()
        if message[0] == "data":
            COUNTED[0] += 1
            COUNTED[1] += message[1]
        else:
            message[1].send(message[2])


def hub(inbox, mailboxes, task=None):
    task.set_daemon()
    task.register("hub")
    files = {}
    while True:
        message = yield task.receive()
        if message[0] == "mailboxes":
            message[1].send(mailboxes)
        elif message[0] == "count":
            while COUNTED[0] < message[2]:
                yield task.sleep(0.001)
            message[1].send((COUNTED[0], COUNTED[1], cpu()))
        else:
            _, sender, name, chunk, last = message
            if name not in files:
                files[name] = open(os.path.join(inbox, name), "wb")
            files[name].write(chunk)
            if last:
                files.pop(name).close()
            sender.send(len(chunk))


def server(inbox):
    port = free_port()
    node("server", port)
    pycos.Task(hub, inbox, [pycos.Task(mailbox) for _ in range(MAILBOXES)])
    print(json.dumps({"port": port, "pid": os.getpid()}), flush=True)
    sys.stdin.read()
    os._exit(0)


# ---- the sending process


def sender(number, each, size, mailboxes, task=None):
    body = bytes([number]) * size
    for n in range(each):
        to = mailboxes[(number * 17 + n * 13) % MAILBOXES]
        # Returns when it is in the mailbox; `send` has no limit and no end.
        yield to.deliver(("data", n, body))


def counted(hub, n, task):
    hub.send(("count", task, n))
    return (yield task.receive())


def one_way(n, size, hub, mailboxes, task):
    each = max(1, n // SENDERS)
    before = yield from counted(hub, 0, task)
    start, used = time.perf_counter(), cpu()
    senders = [
        pycos.Task(sender, number, each, size, mailboxes) for number in range(SENDERS)
    ]
    for it in senders:
        yield it.finish()
    sent = each * SENDERS
    after = yield from counted(hub, before[0] + sent, task)
    elapsed = time.perf_counter() - start
    used = cpu() - used + after[2] - before[2]
    assert after[0] - before[0] == sent, (after, before, sent)
    assert after[1] - before[1] == SENDERS * (each * (each - 1) // 2)
    return {"thousands": sent / elapsed / 1e3, "cpu_micros": used * 1e6 / sent}


def ping(n, mailboxes, task):
    trips = []
    for i in range(n):
        start = time.perf_counter()
        mailboxes[i % MAILBOXES].send(("ask", task, i))
        answer = yield task.receive()
        trips.append((time.perf_counter() - start) * 1e6)
        assert answer == i
    trips.sort()
    return {
        "median_micros": trips[(n - 1) // 2],
        "tail_micros": trips[int((n - 1) * 0.99)],
    }


def asker(number, each, mailboxes, task=None):
    for i in range(each):
        mailboxes[(number + i * 13) % MAILBOXES].send(("ask", task, i))
        answer = yield task.receive()
        assert answer == i


def ask(n, mailboxes):
    each = (n + ASKERS - 1) // ASKERS
    start = time.perf_counter()
    askers = [pycos.Task(asker, number, each, mailboxes) for number in range(ASKERS)]
    for it in askers:
        yield it.finish()
    return {"thousands": each * ASKERS / (time.perf_counter() - start) / 1e3}


def bulk(name, home, hub, task):
    path = os.path.join(home, name)
    size = os.path.getsize(path)
    start = time.perf_counter()
    with open(path, "rb") as file:
        left = size
        while left:
            chunk = file.read(CHUNK)
            left -= len(chunk)
            hub.send(("file", task, name, chunk, not left))
            written = yield task.receive()
            assert written == len(chunk)
    return {"mebibytes": size / (1 << 20) / (time.perf_counter() - start)}


def loss(signum, pid, task):
    pycos.Pycos.instance().peer_status(task)
    start = time.perf_counter()
    os.kill(pid, signum)
    while True:
        left = start + NOTICE_LIMIT - time.perf_counter()
        status = (yield task.receive(timeout=left)) if left > 0 else None
        if status is None:
            return {}
        if isinstance(status, pycos.PeerStatus) and not status.status:
            return {"noticed_millis": (time.perf_counter() - start) * 1e3}


def run(contact, workload, n, home, task=None):
    instance = pycos.Pycos.instance()
    yield instance.peer(pycos.Location(HOST, contact["port"]))
    hub = yield pycos.Task.locate("hub", timeout=10)
    assert hub, "the hub was not found"
    hub.send(("mailboxes", task))
    mailboxes = yield task.receive()
    part = n // 20 + 1
    if workload in ("small", "large"):
        size = 56 if workload == "small" else 1016
        yield from one_way(part, size, hub, mailboxes, task)
        figures = yield from one_way(n, size, hub, mailboxes, task)
    elif workload == "ping":
        yield from ping(part, mailboxes, task)
        figures = yield from ping(n, mailboxes, task)
    elif workload == "ask":
        yield from ask(part, mailboxes)
        figures = yield from ask(n, mailboxes)
    elif workload == "bulk":
        yield from bulk("warm-up", home, hub, task)
        figures = yield from bulk("file", home, hub, task)
    else:
        signum = signal.SIGKILL if workload == "kill" else signal.SIGSTOP
        figures = yield from loss(signum, contact["pid"], task)
    print(json.dumps(figures), flush=True)
    # What it has to tidy up does not concern the figures.
    os._exit(0)


def client(contact, workload, n, home):
    node("client", free_port())
    pycos.Task(run, json.loads(contact), workload, int(n), home).value()
    # It has ended without an end of the process: by an exception, which is on stderr.
    os._exit(1)


if __name__ == "__main__":
    {"server": server, "client": client}[sys.argv[1]](*sys.argv[2:])
