"""multiprocessing.Pool, which comes with Python."""

import multiprocessing

from bench import WORKERS, back, bulk, kill, latency, length, main, mebibytes, pause, rate, same, start


def first_result():
    return multiprocessing.Pool(WORKERS).apply(same, (7,))


def idle(_):
    pool.map(same, range(100), chunksize=1)
    return {"worker_mebibytes": mebibytes(pool._pool[0].pid)}


if __name__ == "__main__":
    pool = multiprocessing.Pool(WORKERS)
    main(
        calls=rate(lambda n: pool.map(same, range(n), chunksize=1)),
        latency=latency(lambda i: pool.apply(same, (i,))),
        bulk=bulk(
            lambda data: pool.map(length, data, chunksize=1),
            lambda data: pool.map(back, data, chunksize=1),
        ),
        start=start(first_result),
        idle=idle,
        kill=kill(lambda n: pool.imap_unordered(pause, range(n)), lambda: pool._pool[0].pid),
    )
