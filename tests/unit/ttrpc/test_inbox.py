import asyncio
import socket
import threading

from holdfast.ttrpc.inbox import READ_BYTES, Inbox


class Kept(Inbox):
    """Keeps every piece it was given, as it was given."""

    def __init__(self, enough):
        super().__init__()
        self.pieces, self.full, self._enough = [], asyncio.Event(), enough

    def data_received(self, data):
        self.pieces.append(data)
        if sum(map(len, self.pieces)) >= self._enough:
            self.full.set()


async def connected(enough):
    near, far = socket.socketpair()
    near.setblocking(False)
    transport, kept = await asyncio.get_running_loop().create_unix_connection(lambda: Kept(enough), sock=near)
    return transport, kept, far


async def test_what_was_read_is_not_changed_by_what_is_read_later_or_by_another_connection():
    one, first, far_one = await connected(2)
    two, second, far_two = await connected(1)
    with far_one, far_two:
        far_one.send(b"a")
        while not first.pieces:
            await asyncio.sleep(0)
        far_two.send(b"b")
        await second.full.wait()
        far_one.send(b"c")
        await first.full.wait()
        assert (first.pieces, second.pieces) == ([b"a", b"c"], [b"b"])
        one.close()
        two.close()


async def test_more_than_the_buffer_holds_arrives_in_pieces():
    data = bytes(range(256)) * (READ_BYTES // 256) + b"rest"
    transport, kept, far = await connected(len(data))
    with far:
        await asyncio.to_thread(far.sendall, data)
        await kept.full.wait()
        assert b"".join(kept.pieces) == data
        assert max(map(len, kept.pieces)) <= READ_BYTES
        transport.close()


async def test_connections_share_a_buffer_within_a_loop_and_never_across_loops():
    here = [Inbox().get_buffer(-1) for _ in range(2)]
    elsewhere = []

    async def there():
        elsewhere.append(Inbox().get_buffer(-1))

    thread = threading.Thread(target=asyncio.run, args=(there(),))
    thread.start()
    thread.join()
    assert here[0] is here[1]
    assert elsewhere[0] is not here[0]
