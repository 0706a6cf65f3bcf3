"""What is said of the code that made something."""

import subprocess

from srgan_jax import provenance


def test_a_commit_with_changes_on_top_is_dirty(tmp_path, monkeypatch):
    def git(*arguments):
        name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(
            ["git", *name, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    file = tmp_path / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(file))
    file.write_text("1")
    git("init", "-q")
    assert provenance.code_version()["commit"] == ""  # somebody else's repository
    git("add", "."), git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD").strip()
    assert len(commit) == 40 and provenance.code_version()["commit"] == commit
    file.write_text("2")
    assert provenance.code_version()["commit"] == f"{commit}-dirty"
