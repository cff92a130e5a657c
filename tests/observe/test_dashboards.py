"""config/grafana and config/prometheus: every metric that they name is there, and promtool finds the rules sound."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from clb.observe.metric_names import METRICS

CONFIG = Path(__file__).parents[2] / "config"
RULES = CONFIG / "prometheus"
NAME = re.compile(r"\bclb_[a-z_]+\b")
DERIVED = ("_sum", "_count")
PROMTOOL = shutil.which("promtool")


def named(text: str) -> set[str]:
    return set(NAME.findall(text))


def expressions() -> list[str]:
    dashboard = json.loads((CONFIG / "grafana" / "clb.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return found + [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]


def test_every_metric_of_the_dashboard_is_there():
    texts = expressions()
    assert len(texts) > 20
    for name in set().union(*map(named, texts)):
        plain = next((name.removesuffix(end) for end in DERIVED if name.endswith(end)), name)
        assert name in METRICS or plain in METRICS, name


def test_panels_do_not_lie_on_each_other():
    taken = set()
    for panel in json.loads((CONFIG / "grafana" / "clb.json").read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells


def test_every_metric_and_label_of_the_alerts_is_there():
    text = (RULES / "alerts.yml").read_text()
    for name in named(re.sub(r"summary:.*|description:.*|#.*", "", text)):
        assert name in METRICS, name
    for name, labels in re.findall(r"(clb_[a-z_]+)\{([a-z_]+)=", text):
        assert labels in METRICS[name].labels


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")
@pytest.mark.parametrize("words", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]])
def test_promtool(words):
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *words], cwd=RULES, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")
def test_promtool_reads_the_dashboard_s_expressions(tmp_path):
    assert PROMTOOL is not None
    texts = [re.sub(r"\$__rate_interval", "5m", each) for each in expressions() if not each.startswith("label_values")]
    rules = [{"record": f"clb:number{number}", "expr": text} for number, text in enumerate(texts)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        [PROMTOOL, "check", "rules", str(tmp_path / "rules.yml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
