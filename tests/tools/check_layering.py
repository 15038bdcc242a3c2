#!/usr/bin/env python3
"""Keeps the include table of ARCHITECTURE.md true.

Each row of the table between the `include-table` marks names a module (a folder), the modules it may include, and its third-party
libraries: those marked with `*` in any file, the others in .cc files alone. Prints one line per include that the table does not allow.

    check_layering.py [ROOT]      exit code 0: none; 1: some; 2: no table
"""
import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
# First match wins. What is not here and not of the project is taken for a system header.
LIBRARIES = [
    ("google/rpc", "google/rpc"), ("google/protobuf", "google/protobuf"), ("absl/", "absl"), ("grpc/", "grpc"),
    ("grpcpp/", "grpc"), ("grpc++/", "grpc"), ("openssl/", "openssl"), ("yaml-cpp/", "yaml-cpp"), ("prometheus/", "prometheus"),
    ("simdjson", "simdjson"), ("nlohmann/", "nlohmann"), ("pcre2", "pcre2"), ("jpeglib", "jpeg"), ("jerror", "jpeg"),
    ("turbojpeg", "jpeg"), ("png", "png"), ("webp/", "webp"), ("gif_lib", "gif"), ("zlib", "zlib"), ("CLI/", "CLI11"),
    ("readline/", "readline"), ("boost/", "boost"), ("cuda", "cuda"), ("nccl", "nccl"), ("gloo/", "gloo"),
]
SOURCES = {".h", ".cc", ".cu", ".cuh", ".in"}


def parse_table(text):
    """Rows as {module: (allowed modules, libraries in any file, libraries in .cc files)}."""
    table = text.split("<!-- include-table -->")[1].split("<!-- /include-table -->")[0]
    rows = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) < 3 or cells[0] in ("module", "") or set(cells[0]) <= {"-"}:
            continue
        libraries = cells[2].split()
        anywhere = {name.rstrip("*") for name in libraries if name.endswith("*")}
        rows[cells[0]] = (set(cells[1].split()), anywhere, {name.rstrip("*") for name in libraries})
    return rows


def module_of(path, modules):
    """The module with the longest name that holds this path; None outside all."""
    holding = [module for module in modules if path == module or path.startswith(module + "/")]
    return max(holding, key=len) if holding else None


def library_of(include):
    return next((name for prefix, name in LIBRARIES if include.startswith(prefix)), None)


def violations(root, rows):
    modules = list(rows) + ["protos"]
    top_folders = {module.split("/")[0] for module in modules}
    for module in rows:
        for file in sorted((root / module).rglob("*")):
            path = file.relative_to(root).as_posix()
            if file.suffix not in SOURCES or module_of(path, modules) != module:
                continue
            allowed, anywhere, in_sources = rows[module]
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                found = INCLUDE.match(line)
                if not found:
                    continue
                include = found.group(1)
                where = f"{path}:{number}: {include}"
                if include.startswith("tessera/v1/"):
                    if "protos" not in allowed:
                        yield f"{where}: {module} may not include protos"
                elif include.split("/")[0] in top_folders:
                    other = module_of(include, modules)
                    if other is None:
                        yield f"{where}: belongs to no module of the table"
                    elif other != module and other not in allowed:
                        yield f"{where}: {module} may not include {other}"
                elif (library := library_of(include)) is not None:
                    is_source = file.suffix in (".cc", ".cu", ".in")
                    if library not in in_sources:
                        yield f"{where}: {module} may not include {library}"
                    elif not is_source and library not in anywhere:
                        yield f"{where}: {library} belongs into .cc files of {module}"


def main(arguments):
    root = pathlib.Path(arguments[1] if len(arguments) > 1 else pathlib.Path(__file__).resolve().parents[2])
    text = (root / "ARCHITECTURE.md").read_text(encoding="utf-8")
    if text.count("<!-- include-table -->") != 1:
        print("ARCHITECTURE.md has no include table", file=sys.stderr)
        return 2
    found = list(violations(root, parse_table(text)))
    print("\n".join(found) if found else "every include is allowed by ARCHITECTURE.md's table")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
