"""The gRPC plumbing on a loopback server: who may call, what bounds it, how it says no."""

import asyncio
import gc
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.services.runtime.grpc_example import (
    ACCESS,
    COUNT,
    ECHO,
    ERRORS,
    HIDDEN,
    SECRET,
    Example,
    serving,
)
from xstock_runtime.errors import Ambiguous, Fatal, InvalidMessage, ServiceError, Transient
from xstock_runtime.grpc_client import ChannelSettings, open_channel
from xstock_runtime.grpc_errors import CallRefused, ErrorTable, remote_error
from xstock_runtime.grpc_server import Access, GrpcServer, GrpcServerSettings


def channel(server: GrpcServer, identity: str | None = None, **extra: Any) -> Any:
    return open_channel(ChannelSettings(f"127.0.0.1:{server.port}", dev_identity=identity, **extra))


def bare_channel(server: GrpcServer, **options: Any) -> Any:
    """Another people's client: none of our defaults."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=list(options.items()))


async def failure(call: Any) -> tuple[grpc.StatusCode, ServiceError]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), remote_error(caught.value)


async def test_call__open_to_anyone__is_answered() -> None:
    async with serving(Example()) as server, channel(server) as open_:
        assert await open_.unary_unary(ECHO)(b"hello") == b"hello"


@pytest.mark.parametrize(
    ("identity", "method", "status"),
    [
        (None, SECRET, grpc.StatusCode.UNAUTHENTICATED),
        ("visitor", SECRET, grpc.StatusCode.PERMISSION_DENIED),
        ("stranger", SECRET, grpc.StatusCode.PERMISSION_DENIED),
        ("relayer", HIDDEN, grpc.StatusCode.PERMISSION_DENIED),
    ],
)
async def test_call__without_the_role_or_unlisted__never_reaches_the_method(
    identity: str | None, method: str, status: grpc.StatusCode
) -> None:
    example = Example()
    async with serving(example) as server, channel(server, identity) as open_:
        code, error = await failure(open_.unary_unary(method)(b""))
    assert code is status
    assert error.metadata["method"] == method
    assert example.calls == 0


async def test_call__with_the_role__is_answered_and_knows_its_caller() -> None:
    async with serving(Example()) as server, channel(server, "relayer") as open_:
        assert await open_.unary_unary(SECRET)(b"") == b"relayer"


async def test_call__access_check_removed__lets_the_stranger_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Defence removed: without the check the same stranger gets through."""
    monkeypatch.setattr(Access, "check", lambda self, identity, method: None)
    async with serving(Example()) as server, channel(server, "stranger") as open_:
        assert await open_.unary_unary(SECRET)(b"") == b"stranger"


async def test_call__no_deadline_or_too_far__is_told_what_to_set() -> None:
    async with serving(Example()) as server, bare_channel(server) as open_:
        code, error = await failure(open_.unary_unary(ECHO)(b""))
        assert (code, error.code) == (grpc.StatusCode.INVALID_ARGUMENT, "DEADLINE_MISSING")
        code, error = await failure(open_.unary_unary(ECHO)(b"", timeout=3600))
        assert (code, error.code) == (grpc.StatusCode.INVALID_ARGUMENT, "DEADLINE_TOO_LONG")
        assert error.metadata["limit_seconds"] == "60.0"


async def test_refusal__with_details__arrives_whole() -> None:
    def refuse(_request: bytes) -> bytes:
        raise CallRefused(
            "AMOUNT_HAS_DUST", "dust", {"nearest": 5}, violations=[("amount", "not a multiple")]
        )

    async with serving(Example(refuse)) as server, channel(server) as open_:
        code, error = await failure(open_.unary_unary(ECHO)(b""))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert isinstance(error, CallRefused)
    assert (error.code, error.message, error.metadata) == (
        "AMOUNT_HAS_DUST",
        "dust",
        {"nearest": "5"},
    )
    assert error.violations == (("amount", "not a multiple"),)


