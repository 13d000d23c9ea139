"""dask.distributed: a scheduler and two workers of one thread, looked after by a nanny, as `dask worker` comes."""

import os
import warnings

from bench import WORKERS, back, bulk, kill, latency, main, mebibytes, pause, rate, same, serve, start, tool
from dask.distributed import Client, as_completed

SCHEDULER = "scheduler.json"


class Answers:
    def same(self, n):
        return n


def connect(**options):
    return Client(scheduler_file=SCHEDULER, **options)


def workers():
    return client.run(os.getpid)


def direct(n):
    if not actors:
        made = [client.submit(Answers, actor=True, workers=[at]) for at in workers()]
        actors.extend(future.result() for future in made)
    asked = [actors[i % WORKERS].same(i) for i in range(n)]
    return [answer.result() for answer in asked]


def there(data):
    # The bytes of each are there when this returns.
    client.scatter(data, direct=True, hash=False)


def both(data):
    sent = client.scatter(data, direct=True, hash=False)
    return client.gather(client.map(back, sent, pure=False))


def first_result():
    with connect(set_as_default=False) as another:
        return another.submit(same, 7, pure=False).result()


def idle(_):
    client.gather(client.map(same, range(100), pure=False))
    return {
        "node_mebibytes": mebibytes(scheduler.pid),
        "worker_mebibytes": mebibytes(next(iter(workers().values()))),
    }


def results(n):
    for future in as_completed(client.map(pause, range(n), pure=False)):
        yield future.exception() or future.result()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    actors = []
    scheduler = serve(
        tool("dask"), "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", SCHEDULER
    )
    serve(
        tool("dask"), "worker", "--scheduler-file", SCHEDULER, "--host", "127.0.0.1", "--no-dashboard",
        "--nworkers", str(WORKERS), "--nthreads", "1", "--local-directory", ".",
    )
    client = connect()
    client.wait_for_workers(WORKERS)
    pids = list(workers().values())
    main(
        calls=rate(lambda n: client.gather(client.map(same, range(n), pure=False))),
        direct=rate(direct),
        latency=latency(lambda i: client.submit(same, i, pure=False).result()),
        bulk=bulk(there, both),
        start=start(first_result),
        idle=idle,
        kill=kill(results, lambda: pids[0]),
    )
