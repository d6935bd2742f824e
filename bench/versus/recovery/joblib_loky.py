"""loky's reusable executor, as joblib has it: it breaks with the first death, and the next call makes another."""
import tempfile

from workload import measure, needs, start_time, wrong_answer

if __name__ == "__main__":
    needs("joblib")
    loky = needs("joblib.externals.loky")


class Reused:
    busy = None

    def start_busy(self, task, argument):
        self.busy = loky.get_reusable_executor(max_workers=1).submit(task, argument)

    def start_time_of_next(self):
        try:
            self.busy.result()
        except loky.BrokenProcessPool:  # TerminatedWorkerError is one
            return loky.get_reusable_executor(max_workers=1).submit(start_time).result()
        return wrong_answer("a task whose process was killed has a result")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder_of_pid:
        reused = Reused()
        measure(reused.start_busy, reused.start_time_of_next, folder_of_pid)
