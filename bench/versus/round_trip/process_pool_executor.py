"""concurrent.futures.ProcessPoolExecutor of one process: submit, result."""
from concurrent.futures import ProcessPoolExecutor

from workload import measure, task

if __name__ == "__main__":
    with ProcessPoolExecutor(1) as pool:
        measure(lambda number: pool.submit(task, number).result())
