"""multiprocessing.Pool of one process: bytes as an argument, pickled."""
import multiprocessing

from workload import measure, seen

if __name__ == "__main__":
    with multiprocessing.Pool(1) as pool:
        measure(lambda payload: pool.apply(seen, (payload,)))
