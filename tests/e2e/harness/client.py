"""A client as a stranger would write it: generated from the protos, at test time."""
import atexit
import dataclasses
import importlib
import pathlib
import shutil
import sys
import tempfile

import grpc
import grpc_tools
import grpc_tools.protoc

from harness.environment import CALL_SECONDS, SOURCE


def _generate():
    folder = tempfile.mkdtemp(prefix="tessera-protos-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    protos = SOURCE / "protos"
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    code = grpc_tools.protoc.main([
        "protoc", f"-I{protos}", f"-I{well_known}", f"--python_out={folder}", f"--grpc_python_out={folder}",
        *(str(file) for file in sorted((protos / "tessera/v1").glob("*.proto")))])
    assert code == 0, "the protos do not compile for Python"
    sys.path.insert(0, folder)


_generate()
inference = importlib.import_module("tessera.v1.inference_pb2")
inference_grpc = importlib.import_module("tessera.v1.inference_pb2_grpc")
router = importlib.import_module("tessera.v1.router_pb2")
router_grpc = importlib.import_module("tessera.v1.router_pb2_grpc")

USER, ASSISTANT, SYSTEM = inference.ROLE_USER, inference.ROLE_ASSISTANT, inference.ROLE_SYSTEM


def text(value):
    return inference.ContentPart(text=value)


def image(data):
    return inference.ContentPart(image=inference.ImageContent(data=data))


def message(role, *parts, **options):
    return inference.Message(role=role, content=[text(part) if isinstance(part, str) else part for part in parts], **options)


def request(*messages, **sampling):
    """A request of these messages, or of one user message if given parts alone."""
    if not all(isinstance(each, inference.Message) for each in messages):
        messages = [message(USER, *messages)]
    return inference.GenerateRequest(messages=messages, sampling=inference.SamplingParameters(**sampling))


@dataclasses.dataclass
class Choice:
    text: str = ""
    token_ids: list = dataclasses.field(default_factory=list)
    logprobs: list = dataclasses.field(default_factory=list)
    boxes: list = dataclasses.field(default_factory=list)
    finished: object = None


@dataclasses.dataclass
class Answer:
    started: object = None
    choices: dict = dataclasses.field(default_factory=dict)
    usage: object = None
    events: list = dataclasses.field(default_factory=list)  # (choice, kind)

    def __getattr__(self, name):  # an answer of one choice reads like that choice
        return getattr(self.choices[0], name)

    def add(self, response):
        kind = response.WhichOneof("event")
        self.events.append((response.choice, kind))
        if kind == "started":
            self.started = response.started
            return
        if kind == "usage":
            self.usage = response.usage
            return
        choice = self.choices.setdefault(response.choice, Choice())
        if kind == "text":
            choice.text += response.text.text
            choice.token_ids.extend(response.text.token_ids)
            choice.logprobs.extend(response.text.logprobs)
        elif kind == "box":
            choice.boxes.append(response.box)
        elif kind == "finished":
            choice.finished = response.finished


class Client:
    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=[
            ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)])
        self.stub = inference_grpc.InferenceServiceStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def stream(self, generate_request, timeout=CALL_SECONDS, **options):
        return self.stub.Generate(generate_request, timeout=timeout, **options)

    def ask(self, *messages, timeout=CALL_SECONDS, **sampling):
        answer = Answer()
        for response in self.stream(request(*messages, **sampling), timeout):
            answer.add(response)
        return answer

    def send(self, generate_request, timeout=CALL_SECONDS):
        answer = Answer()
        for response in self.stream(generate_request, timeout):
            answer.add(response)
        return answer

    def error_of(self, generate_request, timeout=CALL_SECONDS):
        """(code, details, the error) of a call that must fail."""
        try:
            answer = self.send(generate_request, timeout)
        except grpc.RpcError as error:
            return error.code(), error.details(), error
        raise AssertionError(f"was answered: {answer}")
