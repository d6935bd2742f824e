"""multiprocessing.Pool with a process a CPU: map, each task by itself."""
import multiprocessing

from workload import measure, task

if __name__ == "__main__":
    with multiprocessing.Pool() as pool:
        measure(lambda count: pool.map(task, range(count), chunksize=1))
