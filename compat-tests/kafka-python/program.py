"""kafka-python; the verbs are those of ../records/README.md."""

import pathlib
import sys

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.coordinator.assignors.range import RangePartitionAssignor

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "records"))
import records  # noqa: E402


# kafka-python 3.0.12 forgets the assignment of a join that is under way when a poll's time is over, so the time is long.
POLL_MS = 2_000


def create(bootstrap, topic, partitions):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(name=topic, num_partitions=partitions, replication_factor=1)])
    admin.close()


def produce(bootstrap, topic, partitions, writer, ranges):
    count = 0
    for codec, first, end in records.parse_ranges(ranges):
        producer = KafkaProducer(
            bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, compression_type=None if codec == "none" else codec, linger_ms=5,
        )
        sent = []
        for index in range(first, end):
            sent.append(producer.send(
                topic, partition=index % partitions, key=records.key_of(writer, index), value=records.value_of(writer, index),
                headers=records.headers_of(writer, index),
            ))
            count += 1
        producer.flush()
        for one in sent:
            one.get(timeout=30)
        producer.close()
    return {"records": count}


def consumer_of(bootstrap, group, **settings):
    return KafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False, fetch_max_wait_ms=100, **settings,
    )


def consume(bootstrap, topic, group, partitions, expect):
    verifier = records.Verifier(expect, partitions)
    consumer = consumer_of(bootstrap, group)
    consumer.subscribe(topic.split(","))
    patience = records.Patience(verifier)
    while not patience.over():
        for batch in consumer.poll(timeout_ms=POLL_MS).values():
            for record in batch:
                verifier.take(record.partition, record.offset, record.key, record.value, record.headers)
            patience.heard()
    consumer.commit()
    consumer.close()
    return verifier.result()


class Listener(ConsumerRebalanceListener):
    """It may not commit, as that would block the thread that calls it; the loop of `member` commits after each poll."""

    def on_partitions_revoked(self, revoked):
        records.print_assigned([])

    def on_partitions_assigned(self, assigned):
        records.print_assigned([one.partition for one in assigned])


def member(bootstrap, topic, group, sessiontimeout="10000"):
    consumer = consumer_of(
        bootstrap, group, session_timeout_ms=int(sessiontimeout), heartbeat_interval_ms=500, partition_assignment_strategy=[RangePartitionAssignor],
    )
    consumer.subscribe([topic], listener=Listener())
    told = records.told_to_leave()
    while not told.is_set():
        for batch in consumer.poll(timeout_ms=POLL_MS).values():
            for record in batch:
                records.print_record(record.partition, record.offset, record.key, record.value)
        consumer.commit_async()
    consumer.commit()
    consumer.close()


records.run_program({"create": create, "produce": produce, "consume": consume, "member": member})
