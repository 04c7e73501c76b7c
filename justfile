# The one command surface. CI calls only these recipes.
export UV_PROJECT_ENVIRONMENT := justfile_directory() / ".venv"
bin := justfile_directory() / ".venv/bin"

# list the recipes
default:
    @just --list --unsorted

# install what is missing and build the Rust module in place
setup:
    {{bin}}/uv sync --no-install-project --quiet
    {{bin}}/maturin develop --uv --profile develop --skip-install 2>&1 || just build
    
# build the Rust module in place
build:
    {{bin}}/maturin develop --uv --profile develop
