"""aiokafka; the verbs are those of ../records/README.md."""

import asyncio
import functools
import pathlib
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "records"))
import records  # noqa: E402


def synchronous(verb):
    return functools.wraps(verb)(lambda **options: asyncio.run(verb(**options)))


@synchronous
async def create(bootstrap, topic, partitions):
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    response = await admin.create_topics([NewTopic(name=topic, num_partitions=partitions, replication_factor=1)])
    await admin.close()
    errors = [one for one in response.topic_errors if one[1] != 0]
    if errors:
        raise RuntimeError(f"refused: {errors}")


@synchronous
async def produce(bootstrap, topic, partitions, writer, ranges):
    count = 0
    for codec, first, end in records.parse_ranges(ranges):
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, compression_type=None if codec == "none" else codec, linger_ms=5,
        )
        await producer.start()
        sent = []
        for index in range(first, end):
            sent.append(await producer.send(
                topic, partition=index % partitions, key=records.key_of(writer, index), value=records.value_of(writer, index),
                headers=records.headers_of(writer, index),
            ))
            count += 1
        for one in sent:
            await one
        await producer.stop()
    return {"records": count}


def consumer_of(*topics, bootstrap, group, **settings):
    return AIOKafkaConsumer(
        *topics, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False, fetch_max_wait_ms=100,
        **settings,
    )


@synchronous
async def consume(bootstrap, topic, group, partitions, expect):
    verifier = records.Verifier(expect, partitions)
    consumer = consumer_of(*topic.split(","), bootstrap=bootstrap, group=group)
    await consumer.start()
    patience = records.Patience(verifier)
    while not patience.over():
        for batch in (await consumer.getmany(timeout_ms=100)).values():
            for record in batch:
                verifier.take(record.partition, record.offset, record.key, record.value, list(record.headers))
            patience.heard()
    await consumer.commit()
    await consumer.stop()
    return verifier.result()


class Listener(ConsumerRebalanceListener):
    def __init__(self, consumer):
        self.consumer = consumer

    async def on_partitions_revoked(self, revoked):
        try:
            await self.consumer.commit()
        except KafkaError:
            pass  # Another rebalance is under way already: these records come again.
        records.print_assigned([])

    async def on_partitions_assigned(self, assigned):
        records.print_assigned([one.partition for one in assigned])


@synchronous
async def member(bootstrap, topic, group, sessiontimeout="10000"):
    consumer = consumer_of(
        bootstrap=bootstrap, group=group, session_timeout_ms=int(sessiontimeout), heartbeat_interval_ms=500,
        partition_assignment_strategy=(RangePartitionAssignor,),
    )
    consumer.subscribe([topic], listener=Listener(consumer))
    await consumer.start()
    told = records.told_to_leave()
    while not told.is_set():
        batches = await consumer.getmany(timeout_ms=100)
        for batch in batches.values():
            for record in batch:
                records.print_record(record.partition, record.offset, record.key, record.value)
        if batches:
            await consumer.commit()
    await consumer.stop()


records.run_program({"create": create, "produce": produce, "consume": consume, "member": member})
