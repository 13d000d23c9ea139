"""What the scripts of all peers have in common: each is `cluster.py WORKLOAD N` and prints its figures.

A script starts the processes of its peer and leaves them to whoever started it, in whose folder it runs.
What a workload is, and what its figures are called, stands here; how a peer does it, in the peer's own script.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time

WORKERS = 2
LARGE = 4 << 20
MEBIBYTE = 1 << 20
LIMIT = 30
# Without a result for so long there will be none: any restart of a worker is over by then.
SILENCE = 10


def same(n):
    return n


def length(data):
    return len(data)


def back(data):
    return data


def pause(n):
    time.sleep(0.1)
    return n


def main(**workloads):
    workload, n = sys.argv[1], int(sys.argv[2])
    print(json.dumps(workloads[workload](n)), flush=True)
    # Some peers have threads that never end.
    os._exit(0)


def timed(work, *args):
    start = time.perf_counter()
    result = work(*args)
    return time.perf_counter() - start, result


def rate(run_all):
    """`run_all(n)`: the results of calls, or answers, 0 to n - 1 in order."""

    def workload(n):
        run_all(n // 20 + 1)
        seconds, results = timed(run_all, n)
        assert list(results) == list(range(n)), "other results than expected"
        return {"thousands": n / seconds / 1e3}

    return workload


def latency(run_one):
    def workload(n):
        for i in range(n // 20 + 1):
            run_one(i)
        trips = []
        for i in range(n):
            seconds, result = timed(run_one, i)
            assert result == i, "another result than expected"
            trips.append(seconds * 1e6)
        trips.sort()
        at = lambda part: trips[min(int(len(trips) * part), len(trips) - 1)]
        return {"median_micros": at(0.5), "tail_micros": at(0.99)}

    return workload


def bulk(there, both):
    """`there(data)` takes each of a list to the workers, `both(data)` gives what comes back."""

    def workload(n):
        data = [os.urandom(LARGE) for _ in range(n)]
        there(data[: n // 8 + 1])
        to_workers, _ = timed(there, data)
        both(data[: n // 8 + 1])
        both_ways, copies = timed(both, data)
        assert copies == data, "other bytes came back than were sent"
        sent = n * LARGE / MEBIBYTE
        return {"mebibytes_there": sent / to_workers, "mebibytes_both": 2 * sent / both_ways}

    return workload


def start(first_result):
    """`first_result()`: from the wish to run something to its result, with all that is needed for it."""

    def workload(_):
        return {
            "cold_millis": timed(first_result)[0] * 1e3,
            "warm_millis": timed(first_result)[0] * 1e3,
        }

    return workload


class Hangs(Exception):
    pass


def kill(results, victim):
    """`results(n)`: an iterator over what calls of `pause` give, as they come; an exception for one that gives
    nothing. `victim()`: the process of a worker that is at work."""

    def hangs(*_):
        raise Hangs

    def workload(n):
        signal.signal(signal.SIGALRM, hangs)
        begun = time.perf_counter()
        good = set()
        try:
            signal.alarm(SILENCE)
            for result in results(n):
                if not isinstance(result, Exception):
                    good.add(result)
                    if len(good) == n // 10:
                        os.kill(victim(), signal.SIGKILL)
                signal.alarm(SILENCE)
        except Hangs:
            pass
        signal.alarm(0)
        figures = {"results": len(good)}
        if len(good) == n:
            figures["seconds"] = time.perf_counter() - begun
        return figures

    return workload


def mebibytes(*processes):
    """Resident memory of all of them."""
    total = 0
    for process in processes:
        with open(f"/proc/{process}/status") as status:
            line = next(line for line in status if line.startswith("VmRSS:"))
            total += int(line.split()[1]) * 1024
    return total / MEBIBYTE


def processes():
    """The number and the command line of each process."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as line:
                    yield int(name), line.read().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                pass


def children(process):
    found = []
    for thread in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{thread}/children") as numbers:
            found.extend(int(number) for number in numbers.read().split())
    return found


def serve(*command):
    """Starts a part of a peer; what it says is in a file."""
    log = open(f"{os.path.basename(command[0])}.log", "a")
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def tool(name):
    """A program of the virtual environment."""
    return os.path.join(os.path.dirname(sys.executable), name)


def free_port():
    """A port that is not one of those that the system gives out by itself."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as it:
            it.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                it.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise OSError("no port is free")


def wait_for_port(port):
    end = time.perf_counter() + LIMIT
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.perf_counter() < end, f"nobody listens on {port}"
            time.sleep(0.01)
