"""The records of README.md beside this file, their verification, and what the programs in Python share."""

import json
import logging
import os
import sys
import threading
import time
import traceback

IDLE_LIMIT_SECONDS = 30
EXCESS_WAIT_SECONDS = 0.3


def _table():
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    state = 42
    characters = []
    for _ in range(65_536):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        characters.append(alphabet[(state >> 16) & 63])
    return "".join(characters).encode()


TABLE = _table()


def key_of(writer, index):
    return None if index % 50 == 24 else b"%s:%d" % (writer, index)


def value_of(writer, index):
    if index % 50 == 49:
        return None
    length = 20_000 if index % 1000 == 500 else 20 + (index * 37) % 400
    start = (index * 31) % 32_768
    return b"%s:%d:%s" % (writer, index, TABLE[start : start + length])


def headers_of(writer, index):
    return [("writer", writer), ("index", bytes(0x80 | ((index >> shift) & 0x7F) for shift in (21, 14, 7, 0)))]


def parse_ranges(text):
    for part in text.split(","):
        codec, first, end = part.split(":")
        yield codec, int(first), int(end)


def identity(key, value):
    writer, index = (value if value is not None else key or b"?:-1").split(b":", 2)[:2]
    return writer, int(index)


class Expectation:
    def __init__(self, first, end, flags):
        self.first = first
        self.end = end
        self.index_header = "h" not in flags
        self.partition_rule = "p" not in flags
        self.seen = bytearray(end - first)


class Verifier:
    """Takes every record once; the result says what is missing, differs, comes twice or out of order."""

    def __init__(self, expect, partition_count):
        self.partition_count = partition_count
        self.expectations = {}
        self.newest_index = {}
        self.problems = []
        self.problem_count = 0
        self.missing = 0
        for part in expect.split(","):
            writer, first, end, flags = (part.split(":") + [""])[:4]
            self.expectations[writer.encode()] = Expectation(int(first), int(end), flags)
            self.missing += int(end) - int(first)

    def take(self, partition, offset, key, value, headers):
        writer, index = identity(key, value)
        expected = self.expectations.get(writer)
        where = f"partition {partition} offset {offset} ({writer.decode('latin1')}:{index})"
        if expected is None or not expected.first <= index < expected.end:
            return self._problem(f"{where}: not expected here")
        if expected.seen[index - expected.first]:
            return self._problem(f"{where}: delivered twice")
        expected.seen[index - expected.first] = 1
        self.missing -= 1
        if key != key_of(writer, index):
            self._problem(f"{where}: key differs: {key!r}")
        if value != value_of(writer, index):
            self._problem(f"{where}: value differs: {value!r:.80}")
        wanted = headers_of(writer, index)[: 2 if expected.index_header else 1]
        if list(headers or []) != wanted:
            self._problem(f"{where}: headers differ: {headers!r}")
        if expected.partition_rule and partition != index % self.partition_count:
            self._problem(f"{where}: wrong partition")
        stream = (writer, partition)
        if index <= self.newest_index.get(stream, -1):
            self._problem(f"{where}: out of order after {self.newest_index[stream]}")
        self.newest_index[stream] = index

    def _problem(self, text):
        self.problem_count += 1
        if len(self.problems) < 10:
            self.problems.append(text)

    def result(self):
        records = 0
        problems = list(self.problems)
        for writer, expected in self.expectations.items():
            seen = sum(expected.seen)
            records += seen
            if seen < len(expected.seen):
                first = expected.first + expected.seen.index(0)
                problems.append(f"{len(expected.seen) - seen} records of {writer.decode()} missing, the first is {first}")
        count = self.problem_count + self.missing
        return {"ok": count == 0, "records": records, "problemCount": count, "problems": problems}


class Patience:
    """Says when `consume` is over: nothing new for a while, a short while once everything was seen."""

    def __init__(self, verifier):
        self.verifier = verifier
        self.quiet_since = time.monotonic()

    def heard(self):
        self.quiet_since = time.monotonic()

    def over(self):
        limit = IDLE_LIMIT_SECONDS if self.verifier.missing else EXCESS_WAIT_SECONDS
        return time.monotonic() - self.quiet_since > limit


def print_assigned(partitions):
    print("A", ",".join(str(partition) for partition in sorted(partitions)), flush=True)


def print_record(partition, offset, key, value):
    writer, index = identity(key, value)
    print("R", partition, offset, writer.decode(), index, flush=True)


def told_to_leave():
    """An event that is set when stdin ends: the driver's word for `leave now`."""
    event = threading.Event()

    def watch():
        while sys.stdin.read(1):
            pass
        event.set()

    threading.Thread(target=watch, daemon=True).start()
    return event


def run_program(verbs):
    if os.environ.get("COMPAT_DEBUG"):
        logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(name)s %(message)s")
    verb, *rest = sys.argv[1:]
    options = {name[2:]: value for name, value in zip(rest[::2], rest[1::2])}
    if "partitions" in options:
        options["partitions"] = int(options["partitions"])
    if "writer" in options:
        options["writer"] = options["writer"].encode()
    try:
        result = {"ok": True, **(verbs[verb](**options) or {})}
    except Exception:
        result = {"ok": False, "problems": [traceback.format_exc()]}
    print(json.dumps(result), flush=True)
    sys.exit(0 if result["ok"] else 1)
