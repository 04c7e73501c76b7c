"""A model's identity, as the server enforces it: it reads the log and speaks under its own name alone."""

import asyncio
import json

import pytest

from connectors.identity.claims import credentials_file
from connectors.identity.devices import authority_of
from connectors.identity.files import write_secret
from connectors.jetstream import JetStreamSink, OutMessage
from connectors.jetstream.connection import connect, native_options
from connectors.jetstream.source import open_puller
from dataflows._native import JetStreamError, Publisher
from tests.waiting import until


def test_a_model_reads_the_log_and_publishes_scores_of_its_own_name_alone(locked, tmp_path):
    issued = authority_of(locked.settings).issue_service("model", "risk", {"device": "model-risk"}, days=1)
    file = tmp_path / "model-risk.creds"
    write_secret(file, credentials_file(issued.token, issued.seed))
    nats = locked.settings.nats.model_copy(update={"credentials": file})
    settings = locked.settings.model_copy(update={"nats": nats})
    publisher = Publisher(native_options(nats, "model"))
    publisher.publish_all([("vitals.v1.main.p1.model-risk.numeric", [("Nats-Msg-Id", "score/1")], b"score")])
    own = "vp.*.*.*.model-risk.numeric"
    assert [one[1] for one in publisher.scan(settings.streams.vitals, 1, "", [own])] == ["score/1"]
    sink = JetStreamSink(nats, "VITALS", subjects=[own], writer="model-risk").build_part(
        "risk.scores", "VITALS/0", None
    )
    sink.write_batch([OutMessage("vitals.v1.main.p1.model-risk.numeric", b"score", "score/2")])

    async def purge():
        async with locked.pipeline() as client:
            await client.jetstream().purge_stream("VITALS", subject="fence.VITALS.model-risk.0")

    asyncio.run(purge())
    sink.write_batch([OutMessage("vitals.v1.main.p1.model-risk.numeric", b"score", "score/3")])
    sink.close()
    assert [one[1] for one in publisher.scan(settings.streams.vitals, 1, "", [own])] == [
        "score/1",
        "score/2",
        "score/3",
    ]
    pullers = [open_puller(settings, "model", f"VITALS/p{n}", None) for n in range(settings.streams.partitions)]
    heard = []

    def hears_itself():
        heard.extend(subject for puller in pullers for _, some in puller.poll(1000) for subject, *_ in some.entries())
        return any(b".model-risk.numeric" in subject for subject in heard)

    until(hears_itself)
    for puller in pullers:
        puller.close()
    for subject in ("vitals.v1.main.p1.model-other.numeric", "vitals.v1.main.p1.patch7.ecg_ii",
                    "vitals.v1.main.p1.control.ack", "alerts.v1.main.p1.asystole",
                    "fence.VITALS.model-other.0"):  # fmt: skip
        with pytest.raises(JetStreamError):
            Publisher(native_options(nats, "model")).publish_all([(subject, [], b"x")])
        # The server writes its log after it has refused.
        until(lambda subject=subject: f'Publish Violation - Subject "{subject}"' in locked.server_log)


@pytest.mark.parametrize("listening", [False, True])
def test_what_a_consumer_delivers_is_nobodys_alert(locked, tmp_path, listening):
    """Who makes a consumer names where the server delivers; it does so while somebody listens there."""
    issued = authority_of(locked.settings).issue_service("model", "risk", {"device": "model-risk"}, days=1)
    file, name = tmp_path / "model-risk.creds", f"forged-{listening}"
    write_secret(file, credentials_file(issued.token, issued.seed))
    config = {
        "durable_name": name, "ack_policy": "none", "deliver_policy": "all",
        "deliver_subject": f"alerts.v1.main.{name}.asystole", "filter_subject": f"vp.*.main.{name}.model-risk.numeric",
    }  # fmt: skip

    async def run():
        model = await connect(locked.settings.nats.model_copy(update={"credentials": file}), "model")
        async with locked.pipeline() as client:
            heard = await client.subscribe(config["deliver_subject"]) if listening else None
            await client.flush()
            await model.jetstream().publish(f"vitals.v1.main.{name}.model-risk.numeric", b'{"alert_id": "forged"}')
            subject = f"$JS.API.CONSUMER.CREATE.VITALS.{name}.{config['filter_subject']}"
            body = json.dumps({"stream_name": "VITALS", "config": config}).encode()
            answer = json.loads((await model.request(subject, body, timeout=5)).data)
            assert "error" not in answer
            if heard is not None:
                await heard.next_msg(timeout=10)
            await asyncio.sleep(1.0)
            info = await client.jetstream().stream_info("ALERTS", subjects_filter=f"alerts.v1.main.{name}.>")
            assert not info.state.subjects
            await client.jetstream().delete_consumer("VITALS", name)
        await model.close()

    asyncio.run(run())
