"""Which Python functions a `call` step may name, and how a name becomes a function.

A name without a colon is looked up in the registry. `module:function` is imported, on first use and never while a
document is only read, unless it is private, or belongs to the standard library (`os:system` is no step), or is not
on the list of an embedding tool that restricts them.
"""

from __future__ import annotations

import fnmatch
import hashlib
import importlib
import inspect
import sys
import threading
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final, final

from statemachine_flow.errors import SmfError

Function = Callable[..., Any]


class FunctionError(SmfError):
    """A name that leads to no function, or to one that may not be called."""

    default_kind = "definition.callable"
    exit_code = 3


@final
class Functions:
    """The functions one engine may call.

    Args:
        registered: name -> function, always allowed. A name may have a colon; it then stands for that import.
        allow: patterns such as `"reviewkit.*:*"` for `module:function` names; None allows everything but the
            standard library and private names, an empty list allows only what is registered.

    Example:
        >>> functions = Functions({"double": lambda x: 2 * x})
        >>> functions.resolve("double")(21)
        42
        >>> functions.resolve("os:system")
        Traceback (most recent call last):
        ...
        statemachine_flow.functions.FunctionError: 'os:system' belongs to the standard library; register the function...
    """

    def __init__(self, registered: Mapping[str, Function] | None = None, allow: Iterable[str] | None = None) -> None:
        self._registered: MutableMapping[str, Function] = dict(registered or {})
        self._allow: Final = None if allow is None else tuple(allow)
        self._imported: dict[str, Function] = {}

    def register(self, name: str, function: Function) -> None:
        """Allow `function` under `name`; a later registration replaces an earlier one."""
        self._registered[name] = function

    def resolve(self, name: str) -> Function:
        """The function a name stands for.

        Raises:
            FunctionError: not registered, not allowed, or not found where the name says.
        """
        function = self._registered.get(name)
        if function is None:
            function = self._imported.get(name)
        if function is None:
            self._require_allowed(name)
            function = self._imported[name] = import_function(name)
        return function

    def import_name(self, name: str) -> str | None:
        """The `module:function` under which another process finds what a name stands for; None if it cannot.

        Raises:
            FunctionError: see `resolve`.

        Example:
            >>> functions = Functions({"name": name_of, "nothing": lambda: None})
            >>> functions.import_name("name"), functions.import_name("nothing")
            ('statemachine_flow.functions:name_of', None)
        """
        function = self.resolve(name)
        return name if name not in self._registered else name_of(function)

    def over(self, own: Mapping[str, Function]) -> Functions:
        """These functions, below those that a workflow brought along; the registry itself stays as it is.

        Example:
            >>> functions = Functions({"one": lambda: 1})
            >>> functions.over({"one": lambda: 2}).resolve("one")(), functions.resolve("one")()
            (2, 1)
        """
        below = Functions(allow=self._allow)
        below._registered = ChainMap(dict(own), self._registered)
        below._imported = self._imported
        return below

    def _require_allowed(self, name: str) -> None:
        module, colon, attribute = name.partition(":")
        if not colon:
            known = ", ".join(sorted(self._registered)) or "none is registered"
            raise FunctionError(
                f"no function is registered as {name!r} (known: {known})", hint="register it, or write module:function"
            )
        if any(part.startswith("_") for part in (*module.split("."), *attribute.split("."))):
            raise FunctionError(f"{name!r} is private", hint="name a public function")
        if self._allow is None:
            if module.partition(".")[0] in sys.stdlib_module_names:
                raise FunctionError(
                    f"{name!r} belongs to the standard library", hint="register the function, or allow it by name"
                )
        elif not any(fnmatch.fnmatchcase(name, pattern) for pattern in self._allow):
            raise FunctionError(f"{name!r} is not among the allowed functions", hint="allow it, or register it")


#: The name being imported for a run, per thread.
_importing = threading.local()


def imported_now() -> str | None:
    """The function whose module this thread is importing for a run; None at any other time."""
    return getattr(_importing, "name", None)


def import_function(name: str) -> Function:
    """What `module:function` leads to; whether it may be called is not asked here.

    Raises:
        FunctionError: it cannot be imported, or is not there.
    """
    module_name, _, attribute = name.partition(":")
    before = imported_now()
    _importing.name = name
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise FunctionError(
            f"{name!r} cannot be imported: {error}", hint="is its folder on the Python path?"
        ) from error
    except (Exception, SystemExit) as error:  # a script without a main guard may end in sys.exit()
        raise FunctionError(f"{name!r}: importing {module_name} raised {type(error).__name__}: {error}") from error
    finally:
        _importing.name = before
    function = getattr(module, attribute, None)
    if not callable(function):
        raise FunctionError(f"module {module_name} has no function {attribute!r}", hint="was it renamed?")
    return function  # type: ignore[no-any-return]  # callable() is all that is known of it


def code_digest(function: Function) -> str:
    """A short digest of the function's source text, or of its name where no source can be had.

    Example:
        >>> code_digest(code_digest) == code_digest(code_digest)
        True
    """
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__qualname__)}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def name_of(function: Function) -> str | None:
    """`module:function` if importing that gives the function back; None for lambdas, closures and methods.

    A function of the script that is being run is named after its file, so that `smf` finds it there too.

    Example:
        >>> name_of(name_of), name_of(lambda: None)
        ('statemachine_flow.functions:name_of', None)
    """
    module, qualified = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module is None or not qualified.isidentifier():
        return None
    if getattr(sys.modules.get(module), qualified, None) is not function:
        return None
    if module == "__main__":
        main = sys.modules["__main__"]
        module = main.__spec__.name if main.__spec__ else _stem(getattr(main, "__file__", None))
    return f"{module}:{qualified}" if module else None


def _stem(file: str | None) -> str | None:
    stem = inspect.getmodulename(file) if file else None
    return stem if stem and stem.isidentifier() else None
