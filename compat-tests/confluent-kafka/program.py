"""confluent-kafka (librdkafka) for Python; the verbs are those of ../records/README.md."""

import pathlib
import sys

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "records"))
import records  # noqa: E402


def create(bootstrap, topic, partitions):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result()


def produce(bootstrap, topic, partitions, writer, ranges):
    failures = []
    count = 0
    for codec, first, end in records.parse_ranges(ranges):
        producer = Producer({
            "bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "compression.type": codec, "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
        })
        for index in range(first, end):
            producer.produce(
                topic, partition=index % partitions, key=records.key_of(writer, index), value=records.value_of(writer, index),
                headers=records.headers_of(writer, index), on_delivery=lambda error, _: error and failures.append(str(error)),
            )
            producer.poll(0)
            count += 1
        producer.flush()
    if failures:
        raise RuntimeError(f"{len(failures)} records refused, the first with {failures[0]}")
    return {"records": count}


def consumer_of(bootstrap, group, **settings):
    return Consumer({
        "bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
        "fetch.wait.max.ms": 100, **settings,
    })


def consume(bootstrap, topic, group, partitions, expect):
    verifier = records.Verifier(expect, partitions)
    patience = records.Patience(verifier)
    consumer = consumer_of(bootstrap, group)
    consumer.subscribe(topic.split(","))
    while not patience.over():
        for message in consumer.consume(1000, 0.1):
            if message.error():
                raise RuntimeError(str(message.error()))
            verifier.take(message.partition(), message.offset(), message.key(), message.value(), message.headers())
            patience.heard()
    consumer.commit(asynchronous=False)
    consumer.close()
    return verifier.result()


def member(bootstrap, topic, group, sessiontimeout="10000", assignor="range"):
    mine = set()
    consumer = consumer_of(bootstrap, group, **{
        "session.timeout.ms": int(sessiontimeout), "heartbeat.interval.ms": 500, "partition.assignment.strategy": assignor,
    })

    def assigned(_, partitions):
        mine.update(one.partition for one in partitions)
        records.print_assigned(mine)

    def lost(_, partitions):
        mine.difference_update(one.partition for one in partitions)
        records.print_assigned(mine)

    def revoked(consumer, partitions):
        try:
            consumer.commit(asynchronous=False)
        except Exception:
            pass  # Nothing was read yet.
        lost(consumer, partitions)

    consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)
    told = records.told_to_leave()
    while not told.is_set():
        message = consumer.poll(0.1)
        if message is not None and not message.error():
            records.print_record(message.partition(), message.offset(), message.key(), message.value())
            consumer.commit(message, asynchronous=True)
    consumer.close()


records.run_program({"create": create, "produce": produce, "consume": consume, "member": member})
