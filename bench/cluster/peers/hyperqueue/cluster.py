"""HyperQueue: a server with two workers of one core, in one process, and a client in another. Its calls are programs."""

import os
import subprocess
import sys

from bench import WORKERS, latency, main, mebibytes, start, timed
from hyperqueue import Client, Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

SERVER = os.path.abspath("server")


def spawn_all(client, n):
    job = Job()
    for _ in range(n):
        job.program(["/bin/true"], stdout=None, stderr=None)
    assert client.wait_for_jobs([client.submit(job)]), "not all went well"


def spawn(n):
    spawn_all(client, n // 20 + 1)
    seconds, _ = timed(spawn_all, client, n)
    return {"thousands": n / seconds / 1e3}


def run_one(i):
    spawn_all(client, 1)
    return i


def be_server():
    os.mkdir(SERVER)
    cluster = LocalCluster(SERVER)
    for _ in range(WORKERS):
        cluster.start_worker(WorkerConfig(cores=1))
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1:] == ["server"]:
        be_server()
    server = subprocess.Popen(
        [sys.executable, __file__, "server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    while b"ready" not in server.stdout.readline():
        assert server.poll() is None, "the server has ended"
    client = Client(SERVER)
    main(
        latency=latency(run_one),
        spawn=spawn,
        start=start(lambda: spawn_all(Client(SERVER), 1)),
        idle=lambda _: {"node_mebibytes": mebibytes(server.pid)},
    )
