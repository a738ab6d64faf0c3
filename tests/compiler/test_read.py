"""What holds for every format: finding the format, encoding, files, limits, positions."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from statemachine_flow.compiler.plain import Limits
from statemachine_flow.compiler.read import read_file, read_text
from statemachine_flow.compiler.source import Source, dotted, quoted
from statemachine_flow.errors import KINDS, DefinitionError, Problem, UsageError

FORMATS = ["toml", "yaml", "json"]


def problems_of(text: str | bytes, **options: object) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        read_text(text, **options)  # type: ignore[arg-type]  # options are those of read_text
    return caught.value.problems


def kinds_of(text: str | bytes, **options: object) -> list[str]:
    return [problem.kind for problem in problems_of(text, **options)]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("a = 1", "toml"),
        ("# note\n\n  a.'b c'.\"d\" = 1", "toml"),
        ("[steps]\na = 1", "toml"),
        ("[[steps]]\r\na = 1", "toml"),
        ("#:schema x\r\n[steps.'a b']\n", "toml"),
        ("a: b = c", "yaml"),
        ("# yaml-language-server: $schema=x\na: 1", "yaml"),
        ("---\na: 1", "yaml"),
        ('"a": 1', "yaml"),
        ("%YAML 1.2\n---\na: 1", "yaml"),
        ('{"a": 1}', "json"),
        ('\n  {\n"a": 1}', "json"),
    ],
)
def test_the_first_line_that_says_something_tells_the_format(text: str, form: str) -> None:
    data, source = read_text(text)

    assert source.format == form
    assert data


def test_an_unknown_format_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="toml, yaml, json"):
        read_text("a = 1", format="ini")  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("text", ["", " \n\t\n", "\r\n", "\ufeff"])
def test_case_01_an_empty_document_is_empty(text: str, form: str) -> None:
    assert kinds_of(text, format=form) == ["definition.empty"]


@pytest.mark.parametrize("text", ["# only\n  # comments", "---\n", "---\n# nothing\n...\n", "{}", "null"])
def test_case_01_a_document_that_holds_nothing_is_empty(text: str) -> None:
    assert kinds_of(text) == ["definition.empty"]


@pytest.mark.parametrize("text", ["- a\n- b", "[1, 2]", "just text", "42", '["a", {}]', "true"])
def test_case_02_a_root_that_is_no_mapping_has_the_wrong_type(text: str) -> None:
    (problem,) = problems_of(text)

    assert problem.kind == "definition.type"
    assert "table" in problem.message
    assert problem.position is not None


@pytest.mark.parametrize("form", FORMATS)
def test_case_13_a_byte_order_mark_is_accepted_and_shifts_nothing(form: str) -> None:
    text = {"toml": "a = 1", "yaml": "a: 1", "json": '{"a": 1}'}[form]

    data, source = read_text(b"\xef\xbb\xbf" + text.encode(), format=form)  # type: ignore[arg-type]

    assert data == {"a": 1}
    assert source.text == text
    assert source.position(("a",)) == read_text(text)[1].position(("a",))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("data", "offset", "line", "column"),
    [
        ("a = 1".encode("utf-16"), 0, 1, 1),
        ("a = 1".encode("utf-16-be"), 0, 1, 1),
        ("a = 1".encode("utf-32"), 0, 1, 1),
        (b"ok = 1\nname = 'caf\xe9'", 18, 2, 12),
        (b"\xef\xbb\xbfa = '\xff'", 8, 1, 6),
        (b"a = 'x\0y'", 6, 1, 7),
        (b"a = 1\rb = 2", 5, 1, 6),
        (b"a = 1\r\nb = 2\r", 12, 2, 6),
        ("a = 'é'\nb = '\ud800'", 14, 2, 6),
    ],
)
def test_case_13_what_is_not_clean_utf8_is_refused_with_its_byte_offset(
    data: str | bytes, offset: int, line: int, column: int, form: str
) -> None:
    (problem,) = problems_of(data, format=form)

    assert problem.kind == "definition.encoding"
    assert problem.message.endswith(f"at byte {offset}")
    assert problem.position is not None
    assert (problem.position.line, problem.position.column) == (line, column)


@pytest.mark.parametrize("form", FORMATS)
def test_crlf_lines_give_the_same_data_and_positions(form: str) -> None:
    text = {
        "toml": "a = 1\n[s]\nb = [\n 1,\n 2]\n",
        "yaml": "a: 1\ns:\n  b:\n  - 1\n  - 2\n",
        "json": '{"a": 1,\n"s": {"b":\n [1, 2]}}\n',
    }[form]

    data, source = read_text(text)
    other, crlf = read_text(text.replace("\n", "\r\n"))

    assert other == data
    for path in [("a",), ("s",), ("s", "b"), ("s", "b", 1)]:
        assert crlf.position(path, of="value") == source.position(path, of="value")
        place = crlf.position(path)
        assert crlf.line(place.line) == source.line(place.line)


@pytest.mark.parametrize("form", FORMATS)
def test_case_14_one_byte_over_the_limit_is_too_large(tmp_path: Path, form: str) -> None:
    limit = Limits().max_bytes
    text = {"toml": "a = 1", "yaml": "a: 1", "json": '{"a": 1}'}[form]
    path = tmp_path / f"doc.{form}"

    path.write_text(text.ljust(limit))
    assert read_file(path)[0] == {"a": 1}

    path.write_text(text.ljust(limit + 1))
    with pytest.raises(DefinitionError) as caught:
        read_file(path)
    assert caught.value.kind == "definition.too_large"
    assert kinds_of(text.ljust(limit + 1), format=form) == ["definition.too_large"]
    assert kinds_of("é" * (limit // 2 + 1), format=form) == ["definition.too_large"]


def _directory(path: Path) -> None:
    path.mkdir()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def _loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and devices of POSIX")
@pytest.mark.parametrize("make", [_directory, _fifo, _device, _dangling, _loop, lambda path: None])
def test_case_14_what_is_no_regular_file_is_refused_without_waiting(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "doc.toml"
    make(path)

    with pytest.raises(DefinitionError) as caught:
        read_file(path)

    assert caught.value.kind == "definition.not_a_file"
    assert "doc.toml" in str(caught.value)


@pytest.mark.parametrize("name", ["doc\0.toml", "x" * 5000 + ".toml", ""])
def test_case_14_a_name_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        read_file(name)

    assert caught.value.kind == "definition.not_a_file"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_case_14_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "doc.toml"
    path.write_text("a = 1")
    path.chmod(0)

    with pytest.raises(DefinitionError) as caught:
        read_file(path)

    assert caught.value.kind == "definition.not_a_file"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_to_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text("a = 1")
    (tmp_path / "link.toml").symlink_to("real.toml")

    assert read_file(tmp_path / "link.toml")[0] == {"a": 1}


@pytest.mark.parametrize("suffix", [".toml", ".yaml", ".yml", ".json", ".TOML"])
def test_the_suffix_of_a_file_says_its_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"doc{suffix}"
    content = {".yaml": "a: 1", ".yml": "a: 1", ".json": '{"a": 1}'}.get(suffix, "a = 1").encode()
    path.write_bytes(content)

    data, source = read_file(path)

    assert data == {"a": 1}
    assert source.name == str(path)
    assert source.directory == str(tmp_path)
    assert source.digest == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["doc", "doc.txt", "doc.toml.bak", ".toml"])
def test_a_name_without_a_known_suffix_is_refused_naming_those_that_are(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a = 1")

    with pytest.raises(DefinitionError) as caught:
        read_file(tmp_path / name)

    assert caught.value.kind == "definition.format"
    for suffix in (".toml", ".yaml", ".yml", ".json"):
        assert suffix in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="the working directory cannot be removed there")
def test_a_file_is_read_though_the_working_directory_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "doc.toml"
    path.write_text("a = 1")
    script = (
        "import os, sys, tempfile\n"
        "from statemachine_flow.compiler.read import read_file\n"
        "gone = tempfile.mkdtemp(); os.chdir(gone); os.rmdir(gone)\n"
        "print(read_file(sys.argv[1])[0])\n"
    )

    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)

    assert done.stdout == "{'a': 1}\n", done.stderr


def test_case_23_a_source_keeps_the_bytes_it_was_read_from(tmp_path: Path) -> None:
    path = tmp_path / "doc.toml"
    path.write_bytes(b"a = 1")
    data, source = read_file(path)

    path.write_bytes(b"a = 2")

    assert (data, source.text) == ({"a": 1}, "a = 1")
    assert source.digest == hashlib.sha256(b"a = 1").hexdigest()
    assert str(source.position(("a",), of="value")) == f"{path}:1:5"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("toml", "".join(f"a{n} = {{}}\n" for n in range(60_000))),
        ("toml", "a = [" + "1," * 60_000 + "]"),
        ("yaml", "".join(f"a{n}: []\n" for n in range(60_000))),
        ("yaml", "a: [" + "1," * 60_000 + "]"),
        ("json", '{"a": [' + "1," * 60_000 + "1]}"),
        ("json", '{"b": [NaN], "a": [' + "[]," * 60_000 + "1]}"),
    ],
)
def test_case_19_more_values_than_the_limit_are_too_many(form: str, text: str) -> None:
    assert kinds_of(text, format=form) == ["definition.too_many"]


def test_case_19_a_hundred_thousand_steps_are_too_large() -> None:
    text = "".join(f"[steps.s{n}]\nrun = 'true'\n" for n in range(100_000))

    assert kinds_of(text) == ["definition.too_large"]


@pytest.mark.parametrize("form", FORMATS)
def test_case_19_larger_documents_load_under_larger_limits(form: str) -> None:
    limits = Limits(max_bytes=8 << 20, max_nodes=500_000)
    text = {
        "toml": "[steps]\n" + "".join(f"s{n} = {{ needs = ['s{n - 1}'], run = ['true'] }}\n" for n in range(10_000)),
        "yaml": "steps:\n" + "".join(f"  s{n}: {{ needs: [s{n - 1}], run: ['true'] }}\n" for n in range(10_000)),
        "json": '{"steps":{'
        + ",\n".join(f'"s{n}":{{"needs":["s{n - 1}"],"run":["true"]}}' for n in range(10_000))
        + "}}",
    }[form]

    data, source = read_text(text, format=form, limits=limits)  # type: ignore[arg-type]

    assert data["steps"]["s9999"] == {"needs": ["s9998"], "run": ["true"]}
    assert source.position(("steps", "s9999")).line in (10_000, 10_001)


@pytest.mark.parametrize("form", FORMATS)
def test_values_are_counted_alike_in_every_format(form: str) -> None:
    text = {"toml": "a = [1, {b = 2}]\n", "yaml": "a: [1, {b: 2}]\n", "json": '{"a": [1, {"b": 2}]}'}[form]

    read_text(text, format=form, limits=Limits(max_nodes=5))  # type: ignore[arg-type]

    assert kinds_of(text, format=form, limits=Limits(max_nodes=4)) == ["definition.too_many"]


@pytest.mark.parametrize("form", FORMATS)
def test_levels_are_counted_alike_in_every_format(form: str) -> None:
    nested = "[" * 63 + "]" * 63
    text = {"toml": "a = {}", "yaml": "a: {}", "json": '{{"a": {}}}'}[form]

    read_text(text.format(nested), format=form)  # type: ignore[arg-type]

    assert kinds_of(text.format(f"[{nested}]"), format=form) == ["definition.too_deep"]


@pytest.mark.parametrize("form", FORMATS)
def test_case_08_every_number_that_is_not_finite_is_named(form: str) -> None:
    text = {
        "toml": "timeout = nan\nretry.delay = -inf\nlist = [1e400, 1.5]\n",
        "yaml": "timeout: .nan\nretry: {delay: -.inf}\nlist: [1e400, 1.5]\n",
        "json": '{"timeout": NaN,\n"retry": {"delay": -Infinity},\n"list": [1e400, 1.5]}',
    }[form]

    found = problems_of(text, format=form)

    assert [problem.kind for problem in found] == ["definition.range"] * 3
    assert [problem.path for problem in found] == ["timeout", "retry.delay", "list[0]"]
    assert [problem.position.line for problem in found if problem.position] == [1, 2, 3]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("digits", ["9" * 5000, "-" + "9" * 5000, str(2**63), str(-(2**63) - 1), "0x" + "f" * 17])
def test_case_07_an_integer_outside_64_bits_is_refused_where_it_stands(digits: str, form: str) -> None:
    if form == "json" and "x" in digits:
        pytest.skip("JSON has no hexadecimal numbers")
    text = {"toml": "a = 1\nb = [2, {}]", "yaml": "a: 1\nb: [2, {}]", "json": '{{"a": 1,\n"b": [2, {}]}}'}[form]

    (problem,) = problems_of(text.format(digits), format=form)

    assert problem.kind == "definition.number"
    assert problem.position is not None
    assert problem.source_line is not None
    assert problem.position.line == 2
    assert problem.source_line[problem.position.column - 1 :].startswith(digits)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0, 10**18])
def test_every_64_bit_integer_is_read_exactly(number: int, form: str) -> None:
    text = {"toml": f"a = {number}", "yaml": f"a: {number}", "json": f'{{"a": {number}}}'}[form]

    assert read_text(text, format=form)[0] == {"a": number}  # type: ignore[arg-type]


def test_a_missing_field_is_placed_at_the_mapping_that_lacks_it() -> None:
    _, source = read_text("steps:\n  a:\n    run: x\n")

    assert str(source.position(("steps", "a", "needs", 0))) == "<text>:2:3"
    assert str(source.position(("nothing",))) == "<text>:1:1"


def test_a_problem_carries_path_position_and_line() -> None:
    _, source = read_text("# note\n[steps.a]\nrun = 'x'  # why\n", name="wf.toml")

    problem = source.problem("definition.type", "no", ("steps", "a", "run"), of="value", hint="yes")

    assert problem == Problem(
        kind="definition.type",
        message="no",
        path="steps.a.run",
        position=source.position(("steps", "a", "run"), of="value"),
        source_line="run = 'x'  # why",
        hint="yes",
    )
    assert str(problem) == "definition.type: no (wf.toml:3:7); yes"


def test_an_offset_and_its_position_lead_to_each_other() -> None:
    text = "a = 1\r\n\nb = 'é'\n"
    _, source = read_text(text)

    for offset in range(len(text) + 1):
        place = source.position_at(offset)
        assert source.offset(place.line, place.column) == offset


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("a", "b-c", 0, "d_1"), "a.b-c[0].d_1"),
        ((0,), "[0]"),
        (("a.b", "", "c d"), '["a.b"][""]["c d"]'),
        (("größe",), "größe"),
        (("\x1b[2J", "\u202e", "\ud800"), r'["\u001b[2J"]["\u202e"]["\ud800"]'),
    ],
)
def test_paths_are_written_so_that_nothing_in_them_can_act(path: tuple[str | int, ...], text: str) -> None:
    assert dotted(path) == text


def test_long_keys_are_shortened_in_messages() -> None:
    assert len(quoted("k" * 10_000)) < 120
    assert len(dotted(("k" * 10_000,))) < 120


def test_a_report_of_a_document_that_is_wrong_everywhere_stays_short() -> None:
    for text in ("a = 1\n" * 5000, "a: 1\n" * 5000, '{"a":[' + "NaN," * 5000 + "1]}", "a: [" + "*x ," * 5000 + "]"):
        assert len(problems_of(text)) == 100


@given(st.text(max_size=200) | st.binary(max_size=200), st.sampled_from([None, *FORMATS]))
def test_no_text_at_all_gives_anything_but_data_or_problems(text: str | bytes, form: str | None) -> None:
    try:
        data, source = read_text(text, format=form)  # type: ignore[arg-type]
    except DefinitionError as error:
        for problem in error.problems:
            assert problem.kind in KINDS
            assert problem.position is not None
            str(problem).encode()
    else:
        assert isinstance(data, dict)
        assert isinstance(source, Source)


def test_reading_toml_and_json_loads_no_parser_of_another_format() -> None:
    script = (
        "import sys\n"
        "from statemachine_flow.compiler.read import read_text\n"
        "before = set(sys.modules)\n"
        "read_text('a = 1')[1].position(('a',)); read_text('{\"a\": 1}')[1].position(('a',))\n"
        "print(sorted({'yaml', 'tomlkit', 'ruamel'} & (set(sys.modules) - before)))\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.stdout == "[]\n", done.stderr
