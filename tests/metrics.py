"""Prometheus text, read back."""

import re

_LINE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """One scrape. Series are (name, frozenset of labels) -> value."""

    def __init__(self, text):
        self.text = text
        self.series = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                found = _LINE.match(line)
                assert found, f"not a sample: {line!r}"
                labels = frozenset(_LABEL.findall(found[2] or ""))
                self.series[found[1], labels] = float(found[3])

    def sum(self, name, **labels):
        """The sum over all series of this name with at least these labels; 0 when there is none."""
        wanted = set(labels.items())
        return sum(value for (n, have), value in self.series.items() if n == name and wanted <= have)

    def names(self):
        return {name for name, _ in self.series}

    def has(self, name):
        return any(n == name for n, _ in self.series)
