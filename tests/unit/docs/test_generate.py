import importlib.util
from pathlib import Path

import msgspec
import pytest
from holdfast.config.describe import keys_of
from holdfast.config.schema import Settings

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Odd(msgspec.Struct, frozen=True):
    pipe: str = "a|b"


def test_every_key_has_a_row(generate):
    page = generate.document("# Title", {})
    missing = [
        generate.path_words(key.path)
        for key in keys_of(Settings)
        if not key.section and f"| `{generate.path_words(key.path)}` |" not in page
    ]
    assert missing == []


def test_a_plugins_section_is_on_the_page_and_cannot_break_its_table(generate):
    page = generate.document("# Title", {"io.a.v1.odd": Odd, "io.a.v1.none": None})
    assert "### `io.a.v1.odd`" in page
    assert "| `pipe` | a string | `a\\|b` |" in page
    assert "io.a.v1.none" not in page


def test_check_says_stale_until_the_page_is_written(generate, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate, "TARGET", tmp_path / "configuration.md")
    monkeypatch.setattr(generate, "DESIGN", tmp_path / "design.md")
    (tmp_path / "design.md").write_text(f"# Title\n{generate.FROM}{generate.TO}## End\n")
    monkeypatch.setattr("sys.argv", ["generate.py", "--check"])
    assert generate.main() == 1
    assert capsys.readouterr().err == "".join(
        f"docs/{page}.md is stale: run `make docs`\n" for page in ("configuration", "design")
    )
    monkeypatch.setattr("sys.argv", ["generate.py"])
    assert generate.main() == 0
    monkeypatch.setattr("sys.argv", ["generate.py", "--check"])
    assert generate.main() == 0


def test_the_layers_are_printed_as_the_contract_has_them_and_the_rest_of_the_page_stays(generate):
    page = f"# Title\n{generate.FROM}old\n{generate.TO}## End\n"
    contracts = """
        [[tool.importlinter.contracts]]
        name = "stairs"
        type = "layers"
        layers = ["cli", "(store) | rpc"]

        [[tool.importlinter.contracts]]
        name = "thinkers: do no I/O"
        type = "forbidden"
        source_modules = ["holdfast.filters", "holdfast.plan"]
        forbidden_modules = ["asyncio"]
    """
    made = generate.design(page, contracts)
    assert made.startswith("# Title\n")
    assert made.endswith(f"{generate.TO}## End\n")
    assert "**Stairs.**\n\n```\ncli\nstore | rpc\n```\n" in made
    assert "**thinkers: do no I/O.** `filters`, `plan` import none of `asyncio`.\n" in made
    assert generate.design(made, contracts) == made


def test_the_example_of_the_page_is_a_good_configuration(generate, tmp_path):
    from holdfast.config import load

    text = generate.INTRODUCTION.read_text()
    example = text.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "c.yaml").write_text(example)
    assert load(tmp_path / "c.yaml").settings.grpc.tcp_address == "0.0.0.0:7420"
