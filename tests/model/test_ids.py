"""Topic ids travel as 16 raw bytes and are written as 22 characters of URL-safe base64."""

import pytest

from pybroker.model.ids import TopicPartition, new_topic_id, parse_topic_id, topic_id_text


def test_text_of_a_topic_id_reads_back_as_the_same_bytes() -> None:
    topic_id = bytes(range(240, 256))
    assert topic_id_text(topic_id) == "8PHy8_T19vf4-fr7_P3-_w"
    assert parse_topic_id("8PHy8_T19vf4-fr7_P3-_w") == topic_id


def test_text_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="not 16"):
        parse_topic_id("AAAA")


def test_new_topic_ids_never_look_like_a_command_line_option() -> None:
    assert not any(topic_id_text(new_topic_id()).startswith("-") for _ in range(500))


def test_a_partition_prints_like_its_directory() -> None:
    assert str(TopicPartition("orders-eu", 3)) == "orders-eu-3"
