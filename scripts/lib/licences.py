"""Prints the licences of the crates in a list of crates (CycloneDX), with the texts that each crate brings.

usage: licences.py LIST < `cargo metadata`
"""

import json
import sys
from pathlib import Path

TEXTS = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE")


def main() -> None:
    listed = {(part["name"], part["version"]) for part in json.loads(Path(sys.argv[1]).read_text())["components"]}
    packages = {(package["name"], package["version"]): package for package in json.load(sys.stdin)["packages"]}
    print("The crates in agentbus, their licences, and the texts that they bring.")
    for crate in sorted(listed):
        package = packages[crate]
        if package["source"] is None:
            continue
        print(f"\n{'=' * 80}\n{' '.join(crate)}: {package['license'] or package['license_file']}\n")
        folder = Path(package["manifest_path"]).parent
        for text in sorted(folder.iterdir()):
            if text.is_file() and text.name.upper().startswith(TEXTS):
                print(f"--- {text.name}\n{text.read_text(errors='replace')}")


main()
