"""The page's HTML: what it says, and that no name in it is markup."""

import time
from html.parser import HTMLParser

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.plugins.web.content import ROWS, Facts, Node, age, explanation, overview, processes, text

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x1b[2J\u202e{{main}}"
HOSTILE_SHOWN = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
VOID = ("input", "br", "meta", "link")
AT = Timestamp(seconds=1_700_000_000)


class Outline(HTMLParser):
    """The elements of a fragment, its text, and whether each element ends where it should."""

    def __init__(self, fragment):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], [], []
        self.feed(fragment)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


def node(placements=(), rules=(), kills=(), **status):
    return Node(
        pb.StatusResponse(**status),
        pb.ListRulesResponse(rules=rules),
        pb.ListPlacementsResponse(placements=placements),
        pb.KillsResponse(kills=kills, page_bytes=4096),
    )


def hostile_node():
    pod = pb.Pod(uid=HOSTILE, namespace=HOSTILE, name=HOSTILE, container=HOSTILE)
    refusal = pb.Refusal(reason=HOSTILE, detail=HOSTILE)
    placed = pb.PlacementInfo(pid=7, comm=HOSTILE, rule=HOSTILE, state=HOSTILE, group=HOSTILE, refusals=[refusal])
    placed.pod.CopyFrom(pod)
    rule = pb.RuleInfo(name=HOSTILE, reason=HOSTILE, yaml=HOSTILE)
    standing = pb.Standing(pid=7, comm=HOSTILE)
    kill = pb.Kill(at=AT, pid=7, comm=HOSTILE, domain=HOSTILE, rule=HOSTILE, pod=HOSTILE, predicted=[standing])
    return node([placed], [rule], [kill], events=HOSTILE, pressure_pct={HOSTILE: 1.0})


def hostile_victims():
    pod = pb.Pod(namespace=HOSTILE, name=HOSTILE)
    candidate = pb.Candidate(pid=7, comm=HOSTILE, why=HOSTILE, rule=HOSTILE, pod=pod)
    able = pb.Candidate(pid=8, comm=HOSTILE, points=1)
    order = pb.Order(candidates=[able, candidate], kill_group=HOSTILE)
    return pb.VictimsResponse(rankings=[pb.Ranking(domain=HOSTILE, now=order, after_rules=order)], page_bytes=4096)


def hostile_explanation():
    process = pb.Process(pid=7, comm=HOSTILE, exe=HOSTILE, cmdline=[HOSTILE], cgroups={HOSTILE: HOSTILE})
    process.pod.name = HOSTILE
    change = pb.Change(field=pb.FIELD_CGROUP, before=HOSTILE, after=HOSTILE)
    decision = pb.Decision(rule=HOSTILE, changes=[change], refusals=[pb.Refusal(reason=HOSTILE, detail=HOSTILE)])
    considered = [pb.Considered(rule=HOSTILE, clause=HOSTILE, found=HOSTILE, wanted=HOSTILE)]
    return pb.ExplainResponse(process=process, decision=decision, considered=considered, notes=[HOSTILE])


FACTS = Facts(HOSTILE, False, (HOSTILE,), ((HOSTILE, HOSTILE),), HOSTILE, 1.0, HOSTILE, True, (HOSTILE,))


@pytest.mark.parametrize(
    "fragment",
    [
        pytest.param(lambda: overview(FACTS, hostile_node(), hostile_victims(), [HOSTILE]), id="overview"),
        pytest.param(lambda: processes(hostile_node(), "", HOSTILE, 1), id="processes"),
        pytest.param(lambda: processes(hostile_node(), HOSTILE, "", 1), id="processes of a rule"),
        pytest.param(lambda: explanation(hostile_explanation(), is_private=True), id="process"),
        pytest.param(lambda: explanation(hostile_explanation(), is_private=False), id="process, not private"),
    ],
)
def test_a_name_is_text_and_never_an_element_an_attribute_or_a_control(fragment):
    made = fragment()
    outline = Outline(made)
    assert not {"script", "img"} & set(outline.tags)
    assert not [name for name, _ in outline.attributes if name.startswith("on")]
    assert all(value.startswith("/process") for name, value in outline.attributes if name in ("href", "action"))
    assert not {"\x1b", "\u202e"} & set(made)
    assert "<script>alert(1)" in outline.text or ("value", HOSTILE_SHOWN) in outline.attributes


