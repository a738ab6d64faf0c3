"""Checks that need nothing but the standard library: lint, byte_compile, complexity, size.

Each is a small and honest version of what a tool of its own does at length. None executes what it checks. A file that
is not valid Python is reported once, by `byte_compile`, and passed over by the others.
"""

from __future__ import annotations

import ast
import io
import re
import threading
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from typing import Final

from review_kit.findings import CheckResult, Found, check_files
from review_kit.git import File
from statemachine_flow import StepContext

_BRANCHES: Final = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension)
_Function = ast.FunctionDef | ast.AsyncFunctionDef

_CONFLICT: Final = re.compile(r"^(?:<{7}|>{7}) \S", re.MULTILINE)
_REMINDER: Final = re.compile(r"\b(TODO|FIXME|XXX)\b")
_WORD: Final = re.compile(r"[A-Za-z_]\w*")
#: A path with one of these words in it is no library code, so it may print.
_PRINTS: Final = re.compile(
    r"(^|/)((tests?|examples?|benchmarks?|scripts?|tools?|docs?)/|(conftest|setup|__main__)\.py)"
)
_MAIN_GUARD: Final = re.compile(rb"^if __name__ ==", re.MULTILINE)
#: A text longer than this in the code is data, and not searched for names.
_LONGEST_TEXT: Final = 10_000

#: The interpreter has one list of warnings for all threads, and several checks run at once.
_parsing: Final = threading.Lock()


def lint(*, repo: str, files: list[File], pace: float, max_line_length: int, context: StepContext) -> CheckResult:
    """Look for slips: conflict markers, long lines, unused imports, bare excepts, mutable defaults, prints, reminders.

    Args:
        repo: any directory of the repository.
        files: what to check; all but the conflict markers are looked for in Python files only.
        pace: seconds to rest after each file.
        max_line_length: in characters.
        context: of the step.
    """
    python = {file["path"] for file in files if file["python"]}

    def check(path: str, content: bytes) -> Iterator[Found]:
        text = content.decode("utf-8", "replace")
        for match in _CONFLICT.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, "high", "conflict", "a conflict marker was left behind"
        if path in python:
            yield from _not_silenced(_lint_python(path, content, text, max_line_length), text)

    return check_files(context, repo, files, pace, check)


def byte_compile(*, repo: str, files: list[File], pace: float, context: StepContext) -> CheckResult:
    """Compile Python files, which tells syntax errors and what the compiler warns of.

    Args:
        repo: any directory of the repository.
        files: Python files.
        pace: seconds to rest after each file.
        context: of the step.
    """
    return check_files(context, repo, files, pace, lambda path, content: list(_compile(path, content)))


def complexity(*, repo: str, files: list[File], pace: float, max_complexity: int, context: StepContext) -> CheckResult:
    """Count the ways through each function: one, and one more for each branch.

    Args:
        repo: any directory of the repository.
        files: Python files.
        pace: seconds to rest after each file.
        max_complexity: functions with more are reported.
        context: of the step.
    """

    def check(_path: str, content: bytes) -> Iterator[Found]:
        for function in _functions(_parse(content)):
            ways = 1 + sum(map(_branches, _own_nodes(function)))
            if ways > max_complexity:
                message = f"'{function.name}' has {ways} ways through it, more than {max_complexity}"
                yield function.lineno, "medium", "complexity", message

    return check_files(context, repo, files, pace, check)


def size(
    *, repo: str, files: list[File], pace: float, max_file_lines: int, max_function_lines: int, context: StepContext
) -> CheckResult:
    """Look for Python files and functions that are too long.

    Args:
        repo: any directory of the repository.
        files: Python files.
        pace: seconds to rest after each file.
        max_file_lines: longer files are reported.
        max_function_lines: longer functions are reported; decorators do not count.
        context: of the step.
    """

    def check(_path: str, content: bytes) -> Iterator[Found]:
        lines = content.count(b"\n") + (not content.endswith(b"\n"))
        if lines > max_file_lines:
            yield 1, "low", "long-file", f"the file has {lines} lines, more than {max_file_lines}"
        for function in _functions(_parse(content)):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            if lines > max_function_lines:
                message = f"'{function.name}' has {lines} lines, more than {max_function_lines}"
                yield function.lineno, "low", "long-function", message

    return check_files(context, repo, files, pace, check)


