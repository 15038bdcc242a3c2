"""The official implementation's greedy tokens through the whole cluster: picture files and text in, token ids out, float32."""
import concurrent.futures

import pytest

from harness import golden
from harness.client import inference
from harness.cluster import Cluster


@pytest.fixture(scope="module", params=golden.model_names())
def served(request):
    with Cluster(golden.MODELS / request.param) as cluster, cluster.client() as client:
        yield request.param, client


def test_greedy_tokens_usage_and_counts(served):
    model, client = served
    for case in golden.cases(model):
        answer = client.ask(*case.messages, max_tokens=32, ignore_eos=True)
        assert answer.token_ids == case.greedy, case.name
        assert answer.finished.reason == inference.FINISH_REASON_LENGTH
        assert answer.usage.prompt_tokens == case.prompt_tokens, case.name
        assert answer.usage.image_tokens == case.image_tokens, case.name
        assert answer.usage.completion_tokens == 32
        counted = client.stub.CountTokens(inference.CountTokensRequest(messages=case.messages), timeout=60)
        assert (counted.prompt_tokens, counted.image_tokens) == (case.prompt_tokens, case.image_tokens)
        crops = case.data["images_spatial_crop"] if case.picture_names else []
        assert [[each.tiles_across, each.tiles_down] for each in counted.images] == crops


def test_ends_at_the_end_token(served):
    model, client = served
    for case in golden.cases(model):
        answer = client.ask(*case.messages, max_tokens=32)
        assert answer.token_ids == case.until_eos, case.name
        ended_early = len(case.until_eos) < 32
        assert answer.finished.reason == (inference.FINISH_REASON_STOP if ended_early else inference.FINISH_REASON_LENGTH)
        # "generated_text" leaves special tokens out; a random model may write some.
        if case.data["generated_text"] == case.data.get("greedy_text"):
            assert answer.text.strip() == case.data["generated_text"].strip(), case.name


def test_a_cached_prefix_leaves_no_trace(served):
    model, client = served
    case = golden.case(model, "img1")
    again = client.ask(*case.messages, max_tokens=32, ignore_eos=True)
    assert again.usage.cached_tokens > 0
    assert again.token_ids == case.greedy


@pytest.mark.parametrize("chunk", [1, 7, 512])
def test_incremental_prefill_changes_no_token(chunk):
    """The fourth demonstration of the official README: the prompt in chunks."""
    case = golden.case("small_mla", "multi")
    with Cluster(case.model_dir, "--chunk-tokens", chunk) as cluster, cluster.client() as client:
        answer = client.ask(*case.messages, max_tokens=32, ignore_eos=True)
    assert answer.token_ids == case.greedy
    assert all(tokens == case.greedy for tokens in case.data["incremental_prefilling"].values())


@pytest.mark.parametrize("model", ["tiny_mha", "small_mla"])
def test_many_clients_and_two_workers(model):
    """Batches of strangers change nothing: 16 calls at once from 4 clients, each held to its golden tokens."""
    wanted = golden.cases(model)
    with Cluster(golden.MODELS / model, workers=2) as cluster:
        clients = [cluster.client() for _ in range(4)]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            calls = []
            for i in range(16):
                case = wanted[i % len(wanted)]
                calls.append((case, pool.submit(clients[i % 4].ask, *case.messages, max_tokens=32, ignore_eos=True)))
            for case, call in calls:
                assert call.result().token_ids == case.greedy, case.name
        assert {worker.worker_id for worker in cluster.cluster_view().workers} == {"worker-0", "worker-1"}
        for client in clients:
            client.channel.close()


def test_image_parts_stand_where_they_are():
    """Without placeholders a picture part stands at its place: the same ids as the official text with `<image>`."""
    case = golden.case("tiny_mha", "img1")
    turn = case.turns[0]
    picture = (golden.IMAGES / turn["images"][0]).read_bytes()
    from harness.client import USER, image, message
    parts = message(USER, image(picture), turn["content"].removeprefix("<image>"))
    with Cluster(case.model_dir) as cluster, cluster.client() as client:
        assert client.ask(parts, max_tokens=32, ignore_eos=True).token_ids == case.greedy
