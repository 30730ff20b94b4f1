import yaml
from click.testing import CliRunner
from holdfast.cli.rules import rules


def run(*words):
    return CliRunner().invoke(rules, words, catch_exceptions=False)


def test_built_in_rules_are_listed_and_printed_with_their_comments():
    assert "container-runtime, container-shim" in run("builtin").output
    assert run("builtin", "batch").output.startswith("# What may be done again dies first.")


def test_the_old_name_of_the_command_works_and_names_the_new_one():
    old = run("shipped", "batch")
    assert old.stdout == run("builtin", "batch").stdout
    assert old.stderr == "holdfast: warning: rules shipped: deprecated; the command is called rules builtin now\n"
    assert "shipped" not in run("--help").output


def test_ananicys_directory_is_read_as_one(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "00-types.types").write_text('{"type": "BG", "oom_score_adj": 500}\n')
    (tmp_path / "a" / "x.rules").write_text('{"name": "make", "type": "BG", "nice": 1}\n')
    printed = run("import", "ananicy", str(tmp_path)).output
    head = f"# From {tmp_path}: 1 rules, 1 things left behind.\n#   {tmp_path}/a/x.rules:1: make: nice 1: "
    assert printed.startswith(head)
    assert yaml.safe_load(printed)["rules"] == [{"name": "make", "match": {"comm": "make"}, "oom_score_adj": 500}]


def test_cgrules_are_read(tmp_path):
    (tmp_path / "cgrules.conf").write_text("peter cpu students/\n")
    printed = run("import", "cgrules", str(tmp_path / "cgrules.conf")).output
    assert yaml.safe_load(printed)["rules"][0]["cgroup"] == {"path": "/students", "controllers": ["cpu"]}
