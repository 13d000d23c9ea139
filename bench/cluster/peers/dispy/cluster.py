"""dispy: `dispynode` with two cores, and a client that gives it functions. A cluster is for one function."""

import sys
import time

import dispy
from bench import WORKERS, back, bulk, children, kill, latency, length, main, mebibytes, rate, same, serve, start
from bench import tool, wait_for_port

HERE = "127.0.0.1"
# How long the result of a call may take that does nothing.
PATIENCE = 5


def pause(n):
    # Only these lines travel.
    import time

    time.sleep(0.1)
    return n


def cluster(function, **options):
    return dispy.JobCluster(function, nodes=[HERE], host=HERE, loglevel=dispy.logger.ERROR, **options)


def at_once(jobs, data):
    submitted = [jobs.submit(part) for part in data]
    return [result_of(jobs, job, part) for job, part in zip(submitted, data)]


def result_of(jobs, job, part):
    # The node loses one of some hundred calls to a race of its own. Mostly it says so.
    while not job.finish.wait(PATIENCE) or job.status != dispy.DispyJob.Finished:
        # Now and then it has not even been found.
        jobs.discover_nodes([HERE])
        job = jobs.submit(part)
    return job.result


def through(function, **options):
    jobs = []

    def run(data):
        if not jobs:
            jobs.append(cluster(function, **options))
        return at_once(jobs[0], data)

    return run


def first_result():
    jobs = cluster(same)
    result = jobs.submit(7)()
    jobs.close(terminate=True)
    return result


def idle(_):
    at_once(cluster(same), range(20))
    # Each call is a process of its own.
    return {"node_mebibytes": mebibytes(node.pid)}


def results(n):
    # Reentrant are calls that run again when their node is lost.
    jobs = cluster(pause, reentrant=True)
    left = [jobs.submit(i) for i in range(n)]
    while left:
        # Its callbacks need a Python before 3.11.
        ended = [job for job in left if job.finish.is_set()]
        left = [job for job in left if job not in ended]
        for job in ended:
            yield job.result if job.status == dispy.DispyJob.Finished else RuntimeError(job.exception)
        time.sleep(0.01)


if __name__ == "__main__":
    node = serve(
        sys.executable, tool("dispynode.py"), "-i", HERE, "-c", str(WORKERS), "--daemon", "--clean",
        "--dest_path_prefix", "node",
    )
    wait_for_port(9701)
    calls = through(same)
    main(
        calls=rate(lambda n: calls(range(n))),
        latency=latency(lambda i: calls([i])[0]),
        bulk=bulk(through(length), through(back)),
        start=start(first_result),
        idle=idle,
        kill=kill(results, lambda: children(node.pid)[-1]),
    )
