"""A cluster of real processes on loopback."""
import contextlib
import os
import pathlib
import re
import select
import signal
import subprocess
import tempfile
import time

import grpc

from harness.client import Client, router, router_grpc
from harness.environment import BINARY, START_SECONDS, STOP_SECONDS

READY = re.compile(r"tessera is ready: gRPC on (\S+), model (\S+) \((.*)\)")


def wait_until(condition, seconds=STOP_SECONDS, what="the condition"):
    """Polls; the only sleep of the tests, and never one that decides a result."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.01)


def run_tessera(*arguments, timeout=START_SECONDS, input=None, env=None):
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, input=input,
                          env={**os.environ, **(env or {})})


def descendants(pid):
    """{pid: role} of the children of a process."""
    found = {}
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == pid:
                command = (folder / "cmdline").read_bytes().split(b"\0")
                found[int(folder.name)] = command[1].decode()
    return found


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


class Cluster:
    """`tessera serve` and its children. Use as a context: it must end cleanly."""

    def __init__(self, model, *arguments, workers=1, topology=None, compute="f32", listen="127.0.0.1:0",
                 router_listen="127.0.0.1:0"):
        self.log = tempfile.TemporaryFile("w+")
        shape = ["--topology", topology] if topology else ["--workers", workers]
        self.command = [BINARY, "serve", "--model", model, "--listen", listen, "--router-listen", router_listen, *shape,
                        "--compute", compute, "--kv-cache", "128MiB", *arguments]
        self.process = subprocess.Popen(list(map(str, self.command)), stdout=subprocess.PIPE, stderr=self.log, text=True)

    def wait_ready(self):
        readable, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline() if readable else ""
        match = READY.fullmatch(line.strip())
        assert match, f"no ready line but {line!r}; the log:\n{self.log_text()}"
        self.address, self.model_name, self.details = match.groups()
        return self

    def __enter__(self):
        try:
            return self.wait_ready()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, kind, *_):
        if kind is not None:
            self.kill()
            print(f"--- log of the cluster ---\n{self.log_text()}")
            return
        if self.process.poll() is None:
            assert self.stop() == 0, f"the cluster did not end well:\n{self.log_text()}"
        self.process.stdout.close()

    def log_text(self):
        self.log.seek(0)
        return self.log.read()

    def client(self):
        return Client(self.address)

    def pids(self, role):
        return sorted(pid for pid, each in descendants(self.process.pid).items() if each == role)

    def ranks(self):
        """{worker id: pid}"""
        found = {}
        for pid in self.pids("worker"):
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            found[re.search(r"worker\.id=([^\0]+)", command).group(1)] = pid
        return found

    def cluster_view(self):
        """The cluster as the router sees it."""
        command = pathlib.Path(f"/proc/{self.pids('gateway')[0]}/cmdline").read_bytes().decode()
        address = re.search(r"gateway\.router_address=([^\0]+)", command).group(1)
        with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            return router_grpc.RouterServiceStub(channel).GetCluster(router.GetClusterRequest(), timeout=STOP_SECONDS)

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        """SIGTERM, and the exit code."""
        children = list(descendants(self.process.pid))
        self.signal(signal.SIGTERM)
        code = self.process.wait(STOP_SECONDS)
        assert not any(alive(child) for child in children), "a child outlived the cluster"
        return code

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
        self.process.stdout.close()


def usage_of(pid):
    """(open descriptors, resident bytes) of a process."""
    resident = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir())), resident
