"""Message classes: made lazily, with Kafka's defaults, and described to type checkers by a stub."""

import ast
import pickle
import subprocess
import sys

import pytest

from pybroker.protocol import messages
from pybroker.protocol.messages import FetchRequest, FetchResponse, ProduceResponse
from pybroker.protocol.specs import all_messages
from pybroker.protocol.stubs import TARGET, stub_text


def test_fields_have_the_defaults_of_the_spec() -> None:
    request = FetchRequest()
    assert (request.replica_id, request.max_bytes, request.cluster_id) == (-1, 0x7FFFFFFF, None)
    assert request.topics == []
    assert request.replica_state == FetchRequest.ReplicaState(replica_id=-1, replica_epoch=-1)
    assert FetchResponse.PartitionData().records is None


def test_default_lists_and_structures_are_never_shared() -> None:
    one, other = FetchRequest(), FetchRequest()
    one.topics.append(FetchRequest.FetchTopic())
    one.replica_state.replica_id = 5
    assert other == FetchRequest()


def test_none_is_kept_where_the_default_is_a_list() -> None:
    assert FetchResponse.PartitionData(aborted_transactions=None).aborted_transactions is None


def test_constructors_take_keywords_only_and_known_names_only() -> None:
    with pytest.raises(TypeError):
        FetchRequest(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        FetchRequest(no_such_field=1)  # type: ignore[call-arg]


def test_misspelt_fields_cannot_be_set() -> None:
    with pytest.raises(AttributeError):
        FetchRequest().max_byte = 1  # type: ignore[attr-defined]


def test_equality_is_by_class_and_fields() -> None:
    assert FetchRequest(max_bytes=1) == FetchRequest(max_bytes=1)
    assert FetchRequest(max_bytes=1) != FetchRequest(max_bytes=2)
    assert FetchRequest.FetchTopic() != FetchRequest.ForgottenTopic()


def test_repr_names_class_and_fields() -> None:
    text = repr(ProduceResponse.PartitionProduceResponse(index=3))
    assert text.startswith("ProduceResponse.PartitionProduceResponse(index=3, error_code=0, ")


def test_messages_can_be_pickled() -> None:
    """Worker processes are handed messages."""
    request = FetchRequest(topics=[FetchRequest.FetchTopic(topic="t")])
    assert pickle.loads(pickle.dumps(request)) == request


def test_an_unknown_message_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="NoSuchRequest"):
        _ = messages.NoSuchRequest  # type: ignore[attr-defined]


def test_every_message_of_the_specs_has_a_class() -> None:
    for name, spec in all_messages().items():
        message = getattr(messages, name)
        assert getattr(messages, name) is message
        assert message() == message()
        assert {struct.__name__ for struct in vars(message).values() if isinstance(struct, type)} == {
            *spec.structs
        }


def test_the_stub_is_what_the_specs_say() -> None:
    assert TARGET.read_text(encoding="utf-8") == stub_text(), "run python -m pybroker.protocol.stubs"


def test_the_stub_declares_every_field_of_every_class() -> None:
    for node in ast.parse(TARGET.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            compare_with_class(node, getattr(messages, node.name))


def compare_with_class(node: ast.ClassDef, message: type) -> None:
    declared = {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}  # type: ignore[union-attr]
    declared |= {item.name for item in node.body if isinstance(item, ast.FunctionDef)} - {"__init__"}
    assert declared == {*message.__slots__}  # type: ignore[attr-defined]
    for item in node.body:
        if isinstance(item, ast.ClassDef):
            compare_with_class(item, getattr(message, item.name))


def test_importing_the_messages_imports_no_construct_and_makes_no_code() -> None:
    program = """
import sys
from pybroker.protocol import apis, codec, messages
from pybroker.protocol.messages import FetchRequest
assert "construct" not in sys.modules and "pybroker.protocol.generate_decoder" not in sys.modules
assert not codec._decoders and not codec._encoders
"""
    subprocess.run([sys.executable, "-c", program], check=True)
