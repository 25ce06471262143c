"""The publisher turns what the controller tells into images, and shares what did not change."""

from pybroker.metadata.publisher import Publisher
from pybroker.metadata.znodes import ConfigType
from pybroker.model.endpoint import Endpoint, SecurityProtocol
from pybroker.model.ids import TopicPartition
from pybroker.protocol.messages import UpdateMetadataRequest

ID_A, ID_B = b"a" * 16, b"b" * 16


def partition(index, leader=1, epoch=0, isr=(1, 2), offline=()):
    return UpdateMetadataRequest.UpdateMetadataPartitionState(
        partition_index=index,
        leader=leader,
        leader_epoch=epoch,
        isr=list(isr),
        replicas=[1, 2],
        zk_version=4,
        offline_replicas=list(offline),
    )


def topic(name, topic_id, *partitions):
    return UpdateMetadataRequest.UpdateMetadataTopicState(
        topic_name=name, topic_id=topic_id, partition_states=list(partitions)
    )


def broker(broker_id, rack=None):
    endpoint = UpdateMetadataRequest.UpdateMetadataEndpoint(
        port=9092, host=f"h{broker_id}", listener="TLS", security_protocol=1
    )
    return UpdateMetadataRequest.UpdateMetadataBroker(id=broker_id, endpoints=[endpoint], rack=rack)


def update(*topics, brokers=(1, 2), controller=1):
    return UpdateMetadataRequest(
        controller_id=controller, topic_states=list(topics), live_brokers=[broker(b) for b in brokers]
    )


def test_live_brokers_replace_the_known_ones():
    publisher = Publisher()
    publisher.apply_update_metadata(update(brokers=(2, 1)))
    image = publisher.current
    assert list(image.brokers) == [1, 2]
    assert image.brokers[1].endpoint("TLS") == Endpoint("TLS", "h1", 9092, SecurityProtocol.SSL)
    assert image.brokers[1].endpoint("OTHER") is None
    publisher.apply_update_metadata(update(brokers=(3,), controller=3))
    assert (list(publisher.current.brokers), publisher.current.controller_id) == ([3], 3)


def test_partitions_are_added_to_the_known_ones_in_the_order_of_indexes():
    publisher = Publisher()
    publisher.apply_update_metadata(update(topic("t", ID_A, partition(2))))
    publisher.apply_update_metadata(update(topic("t", ID_A, partition(0, leader=2, epoch=5, offline=[1]))))
    t = publisher.current.topics["t"]
    assert list(t.partitions) == [0, 2]
    first = publisher.current.partition(TopicPartition("t", 0))
    assert first is not None
    assert (first.leader, first.leader_epoch, first.isr, first.replicas, first.offline) == (
        2,
        5,
        (1, 2),
        (1, 2),
        (1,),
    )
    assert first.partition_epoch == 4
    assert publisher.current.topic_names_by_id == {ID_A: "t"}
    assert publisher.current.topic_id("t") == ID_A


def test_leader_minus_2_forgets_partitions_and_with_the_last_the_topic_and_its_config():
    publisher = Publisher()
    publisher.apply_update_metadata(update(topic("t", ID_A, partition(0), partition(1))))
    publisher.apply_configs([(ConfigType.TOPIC, "t", {"k": "v"}), (ConfigType.BROKER, "1", {})])
    deleted = publisher.apply_update_metadata(update(topic("t", ID_A, partition(1, leader=-2))))
    assert deleted == [TopicPartition("t", 1)]
    assert list(publisher.current.topics["t"].partitions) == [0]
    assert publisher.current.config(ConfigType.TOPIC, "t") == {"k": "v"}
    publisher.apply_update_metadata(update(topic("t", ID_A, partition(0, leader=-2))))
    image = publisher.current
    assert (image.topics, image.topic_names_by_id) == ({}, {})
    assert list(image.configs) == [(ConfigType.BROKER, "1")]


def test_a_topic_that_came_again_has_its_new_id_only():
    publisher = Publisher()
    publisher.apply_update_metadata(update(topic("t", ID_A, partition(0))))
    publisher.apply_update_metadata(update(topic("t", ID_B, partition(0))))
    assert publisher.current.topic_names_by_id == {ID_B: "t"}


