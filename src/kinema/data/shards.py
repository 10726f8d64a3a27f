"""WebDataset tar shards, read in place: files that share a key are one sample and stand next to each other."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from kinema.data.folder import Found, parse_sidecar
from kinema.data.sample import MEDIA_EXTENSIONS, VIDEO_EXTENSIONS, Sample, TarSource
from kinema.errors import UserError

_MAX_TEXT = 1 << 20
_BLOCK = 512


def split_name(name: str) -> tuple[str, str]:
    """(key, extension) of a member: `a/0001.en.txt` is ("a/0001", "en.txt"), as WebDataset cuts it."""
    folder, _, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), extension.lower()


def read_shard(shard: Path) -> Found:
    """The samples of one uncompressed tar; keys become `shard/key`.

    Raises UserError when the tar is cut off, compressed, holds a key in two places, or has no media with a
    caption (`txt` or `json`): then the extensions that were found are named.
    """
    groups, extensions = _groups(shard)
    samples: list[Sample] = []
    broken: dict[str, str] = {}
    for key, members in groups.items():
        name = f"{shard.stem}/{key}"
        media = [m for extension, m in members.items() if extension.rpartition(".")[2] in MEDIA_EXTENSIONS]
        media.sort(key=lambda m: m.name.rpartition(".")[2].lower() not in VIDEO_EXTENSIONS)  # videos first
        if not media:
            broken[name] = f"it has no media, only {', '.join(members)}"
            continue
        try:
            captions, group = _caption(shard, members)
        except ValueError as error:
            broken[name] = f"its caption cannot be read ({error})"
            continue
        if not captions:
            broken[name] = f"it has no caption, only {', '.join(members)}"
            continue
        source = TarSource(shard, media[0].offset_data, media[0].size)
        samples.append(Sample(name, captions, source, group))
    if not samples:
        raise UserError(
            f"the shard {shard} has members with the extensions {', '.join(sorted(extensions)) or '(none)'}: "
            "expected media such as mp4 or jpg with a txt or json of the same key"
        )
    return samples, broken


def _groups(shard: Path) -> tuple[dict[str, dict[str, tarfile.TarInfo]], set[str]]:
    groups: dict[str, dict[str, tarfile.TarInfo]] = {}
    extensions: set[str] = set()
    last, end = None, 0
    size = os.path.getsize(shard)
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                end = (
                    member.offset_data + -(-member.size // _BLOCK) * _BLOCK if member.isreg() else tar.offset
                )
                if not member.isreg() or member.issparse() or member.name.rpartition("/")[2].startswith("."):
                    continue  # folders, links and devices carry no sample
                if end > size:
                    raise UserError(f"the shard {shard} is cut off inside {member.name}: copy it again")
                key, extension = split_name(member.name)
                if key != last and key in groups:
                    raise UserError(
                        f"the shard {shard} holds the key {key} in two places: write the files of one sample "
                        "next to each other (sort the members by name)"
                    )
                members = groups.setdefault(key, {})
                if extension in members:
                    raise UserError(
                        f"the shard {shard} holds {member.name} twice: give every sample its own key"
                    )
                members[extension] = member
                extensions.add(extension or "(no extension)")
                last = key
    except tarfile.TarError as error:
        raise UserError(
            f"the shard {shard} is no uncompressed tar, or cut off ({error}): unpack .gz first, or copy it again"
        ) from None
    with open(shard, "rb") as handle:
        handle.seek(end)
        mark = handle.read(_BLOCK)
    if len(mark) < _BLOCK or mark.strip(b"\0"):
        raise UserError(f"the shard {shard} is cut off or damaged after {last}: copy it again")
    return groups, extensions


def _caption(shard: Path, members: dict[str, tarfile.TarInfo]) -> tuple[tuple[str, ...], str]:
    captions, group = tuple[str, ...](), ""
    for suffix in (".json", ".txt"):
        for extension, member in members.items():
            if f".{extension}".endswith(suffix) and not captions:
                if member.size > _MAX_TEXT:
                    raise ValueError(f"{extension} has {member.size} bytes")
                with TarSource(shard, member.offset_data, member.size).open() as handle:
                    found = parse_sidecar(handle.read().decode("utf-8-sig"), suffix)
                captions, group = found[0], group or found[1]
    return captions, group
