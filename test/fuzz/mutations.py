"""Bytes and values that went wrong in the ways in which files and messages do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

NUMBERS = (
    0,
    1,
    2,
    7,
    255,
    256,
    4096,
    65_535,
    65_536,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)

Change = Callable[[bytes], bytes]


def changes(places: Sequence[int] = (), most: int = 4) -> st.SearchStrategy[list[Change]]:
    """Some changes of bytes, one after the other.

    Args:
        places: offsets at which the structure of the sample lies, such as its length fields.
    """
    anywhere = st.integers(0, 2**32 - 1).map(lambda n: lambda size: n % max(1, size))
    at_ends = st.integers(-100, 400).map(lambda n: lambda size: n % max(1, size))
    kinds = [anywhere, at_ends]
    if places:
        kinds.append(st.sampled_from(list(places)).map(lambda n: lambda size: n % max(1, size)))
    place = st.one_of(kinds)
    return st.lists(
        st.one_of(
            st.builds(_put, place, st.binary(min_size=1, max_size=4)),
            st.builds(_number, place, st.sampled_from((1, 2, 4, 8)), st.sampled_from(NUMBERS), st.booleans()),
            st.builds(_add, place, st.integers(-3, 3)),
            st.builds(_cut, place),
            st.builds(_insert, place, st.binary(min_size=1, max_size=16)),
            st.builds(_leave_out, place, st.integers(1, 300)),
            st.builds(_copy, place, place, st.integers(1, 300)),
        ),
        min_size=1,
        max_size=most,
    )


def mutated(samples: Sequence[bytes], places: Sequence[int] = (), most: int = 4) -> st.SearchStrategy[bytes]:
    """One of the samples, changed."""
    return st.builds(applied, st.sampled_from(samples), changes(places, most))


def applied(content: bytes, steps: list[Change]) -> bytes:
    for step in steps:
        content = step(content)
    return content


def _put(place: Callable[[int], int], new: bytes) -> Change:
    def change(content: bytes) -> bytes:
        at = place(len(content))
        return content[:at] + new + content[at + len(new) :]

    return change


def _number(place: Callable[[int], int], size: int, value: int, little: bool) -> Change:
    new = (value % 256**size).to_bytes(size, "little" if little else "big")
    return _put(place, new)


def _add(place: Callable[[int], int], difference: int) -> Change:
    def change(content: bytes) -> bytes:
        at = place(len(content))
        return (
            content[:at]
            + bytes((byte + difference) % 256 for byte in content[at : at + 1])
            + content[at + 1 :]
        )

    return change


def _cut(place: Callable[[int], int]) -> Change:
    return lambda content: content[: place(len(content))]


def _insert(place: Callable[[int], int], new: bytes) -> Change:
    def change(content: bytes) -> bytes:
        at = place(len(content))
        return content[:at] + new + content[at:]

    return change


def _leave_out(place: Callable[[int], int], size: int) -> Change:
    def change(content: bytes) -> bytes:
        at = place(len(content))
        return content[:at] + content[at + size :]

    return change


def _copy(source: Callable[[int], int], place: Callable[[int], int], size: int) -> Change:
    def change(content: bytes) -> bytes:
        start, at = source(len(content)), place(len(content))
        return content[:at] + content[start : start + size] + content[at:]

    return change


def odd_numbers() -> st.SearchStrategy[Any]:
    """Numbers of all sizes and kinds."""
    return st.one_of(
        st.floats(),
        st.integers(-5, 5),
        st.sampled_from(NUMBERS),
        st.integers(-(2**70), 2**70),
        st.just(10**400),
        st.just(-(10**400)),
        st.floats(-2000, 2000),
    )


def odd_texts() -> st.SearchStrategy[str]:
    """Texts that are a nuisance in names, paths, terminals and markup."""
    return st.one_of(
        st.text(max_size=30),
        st.sampled_from(
            (
                "",
                ".",
                "..",
                "/",
                "../x",
                "/etc/passwd",
                "a\0b",
                "a\nb",
                "\x1b[2J",
                "<script>",
                "'\"",
                "%s{0}",
                "\ufeff",
            )
        ),
        st.integers(1, 5000).map(lambda n: "x" * n),
    )


def odd_values() -> st.SearchStrategy[Any]:
    """Values of any type, as YAML, JSON and parameters may bring them."""
    return st.recursive(
        st.one_of(st.none(), st.booleans(), odd_numbers(), odd_texts(), st.binary(max_size=8)),
        lambda children: st.lists(children, max_size=3) | st.dictionaries(odd_texts(), children, max_size=3),
        max_leaves=6,
    )


def changed_tree(tree: Any) -> st.SearchStrategy[Any]:
    """Nested mappings and lists of which some places hold something else, are gone, or have another name."""

    def changed(draw: Any) -> Any:
        copy = _copied(tree)
        for _ in range(draw(st.integers(1, 3))):
            _change_one(copy, draw)
        return copy

    return st.composite(changed)()


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


def _change_one(tree: Any, draw: Any) -> None:
    at = tree
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        if not isinstance(at[key], dict | list) or draw(st.integers(0, 3)) == 0:
            break
        at = at[key]
    what = draw(st.integers(0, 4))
    if what == 0:
        del at[key]
    elif what == 1 and isinstance(at, dict):
        at[draw(odd_texts())] = at.pop(key)
    else:
        at[key] = draw(odd_values())
