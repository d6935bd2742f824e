"""joblib with its loky processes: bytes as an argument, pickled."""
from workload import measure, needs, seen

if __name__ == "__main__":
    joblib = needs("joblib")
    with joblib.Parallel(n_jobs=2) as parallel:
        measure(lambda payload: parallel([joblib.delayed(seen)(payload)])[0])
