"""Every number on a page: what a reader sees, what the API answers at its source, and what the database holds.

A number carries `data-source`: the address below api/v1 whose answer holds it and, after #, the way to it there. The
way is names, indices and `name=value` choices from a list; after | stands what is done with the list at its end.
"""

import re
from dataclasses import dataclass
from functools import reduce
from urllib.parse import parse_qsl, unquote, urlsplit

COLLECT = """
() => {
  const exempt = "time, [data-name], [data-words], .label, button, th, h2, summary, option, #banner, script, style";
  const [found, bare] = [new Map(), []];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const [text, node] = [walker.currentNode.textContent, walker.currentNode.parentElement];
    if (!/\\d/.test(text) || !node.checkVisibility()) continue;
    const marked = node.closest("[data-source]");
    if (marked) {
      const { source, scale, plus } = marked.dataset;
      found.set(marked, [source, marked.textContent, Number(scale ?? 1), Number(plus ?? 0)]);
    } else if (!node.closest(exempt)) bare.push(`${text} in <${node.tagName.toLowerCase()} class="${node.className}">`);
  }
  for (const input of document.querySelectorAll("input[type=number]")) {
    if (!input.value || !input.checkVisibility()) continue;
    if (input.dataset.source) found.set(input, [input.dataset.source, input.value, 1, 0]);
    else bare.push(`${input.value} in the input ${input.ariaLabel}`);
  }
  return { found: [...found.values()], bare };
}
"""
"""Marked numbers with their sources, and texts with a digit that nothing says the source of.

Exempt are times, names, words of people and programs, labels, headings, buttons.
"""
OPEN = ("raised", "active", "escalated")


@dataclass(frozen=True)
class Number:
    """A number on a page."""

    source: str
    text: str
    scale: float
    plus: float

    @property
    def address(self) -> str:
        """Address in the API, with the query."""
        return self.source.partition("#")[0]

    @property
    def way(self) -> str:
        """The way to it in the answer."""
        return self.source.partition("#")[2]

    @property
    def query(self) -> dict[str, str]:
        """Parameters of the address."""
        return dict(parse_qsl(urlsplit(self.address).query))

    @property
    def kind(self) -> str:
        """Which class of numbers it is one of: its address and way without what is a patient's own."""
        path = re.sub(r"/(patients|alerts)/[^/?#]+", r"/\1/*", urlsplit(self.address).path)
        return f"{path}#{re.sub('=[^/]*', '=*', self.way)}"

    def shows(self, value: float) -> bool:
        """Whether the text is this value, as far as it is rounded."""
        digits = len(self.text.partition(".")[2])
        return abs(float(self.text) - (value * self.scale + self.plus)) <= 0.5 * 10.0**-digits * (1 + 1e-6)


def step(at, part):
    """One step of a way."""
    if isinstance(at, dict):
        return at[part]
    if part.isdigit():
        return at[int(part)]
    wanted = dict(one.split("=", 1) for one in part.split(","))
    (found,) = (one for one in at if all(str(one[name]) == value for name, value in wanted.items()))
    return found


def heart_rate(rows):
    """The rate of the last eight R-R intervals, as the live view counts it."""
    intervals = [row["rr_ms"] for row in rows[-8:] if row["rr_ms"]]
    return 60_000 * len(intervals) / sum(intervals)


def resolve(answer, way):
    """The number at the end of a way."""
    path, _, doing = way.partition("|")
    at = reduce(step, [unquote(part) for part in path.split("/")], answer)
    if not doing:
        return at
    what, _, field = doing.partition(":")
    if what == "rate":
        return heart_rate(at)
    if what == "count" and field in {"open", "answered"}:
        own = [one for one in at if one["tenant"] != "tick"]
        return sum((one["state"] in OPEN) == (field == "open") for one in own)
    values = [one[field] for one in at if one.get(field) is not None] if field else at
    return {"count": len, "sum": sum, "least": min, "greatest": max}[what](values)
