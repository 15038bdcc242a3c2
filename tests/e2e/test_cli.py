"""`tessera` as people type it. The README's demonstrations run here with models whose tokens the reference implementation gave."""
import io
import json
import os
import re
import signal
import subprocess

import PIL.Image
import pytest

from harness import golden
from harness.cluster import Cluster, alive, descendants, run_tessera, wait_until
from harness.environment import BINARY, GOLDEN, IMAGES, MODELS, NANO, STOP_SECONDS

TINY = MODELS / "tiny_mha"
COMMANDS = ["ask", "chat", "serve", "gateway", "router", "worker", "top", "check", "plan", "version"]
needs_nano = pytest.mark.skipif(not (NANO / "examples/readme.png").exists(), reason="models/nano is not here")


@pytest.fixture(scope="module")
def cluster():
    with Cluster(TINY) as running:
        yield running


def pictures(case):
    return [argument for name in case.picture_names for argument in ("--image", IMAGES / name)]


def ask_json(*arguments, **options):
    done = run_tessera("ask", "--json", *arguments, **options)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return "\n".join(lines[:-1]), json.loads(lines[-1])


# --- the four demonstrations of the official README ---

@pytest.mark.parametrize("model", golden.model_names())
def test_one_picture(model):
    case = golden.case(model, "img1")
    _, answer = ask_json("--model", case.model_dir, "--compute", "f32", *pictures(case), "-n", 32, case.turns[0]["content"])
    assert answer["token_ids"] == case.until_eos
    assert answer["usage"]["prompt_tokens"] == case.prompt_tokens
    assert answer["usage"]["image_tokens"] == case.image_tokens


@pytest.mark.parametrize("model", golden.model_names())
def test_three_interleaved_pictures(model):
    case = golden.case(model, "img3")
    if not case.available:
        pytest.skip("a picture of the reference repository is not part of this tree")
    _, answer = ask_json("--model", case.model_dir, "--compute", "f32", *pictures(case), "-n", 32, case.turns[0]["content"])
    assert answer["token_ids"] == case.until_eos


def test_incremental_prefill():
    case = golden.case("tiny_mha", "img2")
    for chunk in case.data["incremental_prefilling"]:
        _, answer = ask_json("--model", TINY, "--compute", "f32", "--chunk-tokens", chunk, *pictures(case), "-n", 32,
                             case.turns[0]["content"])
        assert answer["token_ids"] == case.until_eos


def test_grounding_is_the_official_prompt(cluster):
    picture = ["--image", IMAGES / "rgb_384x384.png"]
    _, typed = ask_json("--server", cluster.address, *picture, "--grounding", "-n", 8, "Who is in front?")
    _, written = ask_json("--server", cluster.address, *picture, "-n", 8, "<|grounding|>Who is in front?")
    assert typed["token_ids"] == written["token_ids"]
    assert typed["usage"]["prompt_tokens"] == written["usage"]["prompt_tokens"]
    _, referred = ask_json("--server", cluster.address, *picture, "-n", 8, "<|ref|>The person at the back.<|/ref|>")
    assert len(referred["token_ids"]) == 8


