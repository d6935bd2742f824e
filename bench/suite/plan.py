"""What is measured side by side: which workload, with which parameters, how often, by whom."""
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Case:
    workload: str
    parameters: tuple  # of (name, value); task_ns becomes the steps that take this long
    milliseconds: int = 60  # of a turn
    every: int = 1  # in every so many rounds
    peers: tuple = ()  # only these; none: all

    @property
    def name(self):
        return " ".join([self.workload, *(f"{name}={value}" for name, value in self.parameters)])

    @property
    def values(self):
        return dict(self.parameters)


THREADS = ("sequential", "prefork", "prefork_caller_helps", "tbb", "openmp", "asio")
IDLE_CURVE = ("cache_line", "futex", "prefork", "tbb", "asio", "unix_socket", "zeromq", "open_mpi",
              "multiprocessing_pool")
SHARED = ("prefork_shared",)

HOT = Case("round_trip", (("idle_ns", 0),))
IDLE = Case("round_trip", (("idle_ns", 1_000_000),), milliseconds=120)
GATHER = Case("gather", (("tasks", 100_000), ("task_ns", 0)), milliseconds=80)
MAP = Case("map", (("items", 1_000_000), ("task_ns", 50)), milliseconds=150)
PAIR = Case("pair", (("idle_ns", 1_000_000), ("task_ns", 20_000)), milliseconds=100)
SMALL = Case("payload", (("bytes", 64),), peers=SHARED)
LARGE = Case("payload", (("bytes", 64 << 20),), peers=SHARED)
RECOVERY = Case("recovery", ())

ROUNDS = 12
CASES = [
    HOT,
    *(Case("round_trip", (("idle_ns", idle),), 40, 3, IDLE_CURVE) for idle in (10_000, 100_000)),
    IDLE,
    Case("round_trip", (("idle_ns", 10_000_000),), 150, 3, IDLE_CURVE),
    Case("round_trip", (("idle_ns", 100_000_000),), 350, 3, IDLE_CURVE),
    GATHER,
    # Some 20 ms of work, in tasks of this size.
    *(Case("gather", (("tasks", min(100_000, 20_000_000 // size)), ("task_ns", size)), 60, 3, THREADS)
      for size in (100, 300, 1_000, 3_000, 10_000, 100_000)),
    MAP,
    PAIR,
    *(Case("pair", (("idle_ns", 1_000_000), ("task_ns", size)), 60, 3, (*THREADS, "std_async"))
      for size in (1_000, 2_000, 5_000, 10_000, 50_000, 100_000, 200_000, 500_000)),
    SMALL,
    LARGE,
    *(Case("payload", (("bytes", size),), 60, 4)
      for size in (64, 4 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20)),
    RECOVERY,
]


def cases(quick, workloads):
    """Of these workloads; `quick`: does it run at all?"""
    chosen = [case for case in CASES if case.workload in workloads]
    return [replace(case, milliseconds=5, every=1) for case in chosen] if quick else chosen


def rounds(quick):
    return 1 if quick else ROUNDS
