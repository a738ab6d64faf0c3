"""Hostile documents that are too large to be kept as files: made here, by name. `corpus` has the small ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

_HEAD = 'dsl = "1"\nname = "w"\n'
_YAML_HEAD = 'dsl: "1"\nname: w\n'
MIB = 1024 * 1024


@attrs.frozen
class Bomb:
    """A document, and what it has to give."""

    format: str
    #: Makes it.
    make: Callable[[], bytes] = attrs.field(repr=False)
    #: What it may be refused as; none if it is to be accepted.
    kinds: frozenset[str]


def _bomb(syntax: str, make: Callable[[], str | bytes], *kinds: str) -> Bomb:
    def made() -> bytes:
        text = make()
        return text if isinstance(text, bytes) else text.encode()

    return Bomb(syntax, made, frozenset(kind if "." in kind else f"definition.{kind}" for kind in kinds))


def _aliases(levels: int) -> str:
    lines = ['a0: &a0 ["x","x","x","x","x","x","x","x","x"]']
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def _steps(count: int, needs: Callable[[int], str] = lambda _: "") -> str:
    return _HEAD + "".join(f"[steps.s{n}]\nrun = 'true'\n{needs(n)}" for n in range(count))


def _full(line: str, size: int = MIB - 1000) -> str:
    return line * (size // len(line))


BOMBS: Mapping[str, Bomb] = {
    # 1 and 2: nothing, and no table
    "nothing": _bomb("toml", lambda: "", "empty"),
    "a mebibyte of comments": _bomb("yaml", lambda: _full("# x\n"), "empty"),
    "a mebibyte of blank lines": _bomb("toml", lambda: _full("\n"), "empty"),
    "a list at the root": _bomb("json", lambda: "[1]", "type"),
    # 3 and 4: aliases
    "an alias bomb": _bomb("yaml", lambda: _aliases(9), "alias"),
    "a deep alias bomb": _bomb("yaml", lambda: _aliases(300), "alias"),
    "an anchor that holds itself": _bomb("yaml", lambda: "a: &a [*a]\n", "alias"),
    "a mebibyte of anchors": _bomb("yaml", lambda: _full("- &a x\n"), "alias"),
    # 5 and 6: depth
    "deep flow lists": _bomb("yaml", lambda: "a: " + "[" * 200_000, "too_deep"),
    "deep flow lists that end": _bomb("yaml", lambda: "a: " + "[" * 25_000 + "]" * 25_000, "too_deep"),
    "deep flow mappings": _bomb("yaml", lambda: "a: " + "{a: " * 100_000, "too_deep"),
    "deep block lists": _bomb("yaml", lambda: "a:\n  " + "- " * 100_000 + "x\n", "too_deep"),
    "deep block mappings": _bomb(
        "yaml", lambda: "".join(f"{' ' * n}a:\n" for n in range(1_000)) + f"{' ' * 1_000}x\n", "too_deep"
    ),
    "deep question marks": _bomb("yaml", lambda: "? " * 100_000, "type"),
    "deep arrays": _bomb("toml", lambda: "a = " + "[" * 200_000, "too_deep"),
    "deep arrays that end": _bomb("toml", lambda: "a = " + "[" * 25_000 + "]" * 25_000, "too_deep"),
    "deep inline tables": _bomb("toml", lambda: "a = " + "{a = " * 50_000, "too_deep"),
    "a long dotted key": _bomb("toml", lambda: ".".join("a" * 5_000) + " = 1", "too_deep"),
    "a very long dotted key": _bomb("toml", lambda: ".".join("a" * 500_000) + " = 1", "too_deep"),
    "a long dotted header": _bomb("toml", lambda: f"[{'.'.join('a' * 5_000)}]", "too_deep"),
    "many dotted keys": _bomb("toml", lambda: "".join(f"{'a.' * 60}k{n} = 1\n" for n in range(6_000)), "missing_field"),
    "deep JSON": _bomb("json", lambda: '{"a": ' + "[" * 200_000, "too_deep"),
    "deep JSON that ends": _bomb("json", lambda: '{"a": ' + "[" * 50_000 + "]" * 50_000 + "}", "too_deep"),
    # 7 and 8: numbers
    "a number of 5 000 digits": _bomb("toml", lambda: "a = " + "9" * 5_000, "number"),
    "a number of a mebibyte": _bomb("toml", lambda: "a = " + "9" * (MIB - 100), "number"),
    "a YAML number of a mebibyte": _bomb("yaml", lambda: "a: " + "9" * (MIB - 100), "number"),
    "a JSON number of a mebibyte": _bomb("json", lambda: '{"a": ' + "9" * (MIB - 100) + "}", "number"),
    "a hexadecimal number of a mebibyte": _bomb("toml", lambda: "a = 0x" + "f" * (MIB - 100), "number"),
    "a fraction of a mebibyte": _bomb("toml", lambda: "a = 0." + "9" * (MIB - 100), "missing_field"),
    "an exponent of a mebibyte": _bomb("json", lambda: '{"a": 1e' + "9" * (MIB - 100) + "}", "range"),
    "a sexagesimal number": _bomb("yaml", lambda: _YAML_HEAD + "version: " + "1" + ":59" * 20_000, "missing_field"),
    # 9 to 12: keys, words, tags, documents
    "a mebibyte of one key": _bomb("yaml", lambda: _full("a: 1\n"), "duplicate_key"),
    "a mebibyte of one JSON key": _bomb("json", lambda: "{" + _full('"a":1,') + '"a":1}', "duplicate_key"),
    "a mebibyte of one TOML key": _bomb("toml", lambda: _full("a = 1\n"), "duplicate_key"),
    "a mebibyte of tags": _bomb("yaml", lambda: "a:\n" + _full("- !!binary x\n"), "tag"),
    "a mebibyte of documents": _bomb("yaml", lambda: _full("--- 1\n"), "multiple"),
    "a mebibyte of merges": _bomb("yaml", lambda: _full("<<: {a: 1}\n"), "merge"),
    # 13 and 14: encodings and sizes
    "UTF-16": _bomb("toml", lambda: _HEAD.encode("utf-16"), "encoding"),
    "UTF-32": _bomb("yaml", lambda: _YAML_HEAD.encode("utf-32"), "encoding"),
    "a mebibyte of NUL": _bomb("json", lambda: b"\0" * MIB, "encoding"),
    "a mebibyte of lone returns": _bomb("toml", lambda: b"\r" * MIB, "encoding"),
    "a mebibyte and a byte": _bomb("toml", lambda: "#" * (MIB + 1), "too_large"),
    "a mebibyte of one text": _bomb("toml", lambda: _HEAD + f"description = '{'x' * (MIB - 100)}'\n", "missing_field"),
    "a mebibyte of escapes": _bomb("json", lambda: '{"a": "' + "\\u0041" * 170_000 + '"}', "missing_field"),
    "a mebibyte of folded lines": _bomb("yaml", lambda: "a: >\n" + _full("  x\n"), "missing_field"),
    "a mebibyte of quotes": _bomb("yaml", lambda: "a: '" + "''" * 500_000 + "'", "missing_field"),
    # 15 to 20: names, circles and quantities
    "50 000 unknown fields": _bomb("toml", lambda: "".join(f"f{n} = 1\n" for n in range(50_000)), "too_many"),
    "40 000 unknown fields": _bomb("toml", lambda: "".join(f"f{n} = 1\n" for n in range(40_000)), "missing_field"),
    "40 000 words near `steps`": _bomb(
        "json", lambda: "{" + ",".join(f'"stepz{n}":1' for n in range(40_000)) + "}", "missing_field"
    ),
    "a circle of 2 000": _bomb("toml", lambda: _steps(2_000, lambda n: f"needs = ['s{(n + 1) % 2_000}']\n"), "cycle"),
    "a chain of 2 000": _bomb("toml", lambda: _steps(2_000, lambda n: f"needs = ['s{n - 1}']\n" if n else "")),
    "5 000 steps": _bomb("toml", lambda: _steps(5_000)),
    "20 000 steps": _bomb("toml", lambda: _steps(20_000), "too_many"),
    "100 000 steps": _bomb("toml", lambda: _steps(100_000), "too_large"),
    "a million edges": _bomb(
        "json",
        lambda: (
            '{"dsl":"1","name":"w","steps":{'
            + ",".join(
                f'"s{n}":{{"run":"true","needs":[{",".join(f"{chr(34)}s{m}{chr(34)}" for m in range(n))}]}}'
                for n in range(1_000)
            )
            + "}}"
        ),
        "too_large",
    ),
    "40 000 edges": _bomb(
        "json",
        lambda: (
            '{"dsl":"1","name":"w","steps":{'
            + ",".join(
                f'"s{n}":{{"run":"true","needs":[{",".join(f"{chr(34)}s{m}{chr(34)}" for m in range(n))}]}}'
                for n in range(280)
            )
            + "}}"
        ),
    ),
    "10 000 needs of one step that is not there": _bomb(
        "toml",
        lambda: _steps(1, lambda _: f"needs = [{','.join(f'{chr(34)}x{n}{chr(34)}' for n in range(10_000))}]\n"),
        "unknown_step",
    ),
    "nested groups": _bomb(
        "toml", lambda: _HEAD + "".join(f"[{'.'.join(['steps.g'] * n)}]\n" for n in range(1, 32)), "name"
    ),
    "a matrix of many": _bomb(
        "toml",
        lambda: (
            _HEAD + "[steps.s]\nrun = 'true'\nmatrix = {" + ",".join(f"k{n} = [1,2,3,4]" for n in range(1_000)) + "}\n"
        ),
        "too_many",
    ),
    # expressions in documents
    "a long expression": _bomb(
        "toml", lambda: f"{_HEAD}[steps.s]\nrun = 'true'\nwhen = '{'1+' * 100_000}1'\n", "expression.limit"
    ),
    "a deep expression": _bomb(
        "toml", lambda: f"{_HEAD}[steps.s]\nrun = 'true'\nwhen = '{'(' * 3_000}'\n", "expression.too_deep"
    ),
    "100 000 placeholders": _bomb("toml", lambda: f"{_HEAD}[steps.s]\nrun = '{'${{ 1 }}' * 100_000}'\n"),
    "placeholders that never end": _bomb(
        "toml", lambda: f"{_HEAD}[steps.s]\nrun = '{'${{ ' * 200_000}'\n", "expression.syntax"
    ),
}
