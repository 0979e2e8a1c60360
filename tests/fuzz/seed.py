#!/usr/bin/python3
"""Writes the first corpus of the frame and JSON targets from the golden vectors and the cases of the unit tests.

usage: seed.py          (files that fuzzing has found since stay; name them by their content, as libFuzzer does)
"""
import hashlib
import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")


def put(target, data):
    with open(os.path.join(HERE, "corpus", target, hashlib.sha1(data).hexdigest()), "wb") as out:
        out.write(data)


stream = b""
for name in "frames.jsonl", "bad.jsonl":
    with open(os.path.join(TOP, "proto", "vectors", name)) as lines:
        for line in lines:
            frame = bytes.fromhex(json.loads(line)["hex"])
            put("codec", frame[4:])
            stream += frame
            if len(stream) > 700:
                put("peer", bytes([len(stream) % 251]) + stream)
                stream = b""
put("peer", b"\x09" + b"\0\0\0\0" * 3 + b"\0\0\x10\1" + b"x" * 20)
put("peer", b"\x02" + b"\0\0\x10\0" + b"x" * 4096 + b"\0\0")

with open(os.path.join(TOP, "tests", "unit", "json.cases")) as lines:
    for i, line in enumerate(lines):
        if line[0] == "1" and i % 7 == 0 or i % 60 == 0:
            put("json", bytes.fromhex(line[2:]))
