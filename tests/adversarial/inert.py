"""Reads spoilt documents in a process whose every outside act is watched: `python inert.py FOLDER SEED COUNT`.

Prints what was trapped and what was raised that is no error of a document, one line each; nothing if all is well.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from types import CodeType
from typing import Any, Final

import statemachine_flow as smf
from statemachine_flow.errors import DefinitionError, UsageError

#: What documents do when they mean harm, and the punctuation that makes parsers go astray.
_TOKENS: Final = (
    b"!!python/object/apply:os.system ['true']", b"&a ", b"*a", b"<<: ", b"\n---\n", b"\0", b"\xff", b"\xef\xbb\xbf",
    b"[" * 70, b"{a: " * 70, b'"""', b"'''", b"\\ud800", b"\\x", b"${{ ", b" }}", b"${{ ().__class__ }}",
    b"${{ 9**9**9 }}", b"os:system", b"builtins:eval", b"file:///etc/passwd", b"../../etc/passwd", b"http://127.0.0.1:1/",
    b"nan", b"1e400", b"9" * 400, b"steps", b"workflow = ", b"call: ", b"\r", b"\t", b"\xe2\x80\xae",
    b"=", b":", b",", b"]", b"}",
)  # fmt: skip
#: Packages whose modules may be loaded while something is read, because this library uses them.
_OWN: Final = {"statemachine_flow", "yaml", "_yaml", "msgspec", "attr", "attrs"} | sys.stdlib_module_names
#: Parts of the names of files that execute what they made themselves, of classes and annotations of this library.
_MAKERS: Final = ("importlib", "cattrs", "/attr/", "typing.py", "dataclasses.py")
_NEVER: Final = (
    "subprocess",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket",
    "ctypes",
    "shutil",
    "urllib",
)

#: How many are read before anybody watches: what is loaded and generated on first use is loaded then.
_WARMING: Final = 400

trapped: list[str] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: notes whatever reading a document has no business to do."""
    if event.startswith(_NEVER):
        trapped.append(f"{event} {arguments!r:.200}")
    elif event == "import" and arguments[0].partition(".")[0] not in _OWN:
        trapped.append(f"import {arguments[0]}")
    elif event == "open" and not str(arguments[0]).endswith((".py", ".pyc", ".so", ".pyd")):
        trapped.append(f"open {arguments[0]!r}")
    elif event == "exec" and isinstance(arguments[0], CodeType):
        # Modules of our own, and what the packages that make our classes generate for them.
        caller = sys._getframe(1).f_code.co_filename
        if not arguments[0].co_filename.endswith(".py") and not any(part in caller for part in _MAKERS):
            trapped.append(f"exec {arguments[0].co_filename} by {caller}")


def spoilt(rng: random.Random, data: bytes) -> bytes:
    """A document after a few accidents."""
    text = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(text) + 1), rng.randrange(12)
        what = rng.randrange(4)
        if what == 0:
            text[at:at] = rng.choice(_TOKENS)
        elif what == 1:
            del text[at : at + length]
        elif what == 2:
            text[at:at] = text[at : at + length * 5]
        elif text:
            text[at % len(text)] = rng.randrange(256)
    return bytes(text)


def main(folder: Path, seed: int, count: int) -> None:
    """Read `count` spoilt copies of the documents in a folder."""
    rng, raised = random.Random(seed), list[str]()
    sources = [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".toml", ".yaml", ".json")]
    for number in range(-_WARMING, count):
        data = spoilt(rng, rng.choice(sources))
        if number == 0:
            sys.addaudithook(watch)
        try:
            smf.load(data)
        except (DefinitionError, UsageError):
            pass
        except BaseException as error:  # noqa: BLE001 - whatever else it is, it is what is looked for
            raised.append(f"{type(error).__name__}: {error!s:.200} {data!r:.300}")
    sys.stdout.write("\n".join(raised + trapped))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
