"""What the example reviews: the range, its files, their contents."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from review_kit.git import Changes, GitError, TransientGitError, find_range, list_changes, open_blobs

if TYPE_CHECKING:
    from tests.examples.conftest import Repo

LIMIT = 1000
posix = pytest.mark.skipif(os.name == "nt", reason="needs file names or links that Windows does not have")


def changes(repo: Repo, base: str = "", head: str = "HEAD") -> Changes:
    found = find_range(str(repo.path), base, head, all_files=False)
    return list_changes(str(repo.path), found["base"], found["head"], LIMIT)


def paths(found: Changes) -> list[str]:
    return [file["path"] for file in found["files"]]


def reasons(found: Changes) -> dict[str, str]:
    return {file["path"]: file["why"] for file in found["not_checked"]}


# --- the range


def test_the_last_commit_is_reviewed_unless_told_otherwise(repo: Repo) -> None:
    repo.commit({"old.py": "", "both.py": ""})
    repo.commit({"new.py": "x = 1\n", "both.py": "y = 2\n"})

    assert paths(changes(repo)) == ["both.py", "new.py"]


def test_a_first_commit_is_reviewed_whole_and_says_so(repo: Repo) -> None:
    repo.commit({"a.py": "", "b.py": ""})
    found = find_range(str(repo.path), "", "HEAD", all_files=False)

    assert "no parent" in found["note"]
    assert paths(changes(repo)) == ["a.py", "b.py"]


def test_a_shallow_clone_is_reviewed_whole(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"a.py": "1\n"})
    repo.commit({"b.py": "2\n"})
    repo.git("clone", "--quiet", "--depth=1", repo.path.as_uri(), str(tmp_path / "shallow"))
    repo.path = tmp_path / "shallow"

    assert paths(changes(repo)) == ["a.py", "b.py"]


def test_a_branch_is_compared_with_where_it_left_its_base(repo: Repo) -> None:
    repo.commit({"a.py": ""})
    repo.git("checkout", "--quiet", "-b", "feature")
    repo.commit({"feature.py": ""})
    repo.git("checkout", "--quiet", "main")
    repo.commit({"later-on-main.py": ""})

    assert paths(changes(repo, "main", "feature")) == ["feature.py"]


def test_unrelated_histories_are_compared_as_they_are(repo: Repo) -> None:
    repo.commit({"a.py": "1\n"})
    repo.git("checkout", "--quiet", "--orphan", "other")
    repo.commit({"b.py": "22\n"})
    found = find_range(str(repo.path), "main", "other", all_files=False)

    assert "no common ancestor" in found["note"]
    assert paths(changes(repo, "main", "other")) == ["b.py"]


def test_every_file_can_be_asked_for(repo: Repo) -> None:
    repo.commit({"a.py": "1\n"})
    head = repo.commit({"b.py": "2\n"})
    found = find_range(str(repo.path), "HEAD~1", "HEAD", all_files=True)

    assert found["log"] == [head]
    assert paths(list_changes(str(repo.path), found["base"], head, LIMIT)) == ["a.py", "b.py"]


def test_an_empty_range_has_no_files(repo: Repo) -> None:
    repo.commit({"a.py": ""})

    assert changes(repo, "HEAD", "HEAD") == Changes(changed=0, files=[], python=[], not_checked=[])


@pytest.mark.parametrize(
    ("base", "head", "said"),
    [
        ("", "no-such-branch", "'no-such-branch' names no commit"),
        ("no-such-branch", "HEAD", "'no-such-branch' names no commit"),
        ("--output=x", "HEAD", "'--output=x' names no commit"),
        ("", "--all", "'--all' names no commit"),
        ("HEAD:a.py", "HEAD", "'HEAD:a.py' names no commit"),
    ],
)
def test_a_name_that_is_no_commit_is_refused(repo: Repo, base: str, head: str, said: str) -> None:
    repo.commit({"a.py": ""})

    with pytest.raises(GitError, match=said):
        find_range(str(repo.path), base, head, all_files=False)


def test_a_repository_without_commits_and_a_folder_without_repository_are_refused(repo: Repo, tmp_path: Path) -> None:
    with pytest.raises(GitError, match="'HEAD' names no commit"):
        find_range(str(repo.path), "", "HEAD", all_files=False)
    with pytest.raises(GitError, match="not a git repository"):
        find_range(str(tmp_path), "", "HEAD", all_files=False)
    with pytest.raises(GitError, match="cannot change to"):
        find_range(str(tmp_path / "nowhere"), "", "HEAD", all_files=False)


def test_a_machine_without_git_is_told_so(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(GitError, match="git is not installed"):
        find_range(str(repo.path), "", "HEAD", all_files=False)


def test_a_hook_that_sets_variables_of_git_leads_nowhere_else(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.commit({"a.py": ""})
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere")

    assert paths(changes(repo)) == ["a.py"]


# --- the files


@posix
def test_names_of_every_kind_are_read(repo: Repo) -> None:
    names = [
        "with blank.py",
        "grüße.py",
        "-leading.py",
        "line\nbreak.py",
        'tab\tquote".py',
        "back\\slash.py",
        "dir/x.py",
    ]
    repo.commit(dict.fromkeys(names, "x = 1\n"))

    assert sorted(names) == sorted(paths(changes(repo)))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a file name is text")
def test_a_name_that_is_no_text_is_shown_escaped(repo: Repo) -> None:
    repo.commit({os.fsdecode(b"caf\xe9.py"): "x = 1\n"})

    assert paths(changes(repo)) == ["caf\\xe9.py"]


@posix
def test_what_cannot_be_checked_is_listed_with_the_reason(repo: Repo) -> None:
    lines = "".join(f"line {number}\n" for number in range(40))
    repo.commit({"deleted.py": "1\n", "moved.py": lines, "script.py": "2\n", "edited.py": lines * 2})
    for name in ("deleted.py", "moved.py", "edited.py"):
        (repo.path / name).unlink()
    (repo.path / "link.py").symlink_to("script.py")
    (repo.path / "script.py").chmod(0o755)
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    (repo.path / "module").mkdir()
    repo.commit(
        {
            "image.png": b"\x89PNG\0\0",
            "large.py": "x" * (LIMIT + 1),
            "just-small-enough.py": "x" * LIMIT,
            "moved-away.py": lines,
            "edited-and-moved.py": f"{lines * 2}one more\n",
            "empty.py": "",
        }
    )
    found = changes(repo)

    # What was moved and edited counts as deleted in one place and added in another.
    same = "renamed or given another mode, with the same content"
    assert reasons(found) == {
        "deleted.py": "deleted",
        "edited.py": "deleted",
        "image.png": "binary",
        "large.py": "larger than 1,000 bytes",
        "link.py": "a symbolic link",
        "module": "a submodule",
        "moved-away.py": same,
        "script.py": same,
    }
    assert paths(found) == ["edited-and-moved.py", "empty.py", "just-small-enough.py"]
    assert found["changed"] == len(found["files"]) + len(found["not_checked"])


def test_python_is_told_by_its_name_or_its_first_line(repo: Repo) -> None:
    shebang = "#!/usr/bin/env python3\nprint(1)\n"
    repo.commit(
        {
            "a.py": "",
            "b.pyi": "",
            "c.pyw": "",
            "run": shebang,
            "notes.txt": "python\n",
            "d.pyc.txt": "",
            "sh": "#!/bin/sh\n",
        }
    )

    assert [file["path"] for file in changes(repo)["python"]] == ["a.py", "b.pyi", "c.pyw", "run"]


def test_contents_are_those_of_the_commit_whatever_happens_to_the_files(repo: Repo) -> None:
    repo.commit({"a.py": "committed\n"})
    (file,) = changes(repo)["files"]
    repo.write({"a.py": "dirty\n"})
    repo.commit({"a.py": "next commit\n"})

    with open_blobs(str(repo.path)) as read:
        assert read(file["blob"], LIMIT) == b"committed\n"


def test_contents_are_read_in_any_order_and_too_large_ones_passed_over(repo: Repo) -> None:
    repo.commit({"a.py": "aaa", "b.py": "b" * 500, "c.py": ""})
    a, b, c = (file["blob"] for file in changes(repo)["files"])

    with open_blobs(str(repo.path)) as read:
        assert [read(blob, 100) for blob in (c, b, a, b, c)] == [b"", None, b"aaa", None, b""]


def test_a_clone_without_old_contents_is_enough(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"a.py": "old\n", "b.py": "b\n"})
    (repo.path / "a.py").unlink()
    repo.commit({"moved.py": "old, now new\n"})
    repo.git("config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "partial"
    repo.git("clone", "--quiet", "--filter=blob:none", repo.path.as_uri(), str(clone))
    repo.path.rename(tmp_path / "gone")
    repo.path = clone

    assert paths(changes(repo)) == ["moved.py"]


def test_a_content_that_this_clone_lacks_is_listed_as_such(repo: Repo) -> None:
    repo.commit({"a.py": "1\n", "b.py": "2\n"})
    blob = repo.git("rev-parse", "HEAD:a.py")
    (repo.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    found = changes(repo)

    assert reasons(found) == {"a.py": "not in this clone"}
    assert paths(found) == ["b.py"]


@posix
@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("fatal: Unable to create '/r/.git/index.lock': File exists.", TransientGitError),
        ("error: cannot fork to run it: Resource temporarily unavailable", TransientGitError),
        ("fatal: bad object", GitError),
    ],
)
def test_only_what_passes_is_worth_another_try(
    repo: Repo, said: str, error: type[GitError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 128\n')
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{git.parent}:{os.environ['PATH']}")

    with pytest.raises(GitError) as caught:
        find_range(str(repo.path), "", "HEAD", all_files=False)
    assert type(caught.value) is error


def test_no_process_of_git_is_left_when_reading_breaks_off(repo: Repo) -> None:
    repo.commit({"a.py": "1\n"})
    (file,) = changes(repo)["files"]
    started: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", Recorded)
        with pytest.raises(ZeroDivisionError), open_blobs(str(repo.path)) as read:
            1 / len(read(file["blob"], 0) or b"")

    assert [process.poll() is not None for process in started] == [True]
