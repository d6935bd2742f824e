"""joblib with its loky processes, which are kept between calls; with one of them it would run in the caller."""
from workload import measure, needs, task

if __name__ == "__main__":
    joblib = needs("joblib")
    with joblib.Parallel(n_jobs=2) as parallel:
        measure(lambda number: parallel([joblib.delayed(task)(number)])[0])
