"""The channel between supervisor and child: order, size, descriptors, and a side that is gone or does not read."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket

import pytest

from clb.service.channel import FILES_IN_A_PACKET, INLINE_BYTES, MAXIMUM_UNSENT, Channel, ChannelClosed
from clb.service.channel_loop import LoopChannel


@pytest.fixture
def ends():
    one, other = Channel.pair()
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def files(tmp_path):
    """Descriptors of files that hold their own number."""
    opened = []

    def make(count):
        for number in range(count):
            path = tmp_path / str(number)
            path.write_text(str(number))
            opened.append(os.open(path, os.O_RDONLY))
        return opened

    yield make
    for descriptor in opened:
        os.close(descriptor)


SIZES = {"small": 10, "largest_packet": INLINE_BYTES - 20, "one_too_large": INLINE_BYTES, "large": 3_000_000}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_messages_arrive_whole(ends, size):
    one, other = ends
    message = {"type": "x", "text": "a" * size}
    one.send(message)
    assert other.receive() == (message, [])
    assert other.receive() is None


def test_messages_keep_their_order(ends):
    one, other = ends
    for number in range(20):
        one.send({"type": "n", "number": number, "filling": "x" * (number % 3) * INLINE_BYTES})
    received = [other.receive() for _ in range(20)]
    assert [message["number"] for message, _ in received] == list(range(20))


COUNTS = [1, FILES_IN_A_PACKET - 1, FILES_IN_A_PACKET, 2 * FILES_IN_A_PACKET + 7]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("size", [10, INLINE_BYTES + 1], ids=["inline", "memory_file"])
def test_descriptors_arrive_in_order(ends, files, count, size):
    one, other = ends
    one.send({"type": "f", "text": "a" * size}, files(count))
    message, received = other.receive()
    assert message["type"] == "f"
    contents = []
    for descriptor in received:
        assert not os.get_inheritable(descriptor)
        contents.append(os.pread(descriptor, 10, 0).decode())
        os.close(descriptor)
    assert contents == [str(number) for number in range(count)]


def test_what_the_other_side_does_not_read_waits_with_its_files(ends, files):
    one, other = ends
    (descriptor,) = files(1)
    sent = 0
    while not one.unsent:
        one.send({"type": "n", "number": sent, "filling": "x" * 1000})
        sent += 1
    copy = os.dup(descriptor)
    one.send({"type": "n", "number": sent}, [copy])
    os.close(copy)
    assert one.unsent == 2
    numbers = []
    received_files = []
    while True:
        one.flush()
        if (received := other.receive()) is None:
            break
        numbers.append(received[0]["number"])
        received_files += received[1]
    assert one.unsent == 0
    assert numbers == list(range(sent + 1))
    assert os.pread(received_files[0], 10, 0) == b"0"
    os.close(received_files[0])


def test_who_never_reads_is_given_up(ends):
    one, _ = ends

    def send_many():
        for _ in range(MAXIMUM_UNSENT * 2):
            one.send({"type": "x", "filling": "x" * 1000})

    with pytest.raises(ChannelClosed, match="not been read"):
        send_many()


@pytest.mark.parametrize("count", [3, FILES_IN_A_PACKET + 3])
@pytest.mark.parametrize("size", [10, INLINE_BYTES + 1], ids=["inline", "memory_file"])
def test_files_for_which_there_is_no_room_do_not_end_the_channel(ends, files, count, size):
    one, other = ends
    one.send({"type": "prepare", "version": 7, "filling": "x" * size}, files(count))
    one.send({"type": "next"})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.dup(0)
    os.close(highest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        message, received = other.receive()
        assert os.dup(0) == highest  # None is left open.
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.close(highest)
    assert (message["type"], received) == ("lost", [])
    if size == 10:
        assert (message["of"], message["version"]) == ("prepare", 7)
    assert other.receive() == ({"type": "next"}, [])


def test_the_end_of_the_other_side_is_told_after_what_it_sent(ends):
    one, other = ends
    one.send({"type": "last"})
    one.close()
    assert other.receive() == ({"type": "last"}, [])
    with pytest.raises(ChannelClosed):
        other.receive()
    with pytest.raises(ChannelClosed):
        other.send({"type": "x"})


NONSENSE = {
    "no_json": b"x",
    "no_object": b"[]",
    "no_type": b"{}",
    "a_type_that_is_none": b'{"type":1}',
    "a_memory_file_that_is_missing": b"@",
    "no_utf8": b'{"type":"\xff"}',
}


@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_ends_the_channel(data):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one:
        channel = Channel(other)
        one.send(data)
        with pytest.raises(ChannelClosed):
            channel.receive()
        channel.close()


def test_a_closed_channel_has_no_number(ends):
    one, _ = ends
    one.close()
    assert one.fileno() == -1


# --- with a loop ---


def test_a_loop_reads_writes_and_learns_of_the_end():
    async def run():
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        one, other = Channel.pair()
        echo = LoopChannel(other, loop, lambda message, files: echo.send(message), lambda: ended.set_result("other"))
        received = []
        all_there = loop.create_future()

        def take(message, files):
            received.append(message["number"])
            if len(received) == 2000:
                all_there.set_result(None)

        client = LoopChannel(one, loop, take, lambda: None)
        for number in range(2000):
            client.send({"type": "n", "number": number, "filling": "x" * 500})
        await asyncio.wait_for(all_there, 10)
        assert received == list(range(2000))
        client.close()
        client.send({"type": "into the void"})
        assert await asyncio.wait_for(ended, 10) == "other"
        echo.send({"type": "x"})

    asyncio.run(run())


def test_a_loop_channel_that_is_closed_by_what_it_received_reads_no_further():
    async def run():
        loop = asyncio.get_running_loop()
        one, other = Channel.pair()
        received = []

        def take(message, files):
            received.append(message)
            reader.close()

        reader = LoopChannel(other, loop, take, lambda: received.append("closed"))
        one.send({"type": "first"})
        one.send({"type": "second"})
        for _ in range(5):
            await asyncio.sleep(0)
        assert received == [json.loads('{"type":"first"}')]
        one.close()

    asyncio.run(run())
