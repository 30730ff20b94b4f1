"""Pages, filters and masks of the lists of the placement API."""

import asyncio

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.errors import Aborted, HoldfastError, InvalidArgument
from holdfast.node.model.memory_domain import Kill
from holdfast.node.model.placement import Placement, State
from holdfast.plugins.node.placement.list_maker import ListMaker
from holdfast.plugins.node.placement.report_log import ReportLog
from holdfast.plugins.node.placement.selection import LARGEST_PAGE, selection_of
from holdfast.plugins.node.placement.service import PlacementService
from holdfast.pods.cgroup_path import PodRef
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.engine import RULES, InForce, StandIn
from tests.fakes.placement import rules

POD = PodRef("u", "burstable", "c", namespace="db", name="pg-0")
PLACED = (
    Placement(70, 1, "nginx", "r2", state=State.PLANNED, oom_score_adj=10),
    Placement(60, 1, "nginx", "r2", state=State.PLANNED, oom_score_adj=11, as_child=True),
    Placement(50, 1, "postgres", "r1", oom_score_adj=-900, adj_before=0, pod=POD),
    Placement(80, 1, "psql", "r1", state=State.REFUSED),
)


def service_of(engine, in_force=None):
    return PlacementService(engine, in_force or InForce(*RULES), ReportLog())


@pytest.fixture
def engine():
    return StandIn(placed=PLACED)


@pytest.fixture
def service(engine):
    return service_of(engine)


async def pages(method, request):
    """Every page of a list."""
    answers = [await method(request, None)]
    while answers[-1].next_page_token:
        request.page_token = answers[-1].next_page_token
        answers.append(await method(request, None))
    return answers


async def placements(service, *filters, **more):
    request = pb.ListPlacementsRequest(filters=filters, **more)
    return [one.pid for one in (await service.ListPlacements(request, None)).placements]


async def test_without_the_new_fields_the_list_is_whole_and_by_rule_and_pid(service):
    answer = await service.ListPlacements(pb.ListPlacementsRequest(), None)
    assert [(one.rule, one.pid) for one in answer.placements] == [("r1", 50), ("r1", 80), ("r2", 60), ("r2", 70)]
    assert not answer.next_page_token


@pytest.mark.parametrize(
    ("filters", "pids"),
    [
        (["state==planned"], [60, 70]),
        (["state==planned,as_child==true"], [60]),
        (["as_child==true"], [60]),
        (["state==refused", "pid==50"], [50, 80]),
        (["pod.namespace==db"], [50]),
        (["pod.uid"], [50]),
        (["group"], []),
        (["comm~=/^p/"], [50, 80]),
        (["oom_score_adj==-900,adj_before==0"], [50]),
        (["adj_before"], [50]),
        (["pod.namespace!=db"], [80, 60, 70]),
        (["state_enum==STATE_PLANNED"], [60, 70]),
        ([""], [50, 80, 60, 70]),
    ],
)
async def test_filters_are_over_the_fields_of_an_item(service, filters, pids):
    assert await placements(service, *filters) == pids


async def test_rules_with_processes_in_a_state(service):
    answer = await service.ListRules(pb.ListRulesRequest(filters=["processes.planned"]), None)
    assert [one.name for one in answer.rules] == ["r2"]


async def test_a_mask_leaves_the_other_fields_out(service):
    mask = FieldMask(paths=["pid", "adj_before", "pod.name"])
    answer = await service.ListPlacements(pb.ListPlacementsRequest(read_mask=mask, rule="r1"), None)
    assert list(answer.placements) == [
        pb.PlacementInfo(pid=50, adj_before=0, pod=pb.Pod(name="pg-0")),
        pb.PlacementInfo(pid=80),
    ]
    whole = await service.ListPlacements(pb.ListPlacementsRequest(read_mask=FieldMask(paths=["*"])), None)
    assert whole == await service.ListPlacements(pb.ListPlacementsRequest(), None)


