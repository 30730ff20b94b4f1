from __future__ import annotations

import pytest
from holdfast.errors import InvalidArgument
from holdfast.node.importers.cgrules import from_cgrules
from holdfast.node.rule.compile import compile_rules

from tests.fakes.placement import process

USERS = {"root": 0, "daemon": 1, "peter": 1000, "mary": 1001}


class Accounts:
    def uid_of(self, user):
        return USERS.get(user)

    def members_of(self, group):
        return {"admin": ["peter", "mary"], "ops": ["root"], "numbers": ["1000"]}.get(group)


def read(text):
    return from_cgrules({"c": text}, Accounts())


def where(text, **given):
    """The group the imported rules put a process in; None: nowhere, "": left alone by a rule."""
    found = read(text)
    match = compile_rules(found.checked(), USERS.get).own_match(process(**given))
    if match is None:
        return None
    rule = next(rule for rule in found.rules if rule["name"] == match.name)
    return rule["cgroup"]["path"] if "cgroup" in rule else ""


CGRULES = """\
# <user>  <controllers>  <destination>
peter        cpu            test1/
%            memory         test1
%            pids           test2/
student:cp   devices        usergroup/students/cp   # copying
*:/usr/bin/firefox-long-name * browsers
*:a-program-with-a-long-name memory long
@admin       *              admingroup/
%            cpu            default/%u
*            *              default
"""


def test_its_rules_become_ours_and_the_rest_is_listed():
    imported = read(CGRULES)
    assert imported.rules == [
        {"name": "peter", "match": {"user": "peter"}, "cgroup": {"path": "/test1", "controllers": ["cpu", "memory"]}},
        {
            "name": "student-cp",
            "match": {"user": "student", "comm": "cp"},
            "cgroup": {"path": "/usergroup/students/cp", "controllers": ["devices"]},
        },
        {"name": "firefox-long-name", "match": {"exe": "/usr/bin/firefox-long-name"}, "cgroup": {"path": "/browsers"}},
        {
            "name": "a-program-with-a-long-name",
            "match": {"exe": "**/a-program-with-a-long-name"},
            "cgroup": {"path": "/long", "controllers": ["memory"]},
        },
        {"name": "admin", "match": {"user": ["peter", "mary"]}, "cgroup": {"path": "/admingroup"}},
        {"name": "rule", "match": {"comm": "*"}, "cgroup": {"path": "/default"}},
    ]
    assert [lost.where for lost in imported.lost] == ["c:4", "c:8", "c:9"]


def test_names_in_quotes_keep_their_blanks():
    imported = read('"*:Isolated Web Co"   cpu      "browser tabs"\n@admin:"Plex Media Serv" memory media\n')
    assert [(rule["match"].get("comm"), rule["cgroup"]["path"]) for rule in imported.rules] == [
        ("Isolated Web Co", "/browser tabs"),
        ("Plex Media Serv", "/media"),
    ]


def test_a_user_who_is_ignored_is_left_out_of_the_rules_below():
    ignored = "root * * ignore\ndaemon * * ignore\npeter * * ignore\n"
    text = f"peter cpu a\n{ignored}peter:vi cpu b\n@ops cpu c\n@admin cpu d\n* cpu e"
    found = {user: where(text, comm="vi", uid=uid) for user, uid in {**USERS, "other": 1500}.items()}
    assert found == {"root": None, "daemon": None, "peter": "/a", "mary": "/d", "other": "/e"}


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("*:sshd * * ignore", {"comm": "sshd", "uid": 7}),
        ("peter:/bin/x* * * ignore", {"exe": "/bin/xyz", "uid": 1000}),
        ("@admin * * ignore,ignore_rt", {"uid": 1001}),
        ("unknown * * ignore\n* * kept/ ignore", {"cgroups": {"": "/kept/below"}}),
        ("* * kep ignore", {"cgroups": {"": "/kept"}}),
        ("* cpu /", {}),  # the root, which no rule of ours moves to
        ("* cpu users/%u", {}),
        ("* cpu ../x", {}),
    ],
)
def test_what_is_left_alone_does_not_fall_under_the_rules_below(line, given):
    assert where(f"{line}\n* cpu all", **given) == ""
    if not line.startswith("* cpu"):
        assert where(f"{line}\n* cpu all", comm="other", exe="/bin/other", uid=9, cgroups={"": "/other"}) == "/all"


def test_a_rule_that_does_nothing_at_the_end_is_dropped():
    assert read("peter cpu a\n*:sshd * * ignore\n* cpu /\n").rules == read("peter cpu a").rules


@pytest.mark.parametrize(
    ("who", "fits", "differs"),
    [
        ("*:/opt/app*", {"exe": "/opt/app1/bin/x"}, {"exe": "/opt/ap"}),
        ("*:/opt/a?b", {"exe": "/opt/a?b"}, {"exe": "/opt/axb"}),
        ("*:a?b", {"comm": "a?b"}, {"comm": "axb"}),
        ("*:re:x", {"comm": "re:x"}, {"comm": "x"}),
        ("*:*", {"comm": "anything"}, None),
        ("peter:", {"uid": 1000}, {"uid": 1001}),
    ],
)
def test_a_program_is_compared_as_cgrulesengd_compares_it(who, fits, differs):
    assert where(f"{who} cpu g", **fits) == "/g"
    assert differs is None or where(f"{who} cpu g", **differs) is None


@pytest.mark.parametrize(
    "who", ["*:fire*", "1000", "1-5", "@nobodys", '""', ":x", "@numbers", "*:bin/a-name-of-many-letters"]
)
def test_a_line_that_fits_nobody_there_fits_nobody_here_and_is_told(who):
    imported = read(f"{who} cpu g\n% memory g")
    assert (imported.rules, len(imported.lost)) == ([], 1)


def test_ignore_rt_alone_moves_nobody_and_is_told():
    imported = read("*:x cpu g ignore_rt\n* cpu all")
    assert [rule["cgroup"]["path"] for rule in imported.rules] == ["/all"]
    assert [lost.where for lost in imported.lost] == ["c:1"]


def test_a_backslash_takes_the_next_character_as_it_is():
    assert where(r"* cpu a\%u", comm="x") == "/a%u"


def test_a_ditto_line_goes_with_the_rule_above_it_or_is_told():
    assert [lost.where for lost in read("% cpu x\n* cpu y").lost] == ["c:1"]
    assert read("* cpu y\n%:z memory,pids y/").rules[0]["cgroup"]["controllers"] == ["cpu", "memory", "pids"]


@pytest.mark.parametrize("text", ["# x\nuser cpu", '\n"a b cpu d', "\n* cpu d nice", '\n* cpu "d'])
def test_a_line_that_cgrulesengd_refuses_is_refused_with_its_place(text):
    with pytest.raises(InvalidArgument, match=r"^c:2: "):
        read(text)


def test_windows_line_ends_and_a_byte_order_mark_are_no_part_of_a_name():
    assert read("\ufeffpeter cpu a\r\n\r\n").rules == read("peter cpu a").rules