@pytest.mark.parametrize(
    ("raised", "status", "kind"),
    [
        (Transient("RPC_DOWN", "x"), grpc.StatusCode.UNAVAILABLE, Transient),
        (InvalidMessage("BAD", "x"), grpc.StatusCode.INVALID_ARGUMENT, CallRefused),
        (Ambiguous("COMMIT_UNKNOWN", "x"), grpc.StatusCode.ABORTED, Ambiguous),
        (Fatal("FENCED", "x"), grpc.StatusCode.FAILED_PRECONDITION, CallRefused),
        (CallRefused("CAP_REACHED", "x"), grpc.StatusCode.RESOURCE_EXHAUSTED, Transient),
        (
            CallRefused("GONE", "x", status=grpc.StatusCode.OUT_OF_RANGE),
            grpc.StatusCode.OUT_OF_RANGE,
            CallRefused,
        ),
    ],
)
async def test_error__each_class__has_its_status_and_its_meaning_on_the_other_side(
    raised: ServiceError, status: grpc.StatusCode, kind: type[ServiceError]
) -> None:
    def fail(_request: bytes) -> bytes:
        raise raised

    async with serving(Example(fail)) as server, channel(server) as open_:
        code, error = await failure(open_.unary_unary(ECHO)(b""))
    assert code is status
    assert type(error) is kind
    assert error.code == raised.code


async def test_error__of_a_stranger__does_not_show_its_text() -> None:
    def fail(_request: bytes) -> bytes:
        raise ValueError("password is hunter2")

    async with serving(Example(fail)) as server, channel(server) as open_:
        code, error = await failure(open_.unary_unary(ECHO)(b""))
    assert code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in str(error)


def test_error_table__any_error__carries_reason_domain_and_help() -> None:
    _, status = ERRORS.status(CallRefused("CAP_REACHED", "full", {"cap": 7}))
    text = str(status)
    assert (
        'reason: "CAP_REACHED"' in text.replace("\\", "")
        or b"CAP_REACHED" in status.details[0].value
    )
    assert b"xstock-test" in status.details[0].value
    assert any(b"docs/errors.md#cap-reached" in detail.value for detail in status.details)
    _, plain = ErrorTable("d").status(CallRefused("CAP_REACHED", "full"))
    assert not any(b"#cap-reached" in detail.value for detail in plain.details)


async def test_request__of_64_megabytes__is_refused_and_others_are_unaffected() -> None:
    """F76: oversize."""
    example = Example()
    async with serving(example) as server, channel(server) as other:
        big = {"grpc.max_send_message_length": -1}
        async with bare_channel(server, **big) as attacker:
            attack = attacker.unary_unary(ECHO)(b"x" * (64 * 1024 * 1024), timeout=30)
            assert await other.unary_unary(ECHO)(b"me") == b"me"
            code, _ = await failure(attack)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert example.calls == 1
        assert await other.unary_unary(ECHO)(b"me") == b"me"


async def test_streams__beyond_the_callers_share__are_refused_and_others_are_unaffected() -> None:
    """F76: very many streams of one caller."""
    settings = GrpcServerSettings(
        "127.0.0.1:0", insecure_dev=True, calls_per_identity_max=20, lame_duck_seconds=0
    )
    async with (
        serving(Example(), settings) as server,
        channel(server, "visitor") as greedy,
        channel(server, "relayer") as other,
    ):
        streams = [greedy.unary_stream(COUNT)(b"") for _ in range(20)]
        for stream in streams:
            await stream.read()
        code, error = await failure(greedy.unary_stream(COUNT)(b"").read())
        assert (code, error.code) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        assert isinstance(error, Transient)
        assert await other.unary_unary(SECRET)(b"") == b"relayer"
        for stream in streams:
            stream.cancel()


async def test_reader__of_one_byte_a_second__slows_down_nobody_else() -> None:
    """F76: slow reader."""
    async with serving(Example()) as server, channel(server) as slow, channel(server) as other:
        stream = slow.unary_stream(COUNT)(b"x" * 200_000)
        await stream.read()
        began = asyncio.get_running_loop().time()
        for _ in range(50):
            await other.unary_unary(ECHO)(b"me")
        assert asyncio.get_running_loop().time() - began < 2
        stream.cancel()