async def test_a_preview_has_pages_filters_and_a_mask(service):
    request = pb.PreviewRequest(page_size=1, read_mask=FieldMask(paths=["process.pid"]))
    first, second = await pages(service.Preview, request)
    assert (list(first.planned), first.looked_at) == ([pb.Planned(process=pb.Process(pid=50))], 3)
    assert [one.process.pid for one in second.planned] == [60]
    (only,) = (await service.Preview(pb.PreviewRequest(filters=["decision.dry_run==true"]), None)).planned
    assert only.process.pid == 60


async def test_a_try_has_pages_filters_and_a_mask(service):
    sent = "".join(
        f"- {{name: {name}, match: {{comm: {comm}}}, oom_score_adj: 5}}\n"
        for name, comm in (("db", "postgres"), ("web", "nginx"))
    )
    request = pb.TryRequest(rules_yaml=sent, page_size=1, read_mask=FieldMask(paths=["process.pid"]))
    first, second = await pages(service.Try, request)
    assert (list(first.planned), first.looked_at) == ([pb.Planned(process=pb.Process(pid=50))], 3)
    assert [one.process.pid for one in second.planned] == [60]
    tried = await service.Try(pb.TryRequest(rules_yaml=sent, filters=["decision.rule==web"]), None)
    assert [one.process.pid for one in tried.planned] == [60]
    token = first.next_page_token
    with pytest.raises(InvalidArgument, match="it belongs to a request with other fields"):
        await service.Try(pb.TryRequest(rules_yaml="[]", page_size=1, page_token=token), None)


class TestVictims:
    async def test_pages_are_by_domain_and_each_has_the_units(self, service):
        answers = await pages(service.Victims, pb.VictimsRequest(page_size=2))
        assert [[one.domain for one in answer.rankings] for answer in answers] == [["/", "/system.slice"], ["/web"]]
        assert {answer.page_bytes for answer in answers} == {4096}
        whole = await service.Victims(pb.VictimsRequest(), None)
        assert [one.domain for one in whole.rankings] == ["/", "/web", "/system.slice"], "the fullest first"
        assert {one.domain: one for answer in answers for one in answer.rankings} == {
            one.domain: one for one in whole.rankings
        }

    async def test_filters_and_a_mask_are_over_a_ranking(self, service):
        request = pb.VictimsRequest(filters=["limit_pages==1000"], read_mask=FieldMask(paths=["domain", "processes"]))
        answer = await service.Victims(request, None)
        assert list(answer.rankings) == [pb.Ranking(domain="/web", processes=answer.rankings[0].processes)]
        with pytest.raises(InvalidArgument, match=r'Ranking has no text or number "now\.candidates"'):
            await service.Victims(pb.VictimsRequest(filters=["now.candidates"]), None)

    async def test_a_page_may_name_more_candidates_of_each_domain(self, engine, monkeypatch):
        monkeypatch.setattr("holdfast.plugins.node.placement.service.CANDIDATES", 1)
        monkeypatch.setattr("holdfast.plugins.node.placement.service.MOST_CANDIDATES", 2)
        for size, expected in ((0, 1), (1, 2)):
            answer = await service_of(engine).Victims(pb.VictimsRequest(limit=9, page_size=size), None)
            assert len(answer.rankings[0].now.candidates) == expected


class TestKills:
    @pytest.fixture
    def engine(self):
        engine = StandIn()
        times = (7, 7, 7, 5, 3)  # a group that is killed whole has one time
        kept = tuple(Kill(at, pid, "x", 0, "/", "/", 5, 0) for pid, at in enumerate(times, 1))
        engine.latest = lambda limit=1000: kept[:limit]
        return engine

    async def test_each_kill_is_on_one_page(self, engine):
        answers = await pages(service_of(engine).Kills, pb.KillsRequest(page_size=2))
        assert [[one.pid for one in answer.kills] for answer in answers] == [[1, 2], [3, 4], [5]]
        assert {answer.page_bytes for answer in answers} == {4096}

    async def test_a_limit_is_of_those_that_match(self, engine):
        answer = await service_of(engine).Kills(pb.KillsRequest(filters=["pid==4", "pid==5"], limit=1), None)
        assert [one.pid for one in answer.kills] == [4]
        with pytest.raises(InvalidArgument, match="limit: it is for an answer without pages"):
            await service_of(engine).Kills(pb.KillsRequest(page_size=1, limit=1), None)


