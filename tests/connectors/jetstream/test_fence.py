"""A writer's fence: what a predecessor sent and the server reads late is refused, and a lost fence is raised again."""

import pytest
from nats.errors import Error as NatsError

from connectors.jetstream import JetStreamSink, OutMessage, ensure_streams
from connectors.jetstream.sink import WRITER
from connectors.jetstream.streams import StreamSetupError
from dataflows._native import FencedError, JetStreamError, PublishError
from tests.connectors.jetstream.tools import alerts_in, open_publisher, open_puller
from tests.servers import NatsCluster
from tests.waiting import until

pytestmark = pytest.mark.services


def alert(n):
    return OutMessage("alerts.v1.main.p1.asystole", b"%d" % n, f"id{n}")


@pytest.fixture
def settings(nats_server):
    # So short a window of ids cannot be what saves us.
    settings = nats_server.settings(dedupe_window_s=0.1)
    ensure_streams(settings)
    return settings


@pytest.fixture
def writer(settings):
    """Makes writers of one partition; what they had is their predecessor's state."""
    made = []

    def make(state=None):
        made.append(JetStreamSink(settings.nats, "ALERTS").build_part("flow.alerts", "ALERTS/0", state))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_predecessor_is_refused_in_words_once_its_successor_has_looked(writer, admin):
    old = writer()
    old.write_batch([alert(1)])
    new = writer(old.snapshot())
    with pytest.raises(FencedError, match=r"flow\.alerts/ALERTS/0: another flow writes to stream ALERTS"):
        old.write_batch([alert(2)])
    assert alerts_in(admin) == 1
    new.write_batch([alert(2), alert(3)])
    assert alerts_in(admin) == 3


def test_writers_of_other_partitions_are_not_fenced(settings, writer, admin):
    first = writer()
    other = JetStreamSink(settings.nats, "ALERTS").build_part("flow.alerts", "ALERTS/1", None)
    first.write_batch([alert(1)])
    other.write_batch([alert(2)])
    first.write_batch([alert(3)])
    other.close()
    assert alerts_in(admin) == 3


def test_a_fence_that_retention_removed_is_raised_again_and_nothing_is_written_twice(settings, writer, admin):
    sink = writer()
    sink.write_batch([alert(1)])
    admin(admin.js.purge_stream("ALERTS", subject="fence.ALERTS.0"))
    # As if the fence had gone between two messages of one batch: the first of them is stored already.
    publisher = open_publisher(settings)
    publisher.publish_all([(alert(2).subject, [("Nats-Msg-Id", "id2"), (WRITER, "flow.alerts/ALERTS/0")], b"2")])
    sink.write_batch([alert(2), alert(3)])
    sink.write_batch([alert(4)])
    assert alerts_in(admin) == 4


def test_a_stream_without_room_for_fences_is_named(writer, admin):
    config = admin.info("ALERTS").config
    config.subjects = ["alerts.v1.>"]
    admin(admin.js.update_stream(config))
    with pytest.raises(JetStreamError, match=r"stream ALERTS takes no fence.*add the subject fence\.ALERTS\.\*"):
        writer()


def score(model, n):
    return OutMessage(f"vitals.v1.main.p1.{model}.numeric", b"%d" % n, f"{model}/{n}")


@pytest.fixture
def models(settings):
    """Makes writers of models' scores into the log of record; what they had is their predecessor's state."""
    made = []

    def make(model, state=None):
        sink = JetStreamSink(settings.nats, "VITALS", subjects=[f"vp.*.*.*.{model}.numeric"], writer=model)
        made.append(sink.build_part(f"{model}.scores", "VITALS/0", state))
        return made[-1]

    yield make
    for one in made:
        one.close()


def scores_in(settings):
    publisher = open_publisher(settings)
    found = [message_id for _, message_id, _ in publisher.scan("VITALS", 1, "", ["vp.*.*.*.*.numeric"])]
    publisher.close()
    return found


def test_a_model_of_before_is_refused_and_other_models_are_not(settings, models):
    old, other = models("model-risk"), models("model-other")
    old.write_batch([score("model-risk", 1)])
    new = models("model-risk", old.snapshot())
    with pytest.raises(FencedError, match="another flow writes to stream VITALS"):
        old.write_batch([score("model-risk", 2)])
    new.write_batch([score("model-risk", n) for n in (1, 2, 3)])
    other.write_batch([score("model-other", 1)])
    assert scores_in(settings) == ["model-risk/1", "model-risk/2", "model-risk/3", "model-other/1"]


def test_a_models_fence_that_retention_removed_is_raised_again(settings, models, admin):
    sink = models("model-risk")
    sink.write_batch([score("model-risk", 1)])
    admin(admin.js.purge_stream("VITALS", subject="fence.VITALS.model-risk.0"))
    sink.write_batch([score("model-risk", 2)])
    assert scores_in(settings) == ["model-risk/1", "model-risk/2"]


def test_the_flow_sees_frames_and_no_fences(settings, models):
    sink = models("model-risk")
    sink.write_batch([score("model-risk", 1)])
    pullers = [open_puller(settings, partition) for partition in range(settings.streams.partitions)]
    heard = []

    def has_heard():
        heard.extend(one[0] for puller in pullers for _, some in puller.poll(100) for one in some.entries() if one[0])
        return heard

    until(has_heard)
    for puller in pullers:
        puller.close()
    assert [subject.partition(b".main.")[2] for subject in heard] == [b"p1.model-risk.numeric"]


@pytest.fixture
def cluster(tmp_path):
    servers = NatsCluster(tmp_path).start()
    yield servers
    servers.stop()


def test_a_replicated_stream_is_fenced_as_well(cluster):
    settings = cluster.settings()

    sink = JetStreamSink(settings.nats, "ALERTS")
    made = []

    def has_leaders():
        try:
            ensure_streams(settings)
            made.append(sink.build_part("flow.alerts", "ALERTS/0", None))
        except (StreamSetupError, JetStreamError, NatsError, OSError):  # the cluster or the stream has none yet
            return False
        return True

    until(has_leaders, 90, poll_s=0.5)
    (old,) = made

    def write(part, numbers):
        """Writes as a flow does that is started again where the stream has another leader."""
        while True:
            try:
                part.write_batch([alert(n) for n in numbers])
            except FencedError:
                raise
            except PublishError:
                state = part.snapshot()
                part.close()
                part = sink.build_part("flow.alerts", "ALERTS/0", state)
            else:
                return part

    old = write(old, range(300))
    new = sink.build_part("flow.alerts", "ALERTS/0", old.snapshot())
    with pytest.raises(FencedError, match="another flow writes"):
        old.write_batch([alert(300)])
    new = write(new, range(300, 400))
    publisher = open_publisher(settings)
    stored = [message_id for _, message_id, _ in publisher.scan("ALERTS", 1) if message_id]
    assert stored == [f"id{n}" for n in range(400)]
    for one in (old, new, publisher):
        one.close()
