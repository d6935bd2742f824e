"""Which peers there are, how each is started, and why the others are left out."""
import functools
import pathlib
import shutil
import subprocess
import sys
from typing import NamedTuple


class About(NamedTuple):
    title: str
    package: str = ""  # Debian's, where it needs one
    tasks: int = 0  # in a turn, where 100,000 would take it many seconds
    every: int = 1  # in every so many rounds, where it takes a second to start


ABOUT = {
    "prefork": About("**prefork**"),
    "prefork_caller_helps": About("**prefork**, caller helps"),
    "prefork_shared": About("**prefork**, shared_array"),
    "cache_line": About("limit: two cache lines"),
    "futex": About("limit: two futexes"),
    "memcpy": About("limit: memcpy"),
    "sequential": About("sequential"),
    "fork_exit_wait": About("limit: fork, exit, wait"),
    "fork_again": About("a process a task, by hand"),
    "tbb": About("oneTBB", "libtbb-dev"),
    "tbb_spin": About("oneTBB, caller spins", "libtbb-dev"),
    "openmp": About("OpenMP", "g++"),
    "asio": About("boost::asio::thread_pool", "libboost-dev"),
    "std_async": About("std::async", tasks=2_000),
    "pipe": About("pipes", tasks=20_000),
    "unix_socket": About("Unix sockets", tasks=20_000),
    "posix_mq": About("POSIX message queues", tasks=5_000),
    "message_queue": About("Boost.Interprocess message queues", "libboost-dev", 20_000),
    "zeromq": About("ZeroMQ, ipc", "libzmq3-dev and cppzmq-dev", 20_000),
    "open_mpi": About("Open MPI, shared memory", "libopenmpi-dev and openmpi-bin", 20_000, every=3),
    "multiprocessing_pool": About("Python's multiprocessing.Pool", tasks=2_000),
    "process_pool_executor": About("Python's ProcessPoolExecutor", tasks=2_000),
    "joblib_loky": About("joblib with loky", "python3-joblib", 2_000, every=3),
}
# Through shared memory and nothing else. As root it asks twice, and with more ranks than CPUs too.
MPI = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", "--mca", "pml", "ob1", "--mca", "btl", "^tcp"]


def title(peer):
    return ABOUT[peer].title


@functools.lru_cache
def python_with(module):
    """The interpreter that has this module: ours, or the system's, which has Debian's packages."""
    for interpreter in (sys.executable, "/usr/bin/python3"):
        if pathlib.Path(interpreter).exists() and subprocess.run(
                [interpreter, "-c", f"import {module}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                check=False).returncode == 0:
            return interpreter
    return None


class Peers:
    """Those of a tree that is built in `build`."""

    def __init__(self, root, build):
        self.source = root / "bench/versus"
        self.programs = build / "bench/versus"
        self.left_out = {}  # peer -> why

    def workloads(self):
        return sorted(path.parent.name for path in self.source.glob("*/workload.hpp"))

    def of(self, workload):
        """name -> command; notes why others are left out."""
        files = [path for path in sorted((self.source / workload).iterdir())
                 if path.suffix in (".cpp", ".py") and path.stem != "workload"]
        commands = {path.stem: self.command(workload, path) for path in files}
        return {peer: command for peer, command in commands.items() if command}

    def command(self, workload, path):
        """None, and why in left_out, where it can't be started."""
        peer = path.stem
        if path.suffix == ".py":
            # All of them by the same interpreter, the one that has joblib if there is one.
            return [python_with("joblib") or sys.executable, "-B", str(path)]
        program = self.programs / f"{workload}_{peer}"
        if not program.exists():
            package = ABOUT[peer].package
            self.left_out[peer] = f"not built; it needs {package}" if package else "not built"
            return None
        if peer == "open_mpi" and not shutil.which("mpirun"):
            self.left_out[peer] = "there is no mpirun"
            return None
        return [*(MPI if peer == "open_mpi" else []), str(program)]
