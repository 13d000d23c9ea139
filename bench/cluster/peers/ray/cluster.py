"""ray: a head node with two cores, to which the client connects."""

import logging
import os
import subprocess

from bench import WORKERS, back, bulk, free_port, kill, latency, length, main, mebibytes, pause, processes, rate, same
from bench import start, tool

os.environ.update(RAY_DEDUP_LOGS="0", RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")

import ray

FOLDER = os.path.abspath("r")
remote_same, remote_length, remote_back, remote_pause = map(ray.remote, (same, length, back, pause))


@ray.remote
class Answers:
    def same(self, n):
        return n


def connect():
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)


def calls(n):
    return ray.get([remote_same.remote(i) for i in range(n)])


def direct(n):
    if not actors:
        actors.extend(Answers.remote() for _ in range(WORKERS))
    return ray.get([actors[i % WORKERS].same.remote(i) for i in range(n)])


def through(function):
    return lambda data: ray.get([function.remote(ray.put(part)) for part in data])


def first_result():
    connect()
    result = ray.get(remote_same.remote(7))
    ray.shutdown()
    return result


def workers(name):
    return [pid for pid, line in processes() if line.startswith(f"ray::{name}")]


def victim():
    # Between two calls a worker is called otherwise.
    while not (at_work := workers("pause")):
        pass
    return at_work[0]


def idle(_):
    connect()
    calls(100)
    parts = [pid for pid, line in processes() if FOLDER in line and pid != os.getpid() and not line.startswith("ray::")]
    return {"node_mebibytes": mebibytes(*parts), "worker_mebibytes": mebibytes(workers("")[0])}


def results(n):
    left = [remote_pause.remote(i) for i in range(n)]
    while left:
        ready, left = ray.wait(left)
        for it in ready:
            try:
                yield ray.get(it)
            except ray.exceptions.RayError as error:
                yield error


def connected(workload):
    def run(n):
        connect()
        return workload(n)

    return run


if __name__ == "__main__":
    actors = []
    address = f"127.0.0.1:{free_port()}"
    subprocess.run(
        [
            tool("ray"), "start", "--head", "--node-ip-address", "127.0.0.1", "--port", address.split(":")[1],
            "--num-cpus", str(WORKERS), "--include-dashboard", "false", "--object-store-memory", str(1 << 30),
            "--temp-dir", FOLDER, "--disable-usage-stats",
        ],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    main(
        calls=connected(rate(calls)),
        direct=connected(rate(direct)),
        latency=connected(latency(lambda i: ray.get(remote_same.remote(i)))),
        bulk=connected(bulk(through(remote_length), through(remote_back))),
        start=start(first_result),
        idle=idle,
        kill=connected(kill(results, victim)),
    )
