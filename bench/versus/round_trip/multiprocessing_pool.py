"""multiprocessing.Pool of one process: apply."""
import multiprocessing

from workload import measure, task

if __name__ == "__main__":
    with multiprocessing.Pool(1) as pool:
        measure(lambda number: pool.apply(task, (number,)))
