"""concurrent.futures.ProcessPoolExecutor of one process: bytes as an argument, pickled."""
from concurrent.futures import ProcessPoolExecutor

from workload import measure, seen

if __name__ == "__main__":
    with ProcessPoolExecutor(1) as pool:
        measure(lambda payload: pool.submit(seen, payload).result())
