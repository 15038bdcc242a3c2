"""Checkpoint folders and settings that cannot work: `tessera serve` says once what is wrong, cleans up and ends with 1."""
import gzip
import json
import shutil
import struct

import pytest

from harness import golden
from harness.cluster import Cluster, descendants, run_tessera

SOURCE_MODEL = golden.MODELS / "tiny_mha"
SHARD = "model-00001-of-000001.safetensors"


@pytest.fixture
def model(tmp_path):
    return shutil.copytree(SOURCE_MODEL, tmp_path / "model", ignore=shutil.ignore_patterns("golden"))


def serve(model, *arguments):
    listen = [part for flag in ("--listen", "--router-listen") if flag not in arguments for part in (flag, "127.0.0.1:0")]
    return run_tessera("serve", "--model", model, "--log-level", "error", *listen, *arguments)


def expect_failure(model, *says, arguments=()):
    done = serve(model, *arguments)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    for text in says:
        assert text in done.stderr, done.stderr
    assert done.stderr.count("tessera serve:") == 1, f"said more than once:\n{done.stderr}"
    assert len(done.stderr.strip().splitlines()) <= 2, f"more than the error:\n{done.stderr}"


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rewrite_header(path, change):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length:])


def test_no_such_folder(tmp_path):
    expect_failure(tmp_path / "none", "NOT_FOUND", "none")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "processor_config.json", SHARD])
def test_a_missing_file(model, name):
    (model / name).unlink()
    expect_failure(model, "NOT_FOUND", name)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "processor_config.json"])
def test_a_file_that_is_no_json(model, name):
    (model / name).write_text((model / name).read_text()[:100])
    expect_failure(model, "INVALID_ARGUMENT", name)


def test_a_truncated_checkpoint(model):
    data = (model / SHARD).read_bytes()
    (model / SHARD).write_bytes(data[:len(data) // 2])
    expect_failure(model, "INVALID_ARGUMENT", SHARD)


def test_an_empty_checkpoint(model):
    (model / SHARD).write_bytes(b"")
    expect_failure(model, SHARD)


def test_a_header_longer_than_the_file(model):
    data = (model / SHARD).read_bytes()
    (model / SHARD).write_bytes(struct.pack("<Q", 1 << 60) + data[8:])
    expect_failure(model, "INVALID_ARGUMENT", SHARD)


def test_an_offset_beyond_the_file(model):
    def lie(header):
        first = next(name for name in header if name != "__metadata__")
        begin, end = header[first]["data_offsets"]
        header[first]["data_offsets"] = [begin + (1 << 40), end + (1 << 40)]
    rewrite_header(model / SHARD, lie)
    expect_failure(model, "INVALID_ARGUMENT", SHARD)


def test_a_shape_that_does_not_fit_its_bytes(model):
    def lie(header):
        header["language.model.norm.weight"]["shape"] = [1 << 20]
    rewrite_header(model / SHARD, lie)
    expect_failure(model, "INVALID_ARGUMENT", "language.model.norm.weight")


def test_a_missing_tensor(model):
    rewrite_header(model / SHARD, lambda header: header.pop("language.model.norm.weight"))
    expect_failure(model, "language.model.norm.weight")


def test_a_config_that_disagrees_with_the_tensors(model):
    edit_json(model / "config.json", lambda config: config["language_config"].update(vocab_size=config["language_config"]["vocab_size"] + 64))
    expect_failure(model, "INVALID_ARGUMENT")


def test_an_unknown_architecture(model):
    edit_json(model / "config.json", lambda config: config.update(architectures=["LlamaForCausalLM"]))
    expect_failure(model, "UNIMPLEMENTED", "LlamaForCausalLM")


def test_a_tokenizer_of_another_kind(model):
    text = (model / "tokenizer.json").read_text()
    (model / "tokenizer.json").write_text(text.replace('"BPE"', '"WordPiece"'))
    expect_failure(model, "tokenizer.json", "WordPiece")


def test_the_tokenizer_of_a_bigger_model(model):
    """128,000 entries for a model that has no rows for them."""
    packed = golden.GOLDEN / "tokenizers/ds_v3"
    (model / "tokenizer.json").write_bytes(gzip.decompress((packed / "tokenizer.json.gz").read_bytes()))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(packed / name, model / name)
    expect_failure(model, "INVALID_ARGUMENT", "tokenizer")


def test_a_negative_config_value(model):
    edit_json(model / "config.json", lambda config: config["language_config"].update(num_hidden_layers=-1))
    expect_failure(model, "INVALID_ARGUMENT", "num_hidden_layers")


def test_an_unknown_yaml_key_names_line_and_neighbour(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text("workers: 1\nworker:\n  thread: 2\n")
    expect_failure(SOURCE_MODEL, "cluster.yaml:3", "thread", "threads", arguments=["--config", file])


def test_a_yaml_value_out_of_range(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text("workers: 1000\n")
    expect_failure(SOURCE_MODEL, "cluster.yaml:1", "workers", "64", arguments=["--config", file])


def test_a_config_file_that_is_not_there(tmp_path):
    expect_failure(SOURCE_MODEL, "NOT_FOUND", "none.yaml", arguments=["--config", tmp_path / "none.yaml"])


def test_kernels_that_do_not_run_here_are_named():
    done = run_tessera("serve", "--model", SOURCE_MODEL, "--cpu-isa", "sse9")
    assert done.returncode == 2
    assert "sse9" in done.stderr and "avx2" in done.stderr


@pytest.mark.parametrize("flag", ["--listen", "--router-listen"])
def test_a_port_in_use(flag):
    with Cluster(SOURCE_MODEL) as running:
        done = serve(SOURCE_MODEL, flag, running.address)
        assert done.returncode == 1
        assert running.address in done.stderr and "in use" in done.stderr, done.stderr
        with running.client() as client:  # the first one is not disturbed
            assert len(client.ask("Hello", max_tokens=2, ignore_eos=True).token_ids) == 2
        assert len(descendants(running.process.pid)) == 3
