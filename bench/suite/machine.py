"""What was measured on, and in which state it was."""
import os
import pathlib
import platform
import re
import subprocess


def said(*command, folder=None):
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8",
                                check=False, cwd=folder)
    except OSError:
        return ""
    return result.stdout.strip()


def read(path, default="unknown"):
    try:
        return pathlib.Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return default


def found(pattern, text, default="unknown"):
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else default


def topology():
    cpu = "/sys/devices/system/cpu/cpu0"
    caches = [f"L{read(f'{index}/level')} {read(f'{index}/size')} for CPUs {read(f'{index}/shared_cpu_list')}"
              for index in sorted(pathlib.Path(f"{cpu}/cache").glob("index*")) if read(f"{index}/type") != "Instruction"]
    nodes = len(list(pathlib.Path("/sys/devices/system/node").glob("node[0-9]*"))) or 1
    return f"core of CPUs {read(f'{cpu}/topology/thread_siblings_list')}, {', '.join(caches)}, {nodes} NUMA node(s)"


def machine(root):
    cpuinfo = read("/proc/cpuinfo", "")
    commit = said("git", "rev-parse", "--short=12", "HEAD", folder=root) or "unknown"
    changed = said("git", "status", "--porcelain", "--", "include", "lib", "bench", folder=root)
    memory = int(found(r"^MemTotal:\s+(\d+) kB$", read("/proc/meminfo", ""), "0")) / 1024 / 1024
    return {
        "commit": commit + ("-changed" if changed else ""),
        "cpu": found(r"^model name\s*: (.+)$", cpuinfo, platform.machine()),
        "cpus": len(os.sched_getaffinity(0)),
        "topology": topology(),
        "memory": f"{memory:.0f} GiB",
        "virtual": "yes" if re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE) else "no",
        "kernel": platform.release(),
        "compiler": said("c++", "--version").split("\n", maxsplit=1)[0],
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "none"),
        "load": read("/proc/loadavg").split(" ", maxsplit=1)[0],
        "pinning": "none: where processes run is the kernel's choice",
    }
