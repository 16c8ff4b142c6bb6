"""Kafka as hints and history: ordered sending, careful consuming, authentic records.

`BusProducer` sends in one loop with acks=all; `BusConsumer` hands whole pages to a handler and
commits offsets only afterwards; every record carries a MAC, and what cannot be believed or parsed
goes to `<topic>.dlq`. Delivery is at least once: exactness comes from the receiver's own database.
Read `producer.py` and `consumer.py` for the promises; both are rebuilt when aiokafka gets stuck.
"""

from xstock_runtime.kafka.config import check_consumer_config, check_producer_config
from xstock_runtime.kafka.consumer import BusConsumer, ConsumerSettings, RetentionGap
from xstock_runtime.kafka.producer import BusProducer, ProducerSettings
from xstock_runtime.kafka.records import (
    MAC_HEADER,
    Message,
    Received,
    Record,
    Rejection,
    dead_letter_topic,
    mac_of,
    raw_value,
    verify_mac,
)
from xstock_runtime.kafka.topics import TopicSpec, ensure_topics

__all__ = [
    "MAC_HEADER",
    "BusConsumer",
    "BusProducer",
    "ConsumerSettings",
    "Message",
    "ProducerSettings",
    "Received",
    "Record",
    "Rejection",
    "RetentionGap",
    "TopicSpec",
    "check_consumer_config",
    "check_producer_config",
    "dead_letter_topic",
    "ensure_topics",
    "mac_of",
    "raw_value",
    "verify_mac",
]
