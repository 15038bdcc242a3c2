"""Processes that die: the clients see a pause at most, never another token."""
import os
import signal
import threading

import grpc
import pytest

from harness import golden
from harness.client import Answer, request
from harness.cluster import Cluster, alive, descendants, wait_until
from harness.environment import STOP_SECONDS

MODEL = golden.MODELS / "tiny_mha"
QUESTION = "Tell me a long story about the sea."
LENGTH = 1500


class Streams(threading.Thread):
    """One client that streams; `started` is set when some tokens have come."""

    def __init__(self, client, tokens=LENGTH, **sampling):
        super().__init__()
        self.call = client.stream(request(QUESTION, max_tokens=tokens, ignore_eos=True, **sampling))
        self.answer = Answer()
        self.started = threading.Event()
        self.error = None

    def run(self):
        try:
            for response in self.call:
                self.answer.add(response)
                if self.answer.choices and len(self.answer.token_ids) >= 20:
                    self.started.set()
        except grpc.RpcError as error:
            self.error = error
        finally:
            self.started.set()


def start(streams):
    for each in streams:
        each.start()
    for each in streams:
        assert each.started.wait(STOP_SECONDS)
        assert each.error is None, each.error


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0, "seed": 3}], ids=["greedy", "sampled"])
def test_a_worker_killed_in_mid_stream_changes_no_token(sampling):
    with Cluster(MODEL, workers=2) as cluster, cluster.client() as client:
        undisturbed = client.ask(QUESTION, max_tokens=LENGTH, ignore_eos=True, **sampling)
        for victim in range(2):
            streams = [Streams(client, **sampling) for _ in range(4)]
            start(streams)
            in_flight = [each for each in streams if each.is_alive()]
            workers = cluster.pids("worker")
            os.kill(workers[victim], signal.SIGKILL)
            for each in streams:
                each.join(60)
                assert each.error is None, each.error
                assert each.answer.token_ids == undisturbed.token_ids
                assert each.answer.text == undisturbed.text
                assert [kind for _, kind in each.answer.events].count("started") == 1
                assert each.answer.usage.completion_tokens == LENGTH
            assert in_flight, "all streams had ended before the kill: make them longer"
            # Back before the next one dies.
            wait_until(lambda: len(cluster.pids("worker")) == 2 and workers[victim] not in cluster.pids("worker") and
                       len(cluster.cluster_view().workers) == 2, what="the worker that was started again")
            wait_until(lambda: cluster.log_text().count("serves again") == victim + 1, what="the word that it serves again")
        log = cluster.log_text()
        assert "ended with signal 9 (Killed); starting it again in" in log


def test_a_router_that_restarts_loses_no_stream():
    with Cluster(MODEL, workers=2) as cluster, cluster.client() as client:
        undisturbed = client.ask(QUESTION, max_tokens=LENGTH, ignore_eos=True)
        streams = [Streams(client) for _ in range(2)]
        start(streams)
        old = cluster.pids("router")
        os.kill(old[0], signal.SIGKILL)
        for each in streams:
            each.join(60)
            assert each.error is None, each.error
            assert each.answer.token_ids == undisturbed.token_ids
        wait_until(lambda: cluster.pids("router") not in ([], old), what="the new router")
        wait_until(lambda: "router serves again" in cluster.log_text(), what="the new router's address")
        wait_until(lambda: len(cluster.cluster_view().workers) == 2, what="the workers' registration")
        assert client.ask(QUESTION, max_tokens=8, ignore_eos=True).token_ids == undisturbed.token_ids[:8]


def test_a_gateway_that_restarts_comes_back_at_its_address():
    with Cluster(MODEL) as cluster:
        with cluster.client() as client:
            before = client.ask(QUESTION, max_tokens=8, ignore_eos=True)
        os.kill(cluster.pids("gateway")[0], signal.SIGKILL)
        wait_until(lambda: "gateway serves again" in cluster.log_text(), what="the new gateway")

        def answers():
            with cluster.client() as client:
                try:
                    return client.ask(QUESTION, max_tokens=8, ignore_eos=True).token_ids == before.token_ids
                except grpc.RpcError as error:
                    assert error.code() == grpc.StatusCode.UNAVAILABLE
                    return False
        wait_until(answers, what="an answer at the old address")


def test_with_no_worker_left_the_error_is_honest():
    with Cluster(MODEL, "--set", "gateway.max_attempts=1") as cluster, cluster.client() as client:
        stream = Streams(client, tokens=3000)
        start([stream])
        os.kill(cluster.pids("worker")[0], signal.SIGKILL)
        stream.join(60)
        if stream.error is not None:
            assert stream.error.code() == grpc.StatusCode.UNAVAILABLE, stream.error
        wait_until(lambda: "worker 0 serves again" in cluster.log_text(), what="the worker")
        wait_until(lambda: len(cluster.cluster_view().workers) == 1, what="its registration")
        assert len(client.ask(QUESTION, max_tokens=4, ignore_eos=True).token_ids) == 4


def test_sigterm_drains_what_runs_and_ends_with_0():
    with Cluster(MODEL) as cluster, cluster.client() as client:
        stream = Streams(client, tokens=600)
        start([stream])
        cluster.signal(signal.SIGTERM)
        assert cluster.process.wait(STOP_SECONDS) == 0, cluster.log_text()
        stream.join(STOP_SECONDS)
        assert stream.error is None, stream.error
        assert len(stream.answer.token_ids) == 600, "the stream in flight went on to its end"
        assert stream.answer.usage.completion_tokens == 600


def test_no_new_request_while_draining():
    with Cluster(MODEL) as cluster, cluster.client() as client, cluster.client() as late:
        stream = Streams(client, tokens=2500)
        start([stream])
        cluster.signal(signal.SIGINT)

        def refused():
            try:
                late.ask("Hello", max_tokens=1, timeout=5)
                return False
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE, error
                return True
        wait_until(refused, what="a refusal")
        cluster.signal(signal.SIGINT)  # the second one ends it at once
        code = cluster.process.wait(STOP_SECONDS)
        stream.join(STOP_SECONDS)
        assert code == 1 or (code == 0 and stream.error is None)


def test_children_die_with_their_parent():
    cluster = Cluster(MODEL).wait_ready()
    children = list(descendants(cluster.process.pid))
    assert len(children) == 3
    cluster.kill()
    wait_until(lambda: not any(alive(child) for child in children), what="the end of the children")


def test_ctrl_c_before_it_is_ready():
    cluster = Cluster(MODEL)
    cluster.signal(signal.SIGTERM)
    assert cluster.process.wait(STOP_SECONDS) in (0, -signal.SIGTERM)  # the latter: before it could listen to signals
    cluster.process.stdout.close()