# --- reading Python


def _compile(path: str, content: bytes) -> Iterator[Found]:
    with _parsing, warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        try:
            compile(content, path, "exec", dont_inherit=True)
        except SyntaxError as error:
            yield error.lineno or 1, "high", "syntax", f"it does not compile: {error.msg}"
        except (ValueError, OverflowError) as error:
            yield 1, "high", "syntax", f"it does not compile: {error}"
        except (RecursionError, MemoryError):
            yield 1, "high", "syntax", "it does not compile: nested too deep"
    for warning in noticed:
        yield warning.lineno, "medium", "compiler", f"the compiler warns: {warning.message}"


def _parse(content: bytes) -> ast.Module:
    """The syntax tree; an empty one if it is not valid Python."""
    with _parsing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(content)
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
            return ast.Module(body=[], type_ignores=[])


def _functions(tree: ast.AST) -> Iterator[_Function]:
    return (node for node in ast.walk(tree) if isinstance(node, _Function))


def _own_nodes(function: _Function) -> Iterator[ast.AST]:
    """What is inside a function, but not inside functions and classes in it."""
    nodes: list[ast.AST] = list(function.body)
    while nodes:
        node = nodes.pop()
        yield node
        if not isinstance(node, _Function | ast.ClassDef):
            nodes.extend(ast.iter_child_nodes(node))


def _branches(node: ast.AST) -> int:
    """How many ways a node adds."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.Match):
        return len(node.cases) - 1
    return int(isinstance(node, _BRANCHES))


# --- lint


def _not_silenced(found: Iterable[Found], text: str) -> Iterator[Found]:
    """Findings but those on lines that ask linters to be quiet."""
    lines = text.split("\n")
    return (one for one in found if "noqa" not in lines[min(one[0], len(lines)) - 1])


def _lint_python(path: str, content: bytes, text: str, max_line_length: int) -> Iterator[Found]:
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > max_line_length:
            yield number, "low", "long-line", f"the line has {len(line)} characters, more than {max_line_length}"
    tree = _parse(content)
    nodes = list(ast.walk(tree))
    if tree.body and _REMINDER.search(text):
        yield from _reminders(content)
    if not path.endswith("__init__.py"):  # which imports to export
        yield from _unused_imports(tree, nodes)
    may_print = _PRINTS.search(path) or _MAIN_GUARD.search(content)
    for node in nodes:
        if isinstance(node, ast.ExceptHandler):
            if node.type is None and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
                yield node.lineno, "medium", "bare-except", "a bare except swallows exits and interrupts too"
        elif isinstance(node, _Function):
            yield from _mutable_defaults(node)
        elif isinstance(node, ast.Call) and not may_print and _calls(node, "print"):
            yield node.lineno, "low", "print", "library code prints"


def _reminders(content: bytes) -> Iterator[Found]:
    for token in tokenize.tokenize(io.BytesIO(content).readline):
        match = _REMINDER.search(token.string) if token.type == tokenize.COMMENT else None
        if match:
            yield token.start[0], "low", "reminder", f"a comment says {match[1]}"


def _unused_imports(tree: ast.Module, nodes: Iterable[ast.AST]) -> Iterator[Found]:
    used: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < _LONGEST_TEXT:
            used.update(_WORD.findall(node.value))  # it may be an annotation, or stand in `__all__`
    for node in tree.body:
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module != "__future__"):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                # `import x as x` says that it is there to be exported.
                if name not in used and name != "*" and alias.asname != alias.name:
                    yield node.lineno, "low", "unused-import", f"'{name}' is imported and not used"


def _mutable_defaults(function: _Function) -> Iterator[Found]:
    for default in (*function.args.defaults, *function.args.kw_defaults):
        if isinstance(default, ast.List | ast.Dict | ast.Set) or _calls(default, "list", "dict", "set"):
            message = f"a default of '{function.name}' is shared by all its calls, and can be changed"
            yield function.lineno, "medium", "mutable-default", message


def _calls(node: ast.AST | None, *names: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
