#!/usr/bin/env python3
"""Keeps the wire format: field numbers are never reused, and every declaration says what it is.

field_numbers.txt lists each field as `Message.field number type`, each value as `Enum.VALUE number`. A line there that the protos no longer
have fails unless its number is reserved; a field that is not listed fails with the line to add. Declarations without a comment above
them fail, too.

    check_protos.py PROTO_DIR FIELD_NUMBERS      exit code 0: fine; 1: each complaint on a line
"""
import pathlib
import re
import sys

BLOCK = re.compile(r"^\s*(message|enum|service|oneof)\s+(\w+)\s*\{(\s*\})?")
FIELD = re.compile(r"^\s*((?:repeated |optional )?[\w.]+)\s+(\w+)\s*=\s*(\d+);")
VALUE = re.compile(r"^\s*([A-Z][A-Z0-9_]*)\s*=\s*(\d+);")
RESERVED = re.compile(r"^\s*reserved\s+([\d,\s]+);")


class Protos:
    def __init__(self):
        self.entries = {}    # "Message.field": "number type"
        self.reserved = {}   # "Message": {numbers}
        self.complaints = []

    def read(self, path):
        blocks, previous = [], ""
        for number, line in enumerate(path.read_text().splitlines(), 1):
            self.read_line(blocks, line, previous, f"{path.name}:{number}")
            previous = line
        if blocks:
            self.complaints.append(f"{path.name}: a block is not closed")

    def read_line(self, blocks, line, previous, where):
        block, field, value = BLOCK.match(line), FIELD.match(line), VALUE.match(line)
        if (block or field or value or re.match(r"^\s*rpc\s", line)) and not previous.strip().startswith("//"):
            self.complaints.append(f"{where}: no comment above `{line.strip()}`")
        owner = ".".join(name for kind, name in blocks if kind != "oneof")
        if block:
            if not block.group(3):
                blocks.append((block.group(1), block.group(2)))
        elif line.strip() == "}":
            blocks.pop()
        elif value and blocks[-1][0] == "enum":
            self.add(owner, value.group(1), value.group(2), where)
        elif field:
            self.add(owner, field.group(2), f"{field.group(3)} {field.group(1)}", where)
        elif reserved := RESERVED.match(line):
            self.reserved.setdefault(owner, set()).update(reserved.group(1).replace(" ", "").split(","))

    def add(self, owner, name, what, where):
        number = what.split()[0]
        for other, existing in self.entries.items():
            if other.rsplit(".", 1)[0] == owner and existing.split()[0] == number:
                self.complaints.append(f"{where}: {owner}.{name} has the number {number} of {other}")
        self.entries[f"{owner}.{name}"] = what


def compare(protos, listed):
    complaints = []
    for key, what in protos.entries.items():
        if key not in listed:
            complaints.append(f"not listed, add the line: {key} {what}")
        elif listed[key] != what:
            complaints.append(f"{key}: listed as `{listed[key]}`, now `{what}`: old clients would misread it")
    for key, what in listed.items():
        owner = key.rsplit(".", 1)[0]
        if key not in protos.entries and what.split()[0] not in protos.reserved.get(owner, set()):
            complaints.append(f"{key}: is gone, and its number {what.split()[0]} is not reserved")
    return complaints


def read_list(path):
    return dict(line.split(" ", 1) for line in path.read_text().splitlines() if line and not line.startswith("#"))


def main():
    protos = Protos()
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.proto")):
        protos.read(path)
    complaints = protos.complaints + compare(protos, read_list(pathlib.Path(sys.argv[2])))
    print("\n".join(complaints) if complaints else f"{len(protos.entries)} fields and values as listed")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