async def test_streams__two_thousand_cancelled__leave_no_call_open_and_little_memory() -> None:
    """F75: a small number of the hundred thousand; growth per stream is what is bounded."""
    example = Example()

    async def cancel_some(open_: Any, count: int) -> None:
        for _ in range(count // 50):
            streams = [open_.unary_stream(COUNT)(b"") for _ in range(50)]
            await asyncio.gather(*(stream.read() for stream in streams))
            for stream in streams:
                stream.cancel()

    async with serving(example) as server, channel(server, "visitor") as open_:
        await cancel_some(open_, 500)
        grown = []
        for _ in range(3):
            gc.collect()  # among all that other tests left alive, the collector comes by rarely
            before = psutil.Process().memory_info().rss
            await cancel_some(open_, 2000)
            gc.collect()
            grown.append(psutil.Process().memory_info().rss - before)
        for _ in range(200):
            if not example.streams_open:
                break
            await asyncio.sleep(0.01)
        assert example.streams_open == 0
    # what leaks grows every time; what an allocator once took is no leak
    assert min(grown) < 2000 * 2_000


async def test_reply__later_than_the_deadline__is_ambiguous_and_the_repeat_has_one_effect() -> None:
    """F73: the same request id gets the same answer; one effect."""
    effects: dict[bytes, bytes] = {}
    slow = True

    async def grant(request: bytes) -> bytes:
        answer = effects.setdefault(request, b"permit-%d" % len(effects))
        if slow:
            await asyncio.sleep(0.5)
        return answer

    async with serving(Example(grant)) as server, channel(server) as open_:
        code, error = await failure(open_.unary_unary(ECHO)(b"request-1", timeout=0.1))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert isinstance(error, Ambiguous)
        slow = False
        assert await open_.unary_unary(ECHO)(b"request-1") == b"permit-0"
    assert effects == {b"request-1": b"permit-0"}


@pytest.mark.parametrize(("listed", "calls"), [((), 1), (("test.Example/Echo",), 3)])
async def test_unavailable_after_the_effect__is_repeated_only_for_listed_methods(
    listed: tuple[str, ...], calls: int
) -> None:
    """F74: gRPC may repeat a call only where the caller said that repeating is harmless."""
    example = Example()

    def unavailable_twice(request: bytes) -> bytes:
        if example.calls < 3:
            raise Transient("RPC_DOWN", "down")
        return request

    example.echo = unavailable_twice
    # The table's RetryInfo is for people; gRPC itself looks at the status alone.
    async with serving(example) as server, channel(server, retry_methods=listed) as open_:
        call = open_.unary_unary(ECHO)(b"x")
        if listed:
            assert await call == b"x"
        else:
            assert (await failure(call))[0] is grpc.StatusCode.UNAVAILABLE
    assert example.calls == calls


async def test_health__per_dependency__follows_progress_and_drain() -> None:
    example = Example()
    example.progress.register("outbox", 60)
    async with serving(example) as server, channel(server) as open_:
        stub = health_pb2_grpc.HealthStub(open_)

        async def status(name: str) -> int:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            return int(answer.status)

        serving_, not_serving = 1, 2
        assert [await status(name) for name in ("", "outbox")] == [not_serving, not_serving]
        example.progress.beat("outbox")
        await server.report_health()
        assert [await status(name) for name in ("", "outbox", "test.Example")] == [serving_] * 3
        example.progress.fail("outbox", "broker away")
        await server.report_health()
        assert [await status(name) for name in ("", "outbox")] == [not_serving, not_serving]


async def test_drain__call_in_flight__finishes_within_grace() -> None:
    release = asyncio.Event()

    async def wait(request: bytes) -> bytes:
        await release.wait()
        return request

    async with serving(Example(wait)) as server, channel(server) as open_:
        call = asyncio.ensure_future(open_.unary_unary(ECHO)(b"x"))
        await asyncio.sleep(0.1)
        draining = asyncio.create_task(server.drain())
        await asyncio.sleep(0.1)
        assert not draining.done()
        release.set()
        assert await call == b"x"
        await asyncio.wait_for(draining, 2)


async def test_drain__streams_that_never_end__are_cut_at_the_end_of_grace() -> None:
    """F75: shutdown does not hang on open streams."""
    settings = GrpcServerSettings(
        "127.0.0.1:0", insecure_dev=True, lame_duck_seconds=0, grace_seconds=0.3
    )
    async with serving(Example(), settings) as server, channel(server) as open_:
        streams = [open_.unary_stream(COUNT)(b"") for _ in range(50)]
        for stream in streams:
            await stream.read()
        began = asyncio.get_running_loop().time()
        await asyncio.wait_for(server.drain(), 3)
        assert asyncio.get_running_loop().time() - began < 2


@pytest.mark.parametrize(
    "settings",
    [
        GrpcServerSettings("127.0.0.1:0"),
        GrpcServerSettings("0.0.0.0:0", insecure_dev=True),
    ],
)
async def test_server__without_tls__starts_only_on_loopback_in_dev(
    settings: GrpcServerSettings,
) -> None:
    with pytest.raises(Fatal, match="INSECURE_SERVER"):
        async with serving(Example(), settings):
            pass


async def test_server__address_taken__says_what_to_change() -> None:
    async with serving(Example()) as first:
        taken = GrpcServerSettings(f"127.0.0.1:{first.port}", insecure_dev=True)
        with pytest.raises(Fatal, match="ADDRESS_IN_USE"):
            async with serving(Example(), taken, ACCESS):
                pass
