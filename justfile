# The one command surface: CI and the README call only these recipes.
set shell := ["bash", "-euo", "pipefail", "-c"]

export UV_PROJECT_ENVIRONMENT := justfile_directory() / ".venv"
# A build whose target folder or Python path came from the caller's shell would not be this checkout's.
export VIRTUAL_ENV := justfile_directory() / ".venv"
bin := justfile_directory() / ".venv/bin"
# Clippy with all features builds PyO3, which asks this Python.
export PYO3_PYTHON := justfile_directory() / ".venv/bin/python"
proto_dir := "dataflows/contracts"

# list the recipes
default:
    @{{ just_executable() }} --list --unsorted

# install the locked Python packages into .venv and build the Rust module in place (again after every pull)
setup: _tools
    @echo "setup: Python packages (uv.lock) into .venv"
    @{{ bin }}/uv sync --locked --no-install-project --quiet
    @{{ just_executable() }} build

# build the Rust module dataflows._native in place (most of the speed of release at a third of its link time)
build:
    @echo "build: dataflows._native (the first build compiles every crate: 2 to 5 minutes)"
    @{{ bin }}/maturin develop --uv --profile develop

# set up, start NATS and QuestDB, replay the recorded sample through the flow, print what arrived
demo *ARGS: setup
    @{{ bin }}/vitals demo {{ ARGS }}

# start the local stack (NATS, QuestDB) and keep it until Ctrl-C
up: _module
    @{{ bin }}/vitals up

# run the flow against the local stack
flow: _module
    @{{ bin }}/vitals flow

# look at what is installed, running and configured
doctor: _module
    @{{ bin }}/vitals doctor

# format Python and Rust
fmt:
    {{ bin }}/ruff check --select I --fix --quiet
    {{ bin }}/ruff format
    cargo fmt

# check style, types, import rules and generated files
lint: lint-python lint-rust generated

# ruff, mypy --strict, import-linter
lint-python:
    {{ bin }}/ruff check
    {{ bin }}/ruff format --check
    {{ bin }}/mypy
    {{ bin }}/lint-imports

# cargo fmt and clippy (pedantic), warnings are errors
lint-rust:
    cargo fmt --check
    cargo clippy --quiet --locked --all-features --all-targets -- -D warnings

# check that the committed type stub says what the built module has
stubs: _module
    {{ bin }}/python -m mypy.stubtest dataflows._native

