#!/usr/bin/env python3
"""Writes the Debian copyright file of xks-proxy: every crate that is linked into the program, with its licence.

    copyright.py OUTPUT [cargo options, such as --features cedar]

The texts are those that the crates bring. Crates with one and the same text share it.
"""
import json
import pathlib
import subprocess
import sys

NAMES = ("LICEN", "COPYING", "NOTICE", "COPYRIGHT", "UNLICENSE")


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], check=True, capture_output=True, text=True).stdout


def linked(options):
    """Returns names and versions of the crates that end up in the program: not those of build scripts, macros, tests."""
    tree = cargo("tree", "--locked", "-p", "xks-proxy", "--edges", "normal,no-proc-macro", "--prefix", "none",
                 "--format", "{p}", *options)
    return {tuple(line.split()[:2]) for line in tree.splitlines() if line.strip()}


def texts(folder):
    """Yields the licence texts beside a crate's manifest, and those of the C code in a folder below it."""
    files = [file for pattern in ("*", "*/*") for file in sorted(folder.glob(pattern))]
    for file in files:
        if file.is_file() and file.name.upper().startswith(NAMES):
            yield "\n".join(line.rstrip() for line in file.read_text(errors="replace").strip().splitlines())


def main():
    output, options = pathlib.Path(sys.argv[1]), sys.argv[2:]
    wanted = linked(options)
    packages = json.loads(cargo("metadata", "--locked", "--format-version", "1"))["packages"]
    chosen = [package for package in packages if (package["name"], "v" + package["version"]) in wanted]
    if len(chosen) != len(wanted):
        sys.exit("copyright.py: cargo tree and cargo metadata do not name the same crates")
    lines = ["xks-proxy is linked statically from these crates. The texts of their licences follow.", ""]
    by_text = {}
    for package in sorted(chosen, key=lambda package: package["name"]):
        name, version, folder = package["name"], package["version"], pathlib.Path(package["manifest_path"]).parent
        licence = package["license"] or sys.exit(f"copyright.py: {name} {version} names no licence")
        lines.append(f"{name} {version}: {licence}; {', '.join(package['authors']) or 'its authors'}")
        # The workspace's own crates have the licence of the workspace.
        for text in texts(pathlib.Path() if package["source"] is None else folder):
            by_text.setdefault(text, []).append(name)
    for text, names in by_text.items():
        lines += ["", "-" * 80, f"{', '.join(dict.fromkeys(names))}:", "", text]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join(lines) + "\n")


main()
