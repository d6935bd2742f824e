"""joblib with its loky processes, one a CPU, each task by itself."""
import os

from workload import measure, needs, task

if __name__ == "__main__":
    joblib = needs("joblib")
    with joblib.Parallel(n_jobs=max(2, len(os.sched_getaffinity(0))), batch_size=1) as parallel:
        measure(lambda count: parallel(joblib.delayed(task)(number) for number in range(count)))