def test_an_image_is_never_changed_and_the_next_shares_what_stayed():
    publisher = Publisher()
    publisher.apply_update_metadata(update(topic("t", ID_A, partition(0)), topic("u", ID_B, partition(0))))
    before = publisher.current
    before.topics["u"].cache["encoded"] = b"..."
    publisher.apply_update_metadata(update(topic("t", ID_A, partition(0, leader=2))))
    after = publisher.current
    assert before.topics["t"].partitions[0].leader == 1
    assert after.topics["t"].partitions[0].leader == 2
    assert after.topics["u"] is before.topics["u"]
    assert after.brokers is before.brokers
    assert after.topic_names_by_id is before.topic_names_by_id
    assert after.version == before.version + 1
    assert after.topics["t"].cache == {}


def test_what_the_first_request_to_a_new_registration_does_not_name_was_deleted_meanwhile():
    publisher = Publisher()
    publisher.apply_update_metadata(update(topic("t", ID_A, partition(0)), topic("u", ID_B, partition(0))))
    for name in ("t", "u"):
        publisher.apply_configs([(ConfigType.TOPIC, name, {"k": "v"})])
    again = update(topic("u", ID_B, partition(0)))
    again.broker_epoch += 1
    assert publisher.apply_update_metadata(again) == [TopicPartition("t", 0)]
    image = publisher.current
    assert (list(image.topics), dict(image.topic_names_by_id)) == (["u"], {ID_B: "u"})
    assert (image.config(ConfigType.TOPIC, "t"), image.config(ConfigType.TOPIC, "u")) == ({}, {"k": "v"})
    later = update(topic("t", ID_A, partition(0)))
    later.broker_epoch = again.broker_epoch
    assert publisher.apply_update_metadata(later) == []
    assert list(publisher.current.topics) == ["u", "t"]


def test_listeners_are_told_of_images_topics_and_configs_until_they_leave():
    publisher = Publisher()
    images, topics, configs = [], [], []
    leave_image = publisher.on_change(lambda old, new: images.append((old.version, new.version)))
    leave_topic = publisher.on_topic_change("t", lambda: topics.append(publisher.current.version))
    leave_configs = publisher.on_config_change(lambda *change: configs.append(change))
    publisher.apply_update_metadata(update(topic("t", ID_A, partition(0))))
    publisher.apply_update_metadata(update(topic("u", ID_B, partition(0))))
    publisher.apply_configs([(ConfigType.TOPIC, "t", {"k": "v"}), (ConfigType.TOPIC, "u", None)])
    assert (images, topics) == ([(0, 1), (1, 2), (2, 3)], [1])
    assert configs == [(ConfigType.TOPIC, "t", {"k": "v"}), (ConfigType.TOPIC, "u", {})]
    for leave in (leave_image, leave_topic, leave_configs):
        leave()
        leave()
    publisher.apply_update_metadata(update(topic("t", ID_A, partition(0))))
    assert (len(images), len(topics)) == (3, 1)


def test_a_listener_may_leave_while_it_is_called():
    publisher = Publisher()
    called = []

    def once() -> None:
        called.append(1)
        leave()

    leave = publisher.on_topic_change("t", once)
    publisher.on_topic_change("t", lambda: called.append(2))
    publisher.apply_update_metadata(update(topic("t", ID_A, partition(0))))
    publisher.apply_update_metadata(update(topic("t", ID_A, partition(0))))
    assert called == [1, 2, 2]


def test_a_small_change_among_thousands_of_topics_leaves_the_others_as_they_are():
    publisher = Publisher()
    publisher.apply_update_metadata(
        update(*(topic(f"t{n}", n.to_bytes(16, "big"), partition(0), partition(1)) for n in range(1, 5001)))
    )
    change = update(topic("t7", (7).to_bytes(16, "big"), partition(0, epoch=1)))
    before = publisher.current.topics
    publisher.apply_update_metadata(change)
    after = publisher.current.topics
    assert [name for name in after if after[name] is not before[name]] == ["t7"]