class TestPages:
    async def test_pages_are_by_pid_and_the_last_has_no_token(self, service):
        answers = await pages(service.ListPlacements, pb.ListPlacementsRequest(page_size=2))
        assert [[one.pid for one in answer.placements] for answer in answers] == [[50, 60], [70, 80]]

    async def test_a_page_is_full_of_what_the_filters_let_through(self, service):
        request = pb.ListPlacementsRequest(page_size=2, filters=["rule==r1"])
        (answer,) = await pages(service.ListPlacements, request)
        assert [one.pid for one in answer.placements] == [50, 80]

    async def test_the_size_may_change_between_pages_and_nothing_else(self, service):
        first = await service.ListPlacements(pb.ListPlacementsRequest(page_size=1), None)
        token = first.next_page_token
        rest = await service.ListPlacements(pb.ListPlacementsRequest(page_size=9, page_token=token), None)
        assert [one.pid for one in rest.placements] == [60, 70, 80]
        for other in ({"filters": ["pid"]}, {"rule": "r1"}, {"read_mask": FieldMask(paths=["pid"])}):
            with pytest.raises(InvalidArgument, match="it belongs to a request with other fields") as caught:
                await service.ListPlacements(pb.ListPlacementsRequest(page_size=1, page_token=token, **other), None)
            assert caught.value.field == "page_token"
        with pytest.raises(InvalidArgument, match="it belongs to a request with other fields"):
            await service.ListRules(pb.ListRulesRequest(page_size=1, page_token=token), None)

    async def test_rules_in_pages_keep_their_order_and_are_listed_again_when_others_are_in_force(self, engine):
        in_force = InForce(*RULES, {"match": {"comm": "x"}, "oom_score_adj": 1})
        service = service_of(engine, in_force)
        request = pb.ListRulesRequest(page_size=2)
        first, second = await pages(service.ListRules, request)
        assert [[one.name for one in answer.rules] for answer in (first, second)] == [["r1", "r2"], ["r3"]]
        in_force.rules = rules(*RULES)
        with pytest.raises(Aborted, match="other rules are in force: list again") as caught:
            await service.ListRules(request, None)
        assert caught.value.reason == "PAGE_TOKEN_EXPIRED"

    @given(
        st.lists(st.sets(st.integers(1, 30)), min_size=1, max_size=12),
        st.lists(st.integers(1, 5), min_size=1, max_size=4),
    )
    def test_a_process_that_stays_is_on_exactly_one_page(self, alive, sizes):
        """Processes come and go between two pages, and rules match others than before."""

        async def run():
            engine = StandIn()
            service, seen, token = service_of(engine), [], ""
            for turn in range(100):
                now = alive[min(turn, len(alive) - 1)]
                engine.placed = tuple(Placement(pid, 1, "x", ("r1", "r2")[(pid + turn) % 2]) for pid in sorted(now))
                request = pb.ListPlacementsRequest(page_size=sizes[turn % len(sizes)], page_token=token)
                answer = await service.ListPlacements(request, None)
                assert len(answer.placements) <= request.page_size
                seen += [one.pid for one in answer.placements]
                token = answer.next_page_token
                if not token:
                    break
            assert not token
            return seen, set.intersection(*alive[: turn + 1])

        seen, stayed = asyncio.run(run())
        assert len(seen) == len(set(seen))
        assert stayed <= set(seen)


