"""multiprocessing.Pool of one process: it makes another, and whoever waits for the killed task waits for ever."""
import multiprocessing
import tempfile

from workload import measure, start_time

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, multiprocessing.Pool(1) as pool:
        measure(lambda task, argument: pool.apply_async(task, (argument,)), lambda: pool.apply(start_time), folder)
