"""Caffe2's NetDef out of a protobuf file, by a wire decoder of our own: neither Caffe2 nor protobuf is needed.

Only what a network is made of is kept: operators with their inputs, outputs, type and arguments.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kinema.errors import UserError

MAX_BYTES: Final = 64 * 2**20  # ten times what such networks take; a larger file is not one of them
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # protobuf's wire types; groups (3, 4) were given up long ago

Value = int | float | bytes | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True)
class Operator:
    """One step of a network: what it reads and writes by name, its type and its arguments."""

    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: dict[str, Value]


@dataclass(frozen=True)
class Net:
    """A network as Caffe2 writes it: operators in the order in which they run."""

    name: str
    operators: tuple[Operator, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_net(path: str | Path) -> Net:
    """Read a NetDef file.

    Raises:
        UserError: the file is missing, too large, cut short, or no NetDef.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no Caffe2 network at '{path}': check the path")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"'{path}' has {path.stat().st_size} bytes and a Caffe2 network at most {MAX_BYTES}")
    try:
        net = parse_net(path.read_bytes())
    except ValueError as error:
        raise UserError(
            f"'{path}' is damaged or no Caffe2 network ({error}): copy or download it again"
        ) from error
    if not net.operators:
        raise UserError(f"'{path}' holds no operators, so it is no Caffe2 network: copy or download it again")
    return net


def parse_net(data: bytes) -> Net:
    """A NetDef from its bytes. Raises ValueError where they are not one."""
    name, operators = "", []
    ends: dict[int, list[str]] = {7: [], 8: []}
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            operators.append(_operator(_whole(value)))
        elif number in ends:
            ends[number].append(_text(value))
    return Net(name, tuple(operators), tuple(ends[7]), tuple(ends[8]))


def _operator(data: bytes) -> Operator:
    inputs, outputs, kind, arguments = [], [], "", {}
    for number, value in _fields(data):
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 4:
            kind = _text(value)
        elif number == 5:
            name, argument = _argument(_whole(value))
            arguments[name] = argument
    return Operator(kind, tuple(inputs), tuple(outputs), arguments)


def _argument(data: bytes) -> tuple[str, Value]:
    name = ""
    found: Value | None = None
    floats: list[float] = []
    ints: list[int] = []
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            found = _float(_whole(value))
        elif number == 3:
            found = _signed(value)
        elif number == 4:
            found = _whole(value)
        elif number == 5:
            floats.append(_float(_whole(value)))
        elif number == 6:
            ints.append(_signed(value))
    if floats:
        return name, tuple(floats)
    return (name, tuple(ints)) if ints else (name, b"" if found is None else found)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a message: whole numbers for varints, bytes for all else."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError("a field has the number 0")
        if wire == VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == BYTES:
            size, position = _varint(data, position)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"a field has the unknown wire type {wire}")
        if size > len(data) - position:
            raise ValueError(f"a field of {size} bytes has {len(data) - position} left")
        yield number, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for count in range(10):  # 64 bits in pieces of 7
        if position + count >= len(data):
            raise ValueError("it ends in the middle of a number")
        byte = data[position + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & (2**64 - 1), position + count + 1
    raise ValueError("a number has more than 64 bits")


def _signed(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes stand where a whole number was expected")
    return value - 2**64 if value >= 2**63 else value


def _whole(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a whole number stands where bytes were expected")
    return value


def _float(data: bytes) -> float:
    if len(data) != 4:
        raise ValueError(f"a float has {len(data)} bytes")
    number: float = struct.unpack("<f", data)[0]
    return number


def _text(value: int | bytes) -> str:
    return _whole(value).decode()  # a UnicodeDecodeError is a ValueError
