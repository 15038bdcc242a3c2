#!/usr/bin/env python3
"""No file of the tree names a folder of the machine that it was written on, such as a home folder.

    check_paths.py [ROOT]      exit code 0: none does; 1: some do, one line each
"""
import pathlib
import re
import subprocess
import sys

# Put together from parts, so that this file passes its own check.
FOLDERS = ["work/(main|shared)", "root", r"home/[a-z]\w*", r"Users/[A-Za-z]\w*", "tmp/build"]
PATTERN = re.compile(r"(?<![\w.\-/$}])/(" + "|".join(FOLDERS) + r")\b")
SKIPPED = {".git", "build", ".venv", "__pycache__", ".cache"}


def files_of(root):
    """What git tracks or would track; without git, all but build results."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-co", "--exclude-standard", "-z"], capture_output=True)
    if listed.returncode == 0 and listed.stdout:
        return [root / name for name in listed.stdout.decode().split("\0") if name]
    return [file for file in root.rglob("*") if not SKIPPED & set(file.relative_to(root).parts)]


def main(arguments):
    root = pathlib.Path(arguments[1] if len(arguments) > 1 else pathlib.Path(__file__).resolve().parents[2])
    bad = []
    for file in files_of(root):
        if not file.is_file() or file.stat().st_size > 4 << 20:
            continue
        content = file.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if found := PATTERN.search(line):
                bad.append(f"{file.relative_to(root)}:{number}: {found.group(0)}")
    print("\n".join(bad) if bad else "no file names a folder of the machine that it was written on")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