def test_a_text_is_cut_when_it_is_very_long():
    assert text("<" * 5000) == "&lt;" * 4096 + "…"
    assert text("<" * 4096) == "&lt;" * 4096
    began = time.thread_time()
    assert text("\u202e" * 2_000_000) == "\\u202e" * 4096 + "…"  # a command line may have 2 MiB
    assert time.thread_time() - began < 0.5  # 1.6 s if all of it is escaped first


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 days")],
)
def test_an_age_is_in_words(seconds, words):
    assert age(seconds) == words


def test_the_overview_has_state_victims_rules_kills_and_refusals():
    about = Facts("1.2.3", True, config_hash="abc", config_age_s=180)
    refused = pb.PlacementInfo(pid=7, refusals=[pb.Refusal(reason="capability", detail="add CAP_SYS_RESOURCE")])
    standings = [pb.Standing(pid=9, comm="other", points=512), pb.Standing(pid=8, comm="batch", points=256)]
    kill = pb.Kill(at=AT, pid=8, comm="batch", domain="/", rss_pages=256, predicted=standings)
    rule = pb.RuleInfo(name="db", reason="it is the database", processes={"held": 3})
    order = pb.Order(candidates=[pb.Candidate(pid=9, comm="chrome", points=256)])
    ranking = pb.Ranking(domain="/web", limit_pages=512, processes=1, now=order, after_rules=order)
    victims = pb.VictimsResponse(rankings=[ranking], page_bytes=4096)
    shown = Outline(overview(about, node([refused, refused], [rule], [kill], dry_run=True), victims, []))
    for words in ("serves", "1.2.3", "abc", "3 min", "dry run: nothing is written", "/web: 2.0 MiB, 1 processes"):
        assert words in shown.text
    for words in ("chrome (9)", "it is the database", "2023-11-14 22:13:20", "2 candidates", "add CAP_SYS_RESOURCE"):
        assert words in shown.text
    assert ("href", "/processes?rule=db") in shown.attributes
    assert ("href", "/process?pid=9") in shown.attributes
    assert [name for name in shown.tags if name == "caption"] == ["caption"] * 4


def test_what_is_not_there_is_said():
    shown = Outline(overview(Facts("1", False), None, None, ["placement does not run"])).text
    assert "does not serve" in shown
    assert "placement does not run" in shown
    assert "still reads the ranking" in shown


def many(number):
    rules = ["b", "a"]
    return node([pb.PlacementInfo(pid=pid, comm=f"p{pid}", rule=rules[pid % 2]) for pid in range(1, number + 1)])


def links(fragment):
    return [value for name, value in Outline(fragment).attributes if name == "href" and "page=" in value]


def test_processes_come_in_pages_by_rule_and_by_text():
    found = many(1000)
    first = Outline(processes(found, "", "", 1))
    assert f"processes 1 to {ROWS} of 1000" in first.text
    assert first.tags.count("tr") == ROWS + 1
    assert links(processes(found, "", "", 1)) == ["/processes?page=2&rule=&q="]
    assert links(processes(found, "a", "p", 2))[0] == "/processes?page=1&rule=a&q=p"
    assert "of 500" in Outline(processes(found, "a", "", 1)).text
    assert "processes 1 to 6 of 6" in Outline(processes(found, "a", "P99", 1)).text
    assert "processes 901 to 1000 of 1000" in Outline(processes(found, "", "", 99)).text
    assert "no process" in Outline(processes(found, "c", "", 1)).text
    assert links(processes(found, "c", "", 1)) == []


def test_command_lines_and_compared_values_are_only_on_a_private_page():
    answer = pb.ExplainResponse(
        process=pb.Process(pid=7, comm="pg", exe="/usr/bin/pg", cmdline=["pg", "--password=hunter2"]),
        considered=[pb.Considered(rule="r", clause="match.cmdline", found="pg --password=hunter2", wanted="x")],
        notes=["its command line is pg --password=hunter2"],
    )
    public, private = (Outline(explanation(answer, is_private=private)).text for private in (False, True))
    assert "hunter2" not in public
    assert "/usr/bin/pg" not in public
    assert "match.cmdline" in public
    assert "holdfast explain 7" in public
    assert private.count("hunter2") == 3
