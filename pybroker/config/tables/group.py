"""Configuration of single groups of the consumer protocol; what is not set for one is the broker's."""

from pybroker.config.keys import INT, MEDIUM, PER_BROKER, TopicKey
from pybroker.config.validators import at_least

# fmt: off
group_keys = (
    # Of Kafka 4.3.
    TopicKey("consumer.assignment.interval.ms", INT, 0, MEDIUM, PER_BROKER, at_least(0),
             "Milliseconds between two assignments of this group.", internal=True,
             synonyms=("group.consumer.assignment.interval.ms",)),
    TopicKey("consumer.heartbeat.interval.ms", INT, 5000, MEDIUM, PER_BROKER, at_least(1),
             "Milliseconds between heartbeats that the members of this group are told to keep.",
             synonyms=("group.consumer.heartbeat.interval.ms",)),
    TopicKey("consumer.session.timeout.ms", INT, 45000, MEDIUM, PER_BROKER, at_least(1),
             "Milliseconds without a heartbeat after which this group drops a member.",
             synonyms=("group.consumer.session.timeout.ms",)),
)
# fmt: on