@needs_nano
def test_boxes_and_the_annotated_picture(tmp_path):
    picture = NANO / "examples/readme.png"
    out = tmp_path / "answer.png"
    text, answer = ask_json("--model", NANO, "--image", picture, "--annotate", out, "Where is the <|ref|>giraffe<|/ref|>?")
    assert answer["boxes"] and all(box["valid"] for box in answer["boxes"]), answer
    box = answer["boxes"][0]
    original, drawn = PIL.Image.open(picture).convert("RGB"), PIL.Image.open(out)
    assert drawn.size == original.size
    assert drawn.getpixel((box["pixels"][0], (box["pixels"][1] + box["pixels"][3]) // 2)) != \
        original.getpixel((box["pixels"][0], (box["pixels"][1] + box["pixels"][3]) // 2))
    plain = run_tessera("ask", "--model", NANO, "--image", picture, "Where is the <|ref|>giraffe<|/ref|>?")
    assert f"pixels ({box['pixels'][0]}, {box['pixels'][1]})" in plain.stdout


# --- ask ---

def test_pictures_stand_before_a_question_without_placeholders(cluster):
    case = golden.case("tiny_mha", "img1")
    question = case.turns[0]["content"].removeprefix("<image>\n")
    _, answer = ask_json("--server", cluster.address, *pictures(case), "-n", 32, question)
    assert answer["token_ids"] == case.until_eos


def test_text_streams_to_standard_output_and_nothing_else(cluster):
    case = golden.case("tiny_mha", "text")
    done = run_tessera("ask", "--server", cluster.address, "-n", 32, case.turns[0]["content"])
    text, answer = ask_json("--server", cluster.address, "-n", 32, case.turns[0]["content"])
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.rstrip("\n") == answer["text"].rstrip("\n") == text.rstrip("\n")
    assert answer["finish_reason"] == "length" and answer["model"] == "tiny_mha" and answer["token_ids"] == case.until_eos
    assert set(answer) == {"text", "token_ids", "boxes", "usage", "finish_reason", "stop_string", "seed", "request_id", "model",
                           "model_revision"}


def test_a_private_cluster_is_quiet_and_leaves_nothing_behind():
    process = subprocess.Popen([BINARY, "ask", "--model", TINY, "-n", "8", "Hello"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    children = wait_until(lambda: list(descendants(process.pid)), what="the private cluster")
    out, err = process.communicate(timeout=STOP_SECONDS * 2)
    assert process.returncode == 0 and out.strip() and err == ""
    wait_until(lambda: not any(alive(child) for child in children), what="the end of the private cluster")


def test_the_question_comes_from_standard_input(cluster):
    case = golden.case("tiny_mha", "text")
    _, answer = ask_json("--server", cluster.address, "-n", 32, "-", input=case.turns[0]["content"] + "\n")
    assert answer["token_ids"] == case.until_eos


def test_sampling_flags_reach_the_model(cluster):
    arguments = ["--server", cluster.address, "-n", 24, "--temperature", 1.0, "--top-p", 0.9, "--top-k", 40, "Hello"]
    _, first = ask_json("--seed", 4, *arguments)
    _, again = ask_json("--seed", 4, *arguments)
    _, other = ask_json("--seed", 5, *arguments)
    assert first["token_ids"] == again["token_ids"] != other["token_ids"]
    assert first["seed"] == 4
    _, whole = ask_json("--server", cluster.address, "-n", 24, "Hello")
    stop = whole["text"][5:8]
    _, stopped = ask_json("--server", cluster.address, "-n", 24, "--stop", stop, "Hello")
    assert stopped["finish_reason"] == "stop_string" and stopped["stop_string"] == stop
    _, with_system = ask_json("--server", cluster.address, "-n", 4, "--system", "Be brief.", "Hello")
    assert with_system["usage"]["prompt_tokens"] > whole["usage"]["prompt_tokens"]


@pytest.mark.parametrize("arguments, code, says", [
    (["--max-tokens", "0", "Hello"], 1, "INVALID_ARGUMENT: .*max_tokens"),
    (["--temperature", "nan", "Hello"], 1, "INVALID_ARGUMENT: .*temperature"),
    (["--image", "no/such.png", "Hello"], 1, "NOT_FOUND: .*no/such.png"),
    (["--image", str(IMAGES), "Hello"], 1, "INVALID_ARGUMENT: .*folder"),
    (["--image", str(GOLDEN / "README.md"), "Hello"], 1, "INVALID_ARGUMENT: .*image"),
    (["--annotate", "out.png", "Hello"], 1, "INVALID_ARGUMENT: .*--annotate"),
    (["<image> Hello"], 1, "INVALID_ARGUMENT: .*image"),
    ([], 2, "QUESTION is required"),
    (["--no-such-flag", "Hello"], 2, "--no-such-flag"),
    (["--top-k", "many", "Hello"], 2, "--top-k: .*many"),
    (["--timeout", "-3s", "Hello"], 2, "--timeout"),
    (["one", "two"], 2, "two"),
])
def test_errors_go_to_standard_error_with_their_code(cluster, arguments, code, says):
    done = run_tessera("ask", "--server", cluster.address, *arguments)
    assert done.returncode == code, done.stderr
    assert re.search(says, done.stderr, re.DOTALL), done.stderr
    assert done.stderr.startswith("tessera ask: ") and done.stdout == ""


def test_a_server_that_is_not_there():
    done = run_tessera("ask", "--server", "127.0.0.1:1", "Hello")
    assert done.returncode == 1 and "UNAVAILABLE" in done.stderr
    done = run_tessera("ask", "--server", "nonsense", "Hello")
    assert done.returncode == 1 and "nonsense" in done.stderr


def test_a_private_cluster_that_cannot_start_says_why(tmp_path):
    done = run_tessera("ask", "--model", tmp_path, "Hello")
    assert done.returncode == 1
    assert re.fullmatch(r"tessera ask: NOT_FOUND: (worker 0|gateway): .*config\.json.*\n|tessera ask: NOT_FOUND: .*\.json.*\n", done.stderr), done.stderr


def test_the_time_limit_ends_an_answer(cluster):
    done = run_tessera("ask", "--server", cluster.address, "--timeout", "300ms", "-n", 4000, "Tell me about the sea.")
    assert done.returncode == 1 or "finish_reason" in done.stdout or done.returncode == 0
    if done.returncode == 1:
        assert "DEADLINE_EXCEEDED" in done.stderr


def test_ctrl_c_cancels(cluster):
    process = subprocess.Popen([BINARY, "ask", "--server", cluster.address, "-n", "4000", "Tell me about the sea."],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.read(process.stdout.fileno(), 1)  # it streams
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=STOP_SECONDS)
    if process.returncode != 0:  # else the answer was over already
        assert process.returncode == 1 and b"CANCELLED" in err
    wait_until(lambda: all(each.load.running_requests == 0 for each in cluster.cluster_view().workers), what="an idle cluster")


# --- chat ---

def test_chat_remembers_the_turns_and_the_picture(cluster):
    case = golden.case("tiny_mha", "multi")
    first, second = case.turns[0], case.turns[2]
    script = f"/image {IMAGES / first['images'][0]}\n{first['content'].removeprefix('<image>').strip()}\n{second['content']}\n/boxes\n/quit\n"
    done = run_tessera("chat", "--server", cluster.address, "-n", 8, input=script)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.startswith("image 0: ")
    assert len(done.stdout.splitlines()) >= 3
    assert "The last answer has no boxes." in done.stdout


def test_chat_commands(cluster, tmp_path):
    saved = tmp_path / "chat.json"
    script = f"/help\n/system Be brief.\nHello\n/save {saved}\n/reset\n/image no-such.png\n/fly\n"
    done = run_tessera("chat", "--server", cluster.address, "-n", 4, input=script)
    assert done.returncode == 1, "from a pipe a line that fails is a failure"
    assert "/image FILE" in done.stdout and "The conversation is forgotten." in done.stdout
    assert "NOT_FOUND" in done.stderr and "no-such.png" in done.stderr and "there is no /fly" in done.stderr
    content = json.loads(saved.read_text())
    assert content["system"] == "Be brief."
    assert [each["role"] for each in content["messages"]] == ["user", "assistant"]


def test_chat_goes_on_after_a_failed_answer(cluster):
    done = run_tessera("chat", "--server", cluster.address, "-n", 4, input="<image> where?\nHello\n")
    assert done.returncode == 1
    assert "INVALID_ARGUMENT" in done.stderr
    alone = run_tessera("chat", "--server", cluster.address, "-n", 4, input="Hello\n")
    assert done.stdout == alone.stdout, "the failed question is not part of the conversation"


def test_chat_brings_its_own_cluster():
    done = run_tessera("chat", "--model", TINY, "-n", 4, input="Hello\n")
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


# --- the rest ---

@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    done = run_tessera(command, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert f"tessera {command}" in done.stdout and "Exit codes:" in done.stdout
    assert run_tessera("help", command).stdout == done.stdout
    assert run_tessera(command, "--no-such-flag").returncode == 2


def test_top_level_help_and_usage():
    done = run_tessera("--help")
    assert done.returncode == 0 and all(f"  {command}" in done.stdout for command in COMMANDS)
    assert run_tessera().returncode == 2
    unknown = run_tessera("fly")
    assert unknown.returncode == 2 and '"fly"' in unknown.stderr


def test_version_names_what_matters():
    done = run_tessera("version")
    assert done.returncode == 0
    assert re.search(r"^tessera \d+\.\d+\.\d+ \(commit ", done.stdout)
    assert re.search(r"^kernels: .*reference", done.stdout, re.MULTILINE)
    assert "gRPC 1." in done.stdout and "Protobuf 3." in done.stdout


def test_plan_prints_topologies():
    done = run_tessera("plan", "--model", MODELS / "small_mla", "--gpu-memory", "40GiB")
    assert done.returncode == 0, done.stderr
    assert "latent attention" in done.stdout and "tokens on each rank" in done.stdout
    one = run_tessera("plan", "--model", MODELS / "small_mla", "--stages", 1, "--expert-ranks", 2)
    assert len(one.stdout.strip().splitlines()) == len(done.stdout.strip().splitlines()) - 8
    assert run_tessera("plan", "--model", MODELS / "small_mla", "--stages", 999, "--expert-ranks", 1).returncode == 1
    assert run_tessera("plan", "--model", MODELS / "none").returncode == 1
    small = run_tessera("plan", "--model", MODELS / "small_mla", "--gpu-memory", "1MiB")
    assert "does not fit" in small.stdout


def test_check_passes_on_one_golden_model():
    done = run_tessera("check", TINY)
    assert done.returncode == 0, done.stdout + done.stderr
    none = run_tessera("check", IMAGES)
    assert none.returncode == 1 and none.stderr.startswith("tessera check: ")


def test_serve_reads_a_config_file(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text(f"model: {{path: {TINY}, name: my-model}}\nworkers: 2\nworker: {{compute: f32}}\n")
    process = Cluster.__new__(Cluster)
    process.log = open(tmp_path / "log", "w+")
    process.process = subprocess.Popen([BINARY, "serve", "--config", file, "--listen", "127.0.0.1:0", "--router-listen", "127.0.0.1:0"],
                                       stdout=subprocess.PIPE, stderr=process.log, text=True)
    with process as cluster, cluster.client() as client:
        assert cluster.model_name == "my-model" and "2 workers" in cluster.details and "f32" in cluster.details
        case = golden.case("tiny_mha", "text")
        assert client.ask(*case.messages, max_tokens=32, ignore_eos=True).token_ids == case.greedy


def test_roles_run_by_themselves(tmp_path):
    """As in Kubernetes: three processes that know each other by address alone."""
    def start(*arguments):
        read_end, write_end = os.pipe()
        process = subprocess.Popen([BINARY, *map(str, arguments), "--ready-fd", str(write_end), "--log-level", "error"], pass_fds=[write_end])
        os.close(write_end)
        with os.fdopen(read_end) as lines:
            for line in lines:
                content = json.loads(line)
                assert "error" not in content, content
                if "address" in content:
                    return process, content["address"]
        raise AssertionError("no ready line")
    router, router_address = start("router", "--listen", "127.0.0.1:0")
    worker, _ = start("worker", "--model", TINY, "--router", router_address, "--compute", "f32", "--id", "w")
    gateway, address = start("gateway", "--model", TINY, "--router", router_address, "--listen", "127.0.0.1:0")
    case = golden.case("tiny_mha", "text")
    _, answer = ask_json("--server", address, "-n", 32, case.turns[0]["content"])
    assert answer["token_ids"] == case.until_eos
    for process in (gateway, worker, router):
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0


def test_a_role_says_its_error_on_a_terminal():
    done = run_tessera("worker", "--model", MODELS / "none")
    assert done.returncode == 1 and done.stderr.startswith("tessera worker: NOT_FOUND"), done.stderr


# --- topology and top ---

def router_of(cluster):
    return cluster_argument(cluster, "gateway", r"gateway\.router_address=([^\0]+)")


def cluster_argument(cluster, role, pattern):
    with open(f"/proc/{cluster.pids(role)[0]}/cmdline") as file:
        return re.search(pattern, file.read()).group(1)


def test_plain_workers_by_topology_and_top():
    with Cluster(TINY, topology="1x1*2") as cluster:
        assert cluster.details.endswith("2 ranks as 1x1*2")
        assert set(cluster.ranks()) == {"both-0", "both-1"}
        address = router_of(cluster)
        table = run_tessera("top", "--once", "--interval", "100ms", "--router", address)
        assert table.returncode == 0 and "\033" not in table.stdout, table.stderr
        assert re.search(r"^both-0 +both .* ready ", table.stdout, re.MULTILINE), table.stdout
        line = run_tessera("top", "--once", "--json", "--interval", "100ms", "--router", address)
        view = json.loads(line.stdout)
        assert [rank["id"] for rank in view["ranks"]] == ["both-0", "both-1"]
        assert view["pools"][-1]["ready_ranks"] == 2
    gone = run_tessera("top", "--once", "--router", address)
    assert gone.returncode == 1 and gone.stderr.startswith("tessera top: UNAVAILABLE: "), gone.stderr


@pytest.mark.parametrize("arguments, code, says", [
    (["--topology", "2y2"], 2, "position 2"),
    (["--topology", "prefill=1x1"], 2, "none of role decode"),
    (["--topology", "1x1", "--workers", "1"], 1, "workers, topology: both are given"),
])
def test_a_topology_that_cannot_be(arguments, code, says):
    done = run_tessera("serve", "--model", TINY, *arguments)
    assert done.returncode == code and says in done.stderr, done.stderr
