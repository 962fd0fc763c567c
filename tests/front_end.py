"""A front end in the shape of a Vite project: npm installs what builds it, from a lock."""

import json
from pathlib import Path

BUNDLE = """#!/usr/bin/env node
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
const code = readFileSync("src/main.js");
const name = `assets/main-${createHash("sha256").update(code).digest("hex").slice(0, 8)}.js`;
mkdirSync("dist/assets", { recursive: true });
writeFileSync(`dist/${name}`, code);
writeFileSync("dist/index.html", `<script type="module" src="/static/${name}"></script>\\n`);
"""
PACKAGE = {
    "name": "front",
    "private": True,
    "scripts": {"build": "bundle"},
    "devDependencies": {"bundle": "file:tools/bundle"},
}
BUNDLER = {"name": "bundle", "version": "1.0.0", "type": "module", "bin": {"bundle": "cli.js"}}
LOCK = {
    "name": "front",
    "lockfileVersion": 3,
    "requires": True,
    "packages": {
        "": {"name": "front", "devDependencies": {"bundle": "file:tools/bundle"}},
        "node_modules/bundle": {"resolved": "tools/bundle", "link": True},
        "tools/bundle": {"version": "1.0.0", "dev": True, "bin": {"bundle": "cli.js"}},
    },
}
FILES = {
    "package.json": json.dumps(PACKAGE),
    "package-lock.json": json.dumps(LOCK),
    "tools/bundle/package.json": json.dumps(BUNDLER),
    "tools/bundle/cli.js": BUNDLE,
    "src/main.js": "console.log(1);\n",
}


def write(directory: Path) -> None:
    for name, content in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o755)