# check that committed generated files (wire contract, settings page) are current
generated: _module
    #!/usr/bin/env bash
    set -euo pipefail
    fresh=$(mktemp -d)
    trap 'rm -rf "$fresh"' EXIT
    {{ bin }}/python -m grpc_tools.protoc -I . --python_out="$fresh" --pyi_out="$fresh" {{ proto_dir }}/*.proto
    {{ bin }}/vitals settings --markdown > "$fresh/settings.md"
    ok=true
    for name in vitals_pb2.py vitals_pb2.pyi ingest_pb2.py ingest_pb2.pyi; do
        diff -u {{ proto_dir }}/$name "$fresh/{{ proto_dir }}/$name" || { ok=false; echo "{{ proto_dir }}/$name is not what the .proto gives: run 'just proto'"; }
    done
    diff -u docs/settings.md "$fresh/settings.md" || { ok=false; echo "docs/settings.md is not what the settings are: run 'just docs'"; }
    $ok && echo "generated files are current"

# generate the Python code of the wire contract
proto:
    {{ bin }}/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. {{ proto_dir }}/*.proto

# generate docs/settings.md
docs: _module
    {{ bin }}/vitals settings --markdown > docs/settings.md

# run every test, Rust and Python (arguments go to pytest: `just test -k replay`)
test *ARGS: test-rust
    {{ bin }}/python -m pytest -n 2 --dist loadscope --durations=15 {{ ARGS }}

# run the Rust tests (the property tests try the same cases each time)
test-rust:
    PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-1}" cargo test --quiet --locked --features puller

# try new examples in the property tests, so many times over in Python (CI tries the same ones each time), and CASES in Rust
fuzz TIMES="10" CASES="2000": _module
    #!/usr/bin/env bash
    set -euo pipefail
    PROPTEST_CASES={{ CASES }} cargo test --release --locked --features puller
    for round in $(seq {{ TIMES }}); do
        echo "fuzz: round $round of {{ TIMES }}"
        VITALS_FUZZ=1 {{ bin }}/python -m pytest -q -n 2 -m "hypothesis and not slow"
        VITALS_FUZZ=1 {{ bin }}/python -m pytest -q tests/connectors/gateway/test_raw.py
    done

# install Chromium for the browser tests, where apt and the rights are there
browser:
    #!/usr/bin/env bash
    set -euo pipefail
    if command -v chromium chromium-browser google-chrome > /dev/null; then exit 0; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
        echo "browser: Chromium by apt"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core > /dev/null
    else
        echo "browser: no Chromium here: install one, or name it in VITALS_CHROMIUM, to run the browser tests"
    fi

# install RabbitMQ for the test of its bridge, where apt and the rights are there (Kafka comes by Maven)
brokers:
    #!/usr/bin/env bash
    set -euo pipefail
    if ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin > /dev/null 2>&1; then exit 0; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
        echo "brokers: RabbitMQ by apt"
        # The package would start a server; the test starts its own.
        policy=/usr/sbin/policy-rc.d
        [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; trap 'rm -f '$policy EXIT; }
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rabbitmq-server > /dev/null; } ||
            echo "brokers: no RabbitMQ: its test is skipped"
    else
        echo "brokers: no RabbitMQ here: install rabbitmq-server to run the test of its bridge"
    fi

# set up and pass everything: what CI runs
ci: setup browser brokers
    @{{ just_executable() }} _say "style, types, imports, generated files" lint
    @{{ just_executable() }} _say "type stub against the built module" stubs
    @{{ just_executable() }} _say "tests" test
    @echo; echo "everything passed"

# look for known vulnerabilities in what uv.lock and Cargo.lock name (needs the advisory databases of PyPI and RustSec)
audit:
    #!/usr/bin/env bash
    set -uo pipefail
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    {{ bin }}/uv export --quiet --locked --no-dev --all-extras --no-emit-project --format requirements-txt > "$folder/requirements.txt" || exit 1
    echo "audit: $(grep -c '^[A-Za-z0-9]' "$folder/requirements.txt") Python packages of uv.lock (without the tools for developing)"
    failed=0
    if ! {{ bin }}/uvx --quiet pip-audit --strict --disable-pip --require-hashes -r "$folder/requirements.txt"; then
        failed=1
        echo "audit: uv.lock did not pass: a vulnerability is listed above, or the advisories of PyPI could not be had. \"Dependency not found\" of a"
        echo "       package that is on PyPI, and errors of the connection, mean that a mirror without advisories was asked: then nothing was looked at"
    fi
    if command -v cargo-deny > /dev/null; then
        cargo deny --locked check advisories sources || failed=1
    elif command -v cargo-audit > /dev/null; then
        cargo audit || failed=1
    else
        echo "audit: neither cargo-deny nor cargo-audit is here (cargo install cargo-deny): Cargo.lock was not looked at"; failed=1
    fi
    exit $failed

# write the bill of materials of both lock files (CycloneDX 1.5 JSON) into a folder
sbom FOLDER="sbom":
    #!/usr/bin/env bash
    set -euo pipefail
    mkdir -p "{{ FOLDER }}"
    # Cargo has no such command of its own: its metadata in the words of CycloneDX.
    RUST_SBOM='
    import json, sys
    found = json.load(sys.stdin)
    refs = {one["id"]: "pkg:cargo/{name}@{version}".format(**one) for one in found["packages"]}
    components = [
        {"type": "library", "bom-ref": refs[one["id"]], "name": one["name"], "version": one["version"], "purl": refs[one["id"]]}
        | ({"licenses": [{"expression": one["license"].replace("/", " OR ")}]} if one["license"] else {})
        for one in sorted(found["packages"], key=lambda one: one["id"])
    ]
    needs = [{"ref": refs[one["id"]], "dependsOn": [refs[dep] for dep in one["dependencies"]]} for one in found["resolve"]["nodes"]]
    print(json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components, "dependencies": needs}, indent=1))
    '
    {{ bin }}/uv export --quiet --locked --no-dev --all-extras --no-emit-project --format cyclonedx1.5 > "{{ FOLDER }}/python.cdx.json"
    cargo metadata --locked --format-version 1 --all-features | {{ bin }}/python -c "$RUST_SBOM" > "{{ FOLDER }}/rust.cdx.json"
    echo "sbom: {{ FOLDER }}/python.cdx.json and rust.cdx.json"

# remove what was built and the local stack's data
clean:
    rm -rf target .vitals dataflows/_native*.so

[private]
_say what recipe:
    @echo; echo "=== {{ what }} (just {{ recipe }})"
    @{{ just_executable() }} {{ recipe }}

# Makes .venv if just came from elsewhere, and says in words what is missing before anything long starts.
[private]
_tools:
    #!/usr/bin/env bash
    set -euo pipefail
    [ -x {{ bin }}/python ] || python3 -m venv .venv
    {{ bin }}/python - <<'PYTHON'
    import shutil, subprocess, sys
    problems = []
    version = sys.version_info[:2]
    if not (3, 11) <= version < (3, 13):
        problems.append(
            f"Python {version[0]}.{version[1]} is in .venv, but Bytewax 0.21 has packages for 3.11 and 3.12 only: "
            "remove .venv and begin with `python3.12 -m venv .venv` (or python3.11)"
        )
    if shutil.which("cargo") is None:
        problems.append("cargo is missing: install Rust 1.88 or newer from https://rustup.rs")
    else:
        rust = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.split()
        if len(rust) > 1 and tuple(map(int, rust[1].split("-")[0].split(".")[:2])) < (1, 88):
            problems.append(f"Rust {rust[1]} is too old, 1.88 or newer is needed: `rustup update stable`")
    if shutil.which("mvn") is None and shutil.which("java") is None:
        problems.append("Maven is missing: it fetches QuestDB and brings Java 17 (`apt install maven`, `brew install maven`)")
    if problems:
        sys.exit("\n".join(f"setup: {problem}" for problem in problems))
    PYTHON
    [ -x {{ bin }}/uv ] || { echo "setup: uv into .venv"; {{ bin }}/python -m pip install --quiet --disable-pip-version-check uv; }

[private]
_module:
    @ls dataflows/_native*.so >/dev/null 2>&1 || { echo "the Rust module is not built yet: run 'just setup'"; exit 1; }
