"""What is asked decides what is answered, not who computes it: the same golden tokens from every layout of ranks, float32 and bf16."""
import concurrent.futures

import pytest

from harness import golden
from harness.cluster import Cluster, wait_until

GROUPS = ["1x2", "1x4", "2x1", "2x2", "3x1"]  # stages x expert ranks
SPLIT = ["prefill=1x1,decode=1x1", "prefill=1x2,decode=1x2", "prefill=1x1,decode=2x1", "prefill=1x2,decode=1x1"]


def ask_all(client, cases, at_once=1):
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        calls = [pool.submit(client.ask, *case.messages, max_tokens=32, ignore_eos=True) for case in cases]
        return [call.result() for call in calls]


@pytest.mark.parametrize("topology", GROUPS + SPLIT)
def test_golden_tokens(topology):
    cases = golden.cases("tiny_mha")
    with Cluster(golden.MODELS / "tiny_mha", topology=topology) as cluster, cluster.client() as client:
        for at_once in (1, 8):
            for case, answer in zip(cases, ask_all(client, cases, at_once)):
                assert answer.token_ids == case.greedy, (topology, at_once, case.name)
                assert answer.usage.prompt_tokens == case.prompt_tokens


@pytest.mark.parametrize("topology", ["1x2", "2x2", "prefill=1x2,decode=1x2"])
@pytest.mark.parametrize("model", [name for name in golden.model_names() if name != "tiny_mha"])
def test_golden_tokens_of_every_model(model, topology):
    cases = golden.cases(model)
    with Cluster(golden.MODELS / model, topology=topology) as cluster, cluster.client() as client:
        for case, answer in zip(cases, ask_all(client, cases, 4)):
            assert answer.token_ids == case.greedy, (topology, case.name)


@pytest.mark.parametrize("arguments", [["--chunk-tokens", 7], ["--chunk-tokens", 64], ["--set", "worker.prefix_caching=false"]],
                         ids=["chunk 7", "chunk 64", "no prefix cache"])
@pytest.mark.parametrize("topology", ["2x2", "prefill=1x1,decode=1x1"])
def test_chunks_and_caches_leave_no_trace(topology, arguments):
    cases = golden.cases("small_mla")
    with Cluster(golden.MODELS / "small_mla", *arguments, topology=topology) as cluster, cluster.client() as client:
        for _ in range(2):
            for case, answer in zip(cases, ask_all(client, cases, 4)):
                assert answer.token_ids == case.greedy, (topology, case.name)


def test_bf16_gives_the_same_tokens_and_log_probabilities_everywhere():
    """The serving precision has no golden tokens: one process is the reference, to the last bit of the log probabilities."""
    case = golden.case("small_mla", "img1")
    seen = {}
    for topology in ["1x1", "1x2", "2x2", "prefill=1x2,decode=1x1"]:
        with Cluster(case.model_dir, topology=topology, compute="bf16") as cluster, cluster.client() as client:
            answer = client.ask(*case.messages, max_tokens=24, ignore_eos=True, logprobs=3, temperature=0.7, seed=11)
            seen[topology] = (answer.token_ids, [each.SerializeToString() for each in answer.logprobs])
    assert all(each == seen["1x1"] for each in seen.values())


def test_two_groups_share_the_work():
    cases = golden.cases("tiny_mha")
    with Cluster(golden.MODELS / "tiny_mha", topology="1x2*2") as cluster, cluster.client() as client:
        for case, answer in zip(cases * 2, ask_all(client, cases * 2, 8)):
            assert answer.token_ids == case.greedy
        places = {worker.place.group for worker in cluster.cluster_view().workers}
        assert len(places) == 2


def test_a_second_question_about_a_picture_finds_its_prefix_where_it_is():
    """Three workers in turn would compute it three times; placed by prefix, only the first question does."""
    case = golden.case("tiny_mha", "img1")
    with Cluster(case.model_dir, "--set", "router.policy=prefix", topology="1x1*3") as cluster, cluster.client() as client:
        first = client.ask(*case.messages, max_tokens=4, ignore_eos=True)
        assert first.usage.cached_tokens == 0
        # Workers tell the router of their blocks with their heartbeats.
        wait_until(lambda: any(worker.load.kv_blocks_cached > 0 for worker in cluster.cluster_view().workers),
                   what="the report of the cached blocks")
        for _ in range(4):
            again = client.ask(*case.messages, max_tokens=4, ignore_eos=True)
            assert again.usage.cached_tokens > 0
            assert again.token_ids == case.greedy[:4]


def test_the_split_pools_show_in_the_cluster():
    with Cluster(golden.MODELS / "tiny_mha", topology="prefill=1x1,decode=1x2") as cluster:
        roles = sorted(worker.role for worker in cluster.cluster_view().workers)
        assert roles == [2, 3, 3]
        wait_until(lambda: all(worker.place.epoch > 0 for worker in cluster.cluster_view().workers if worker.place.group),
                   what="the epoch of the decode group")