class TestBounds:
    @pytest.mark.parametrize(
        ("fields", "field", "words"),
        [
            ({"page_size": -1}, "page_size", "-1 is below 0"),
            ({"page_token": "x"}, "page_token", "page_size is missing"),
            ({"page_size": 1, "page_token": "x"}, "page_token", "this is no token of this list"),
            ({"page_size": 1, "page_token": "é"}, "page_token", "this is no token of this list"),
            ({"page_size": 1, "page_token": "WzEsMl0="}, "page_token", "this is no token of this list"),
            ({"filters": ["stat==held"]}, "filters", 'PlacementInfo has no text or number "stat"'),
            ({"filters": ["pod.names==held"]}, "filters", 'PlacementInfo has no text or number "pod.names"'),
            ({"filters": ["refusals.reason==frozen"]}, "filters", 'has no text or number "refusals.reason"'),
            ({"filters": ["pid.x"]}, "filters", 'PlacementInfo has no text or number "pid.x"'),
            ({"filters": ["refusals"]}, "filters", 'PlacementInfo has no text or number "refusals"'),
            ({"filters": ["pod==x"]}, "filters", 'PlacementInfo has no text or number "pod"'),
            ({"filters": ["=="]}, "filters", "parse error"),
            ({"filters": ["comm~=/(/"]}, "filters", "error parsing regexp"),
            ({"filters": [",".join(["pid"] * 33)]}, "filters", "33 comparisons are more than 32"),
            ({"filters": ["pid"] * 33}, "filters", "33 comparisons are more than 32"),
            ({"filters": ["pid==" + "1" * 4096]}, "filters", "4101 characters are more than 4096"),
            ({"read_mask": FieldMask(paths=["nothing"])}, "read_mask", 'PlacementInfo has no field "nothing"'),
            ({"read_mask": FieldMask(paths=["refusals.reason"])}, "read_mask", 'no field "refusals.reason"'),
            ({"read_mask": FieldMask(paths=["pid"] * 65)}, "read_mask", "65 paths are more than 64"),
        ],
    )
    async def test_a_field_beyond_its_bound_is_named(self, service, fields, field, words):
        with pytest.raises(HoldfastError) as caught:
            await service.ListPlacements(pb.ListPlacementsRequest(**fields), None)
        assert words in str(caught.value)
        assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", field)

    async def test_a_page_has_a_largest_size(self):
        engine = StandIn(placed=tuple(Placement(pid, 1, "x", "r1") for pid in range(1, LARGEST_PAGE + 3)))
        request = pb.ListPlacementsRequest(page_size=2**31 - 1)
        answers = await pages(service_of(engine).ListPlacements, request)
        assert [len(answer.placements) for answer in answers] == [LARGEST_PAGE, 2]

    async def test_a_long_list_does_not_keep_the_loop(self):
        """Other callers are served while it is made."""
        turns = 0

        async def others():
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        selection = selection_of(pb.ListPlacementsRequest(filters=["pid~=1"]), pb.PlacementInfo)
        serving, lists = asyncio.ensure_future(others()), ListMaker()
        makings = [
            lists.make(selection, range(5000), lambda pid: (pid,), lambda pid: pb.PlacementInfo(pid=pid))
            for _ in range(3)
        ]
        answers = await asyncio.gather(*makings)
        serving.cancel()
        assert [len(items) for items, _ in answers] == [sum("1" in str(pid) for pid in range(5000))] * 3
        assert turns >= 3 * 200, "one slice of one list in each turn"

    async def test_a_short_list_does_not_wait_for_the_long_ones(self):
        selection, lists = selection_of(pb.ListPlacementsRequest(), pb.PlacementInfo), ListMaker()

        def make(number):
            return lists.make(selection, range(number), lambda pid: (pid,), lambda pid: pb.PlacementInfo(pid=pid))

        long = asyncio.ensure_future(asyncio.gather(make(5000), make(5000)))
        await asyncio.sleep(0)
        assert len((await make(20))[0]) == 20
        assert not long.done()
        await long

    @given(st.text(max_size=60))
    def test_any_token_is_refused_as_a_field(self, text):
        request = pb.ListRulesRequest(page_size=1, page_token=text)
        if text:
            with pytest.raises(InvalidArgument) as caught:
                selection_of(request, pb.RuleInfo)
            assert caught.value.field == "page_token"
