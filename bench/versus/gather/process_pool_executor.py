"""concurrent.futures.ProcessPoolExecutor with a process a CPU: map, each task by itself."""
from concurrent.futures import ProcessPoolExecutor

from workload import measure, task

if __name__ == "__main__":
    with ProcessPoolExecutor() as pool:
        measure(lambda count: pool.map(task, range(count), chunksize=1))
