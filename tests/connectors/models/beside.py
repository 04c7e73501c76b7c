"""A flow and a model beside it, without a database, on a real server."""

import asyncio
import json
import os
import signal
import threading
from pathlib import Path

from connectors.jetstream.connection import connect, native_options
from connectors.jetstream.history import bounds, messages
from connectors.jetstream.streams import ensure_streams
from connectors.models.run import model_folder, plan_of, supervisor_of
from dataflows._native import Publisher
from dataflows.contracts import vitals_pb2 as pb
from dataflows.models.spec import read_model
from dataflows.settings import FlowSettings, QuestDBSettings, RunSettings, Settings, StackSettings
from tests.faults.whole import Supervised
from tests.waiting import until

HERE = Path(__file__).parent


class Ground:
    """Streams of one server, and what runs on them."""

    def __init__(self, nats, folder, rules, silence_reading_s=60.0, **streams):
        base = nats.settings(**streams)
        file = folder / "rules.toml"
        file.write_text(rules)
        self.settings = Settings(
            nats=base.nats,
            streams=base.streams,
            questdb=QuestDBSettings(enabled=False),
            flow=FlowSettings(rules=[file], silence_reading_s=silence_reading_s),
            run=RunSettings(backoff_max_s=0.4, drain_s=2.0),
            stack=StackSettings(data_dir=folder, snapshot_interval_s=1),
        )
        self.folder = folder
        ensure_streams(self.settings)

    def flow(self):
        return Supervised(self.settings, self.folder / "flow")

    def publisher(self):
        return Publisher(native_options(self.settings.nats, "test"))

    def model(self, text, name="model.toml"):
        path = self.folder / name
        path.write_text(text)
        # The scorers lie beside the tests, the declaration in the folder of this test.
        (self.folder / "scorers.py").write_text((HERE / "scorers.py").read_text())
        return Beside(self.settings, path)

    def stored(self, stream, subject):
        """(id, body) of what a stream holds on a subject."""

        async def read():
            client = await connect(self.settings.nats, "test")
            first, last = await bounds(client, stream)
            found = [
                ((message.headers or {}).get("Nats-Msg-Id", ""), message.data)
                async for message in messages(client, stream, first, last, subject)
            ]
            await client.close()
            return found

        return asyncio.run(read())

    def scores(self, device):
        return self.stored("VITALS", f"vp.*.main.*.{device}.numeric")

    def beats(self, device):
        """Signs of life."""
        return self.stored("VITALS", f"vp.*.tick.models.{device}.numeric")

    def scored(self, device):
        """(patient, body) of the scores."""
        return [(pb.Frame.FromString(body).patient, body) for _, body in self.scores(device)]

    def alerts(self, rule):
        return [json.loads(body) for _, body in self.stored("ALERTS", f"alerts.v1.*.*.{rule}")]


class Beside:
    """A model kept running by the supervisor of `vitals models run`."""

    def __init__(self, settings, file):
        self.model = read_model(file.read_text())
        folder = model_folder(settings, self.model)

        async def planned():
            client = await connect(settings.nats, "test")
            await plan_of(client, settings, self.model, folder, history=settings.streams.log_time == "header")
            await client.close()

        asyncio.run(planned())
        self.said = []
        self.supervisor = supervisor_of(settings, file, folder, self.said.append)
        self._thread = threading.Thread(target=self.supervisor.run, daemon=True)
        self._thread.start()

    def batches(self, result):
        return self.supervisor.flow.samples().get(
            f'vitals_model_batches_total{{model="{self.model.name}",result="{result}"}}', 0.0
        )

    def kill_graph(self):
        until(lambda: self.supervisor.flow.whole)
        os.kill(self.supervisor.flow.processes[0].pid, signal.SIGKILL)

    def kill_scorer(self):
        """kill -9 of the process that runs the user's code."""
        until(lambda: self.supervisor.flow.whole)
        until(lambda: _children(self.supervisor.flow.processes[0].pid))
        for pid in _children(self.supervisor.flow.processes[0].pid):
            os.kill(pid, signal.SIGKILL)

    def stop(self):
        self.supervisor.stop()
        self._thread.join(60)


def _children(pid):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found
