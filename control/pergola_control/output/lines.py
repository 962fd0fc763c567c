"""What a run prints while it goes: a line for each thing that changed, its summary in the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ansible import constants as C  # noqa: N812 - Ansible's own name for it
from ansible import context
from ansible.executor.stats import AggregateStats
from ansible.executor.task_result import CallbackTaskResult
from ansible.playbook import Playbook
from ansible.playbook.play import Play
from ansible.playbook.task import Task
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback import CallbackBase

from pergola_control.command.questions import QUESTIONS
from pergola_control.here import from_here
from pergola_control.output import summary, words
from pergola_control.output.terminal import Running

LONG = 1.0  # seconds from which a step's time is worth to be told
# What a setting is called on the command line.
SHORT = {setting: name for asked in QUESTIONS.values() for name, setting in asked.items()}
# Actions whose message was written for the user.
SAYS_ITSELF = (
    *("assert", "fail", "settings_checked", "checkout_checked", "name_taken", "key_guarded"),
    *("firewall_proven", "control_node"),
)
Hosts = tuple[str, ...]


@dataclass
class Step:
    """A task on all hosts of its play, and what it did so far."""

    role: str
    name: str
    began: float
    changed: dict[str, str] = field(default_factory=dict)  # a host's detail
    messages: dict[str, list[str]] = field(default_factory=dict)  # hosts by text
    diffs: list[str] = field(default_factory=list)


def together(told: Mapping[str, str]) -> dict[str, Hosts]:
    """What hosts told, each thing once, with the hosts that told it."""
    found: dict[str, Hosts] = {}
    for host, what in sorted(told.items()):
        found[what] = (*found.get(what, ()), host)
    return found


def short(action: str) -> str:
    """An action without its collection."""
    return action.rpartition(".")[2]


class Lines(CallbackBase):  # type: ignore[misc]
    """The output of a run for the person who waits for it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "pergola"

    def __init__(self) -> None:
        super().__init__()
        self.began = time.monotonic()
        self.run = summary.Run()
        self.running = Running(sys.stdout)
        self.step: Step | None = None
        self.header: Hosts = ()
        self.systems: dict[str, str] = {}

    # What Ansible calls

    def v2_playbook_on_start(self, playbook: Playbook) -> None:  # noqa: ARG002
        self.run.options, self.run.check = context.CLIARGS, bool(context.CLIARGS.get("check"))

    def v2_playbook_on_play_start(self, play: Play) -> None:
        self.end_step()
        self.play = play.get_name()

    def v2_playbook_on_no_hosts_matched(self) -> None:
        self.warn(f"No host was there for: {self.play}", "")

    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:  # noqa: ARG002
        self.end_step()
        role = task._role.get_name() if task._role else ""
        name = str(task.name or short(task.action)).rpartition(" | ")[2]
        self.step = Step(role, name, time.monotonic())
        if short(task.action) != "pause":  # that asks on the same line
            self.running.begin(f"  {role:<11} {name}")

    def v2_playbook_on_handler_task_start(self, task: Task) -> None:
        self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        host = self.seen(result)
        if isinstance(result.task, TaskInclude) or self.step is None:
            return
        facts = result.result.get("ansible_facts") or {}
        if "ansible_distribution" in facts:
            of = (facts["ansible_distribution"], facts.get("ansible_distribution_version", ""))
            self.systems[host] = " ".join(of)
        if short(result.task.action) == "debug":
            if "results" not in result.result:  # each item has told its own
                self.tell(host, result)
        elif result.result.get("changed"):
            self.step.changed[host] = words.detail(result.result)

    def v2_runner_on_skipped(self, result: CallbackTaskResult) -> None:
        self.seen(result)

    def v2_runner_item_on_ok(self, result: CallbackTaskResult) -> None:
        self.seen(result)
        if short(result.task.action) == "debug" and self.step:
            self.tell(result.host.get_name(), result)

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        host = self.seen(result)
        if ignore_errors:
            self.warn(f"{result.task.get_name()} failed: {words.failure(result.result)}", host)
        else:
            self.fail(host, result)

    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        host = self.seen(result)
        if not result.task.ignore_unreachable:
            self.fail(host, result, unreachable=True)

    def v2_on_file_diff(self, result: CallbackTaskResult) -> None:
        items = result.result.get("results") if result.task.loop else [result.result]
        for item in items or ():
            if self.step and item.get("diff") and item.get("changed"):
                self.step.diffs.append(self._get_diff(item["diff"]))

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        self.end_step()
        run, counts = self.run, {host: stats.summarize(host) for host in stats.processed}
        run.spent = time.monotonic() - self.began
        run.changes = sum(count["changed"] for count in counts.values())
        run.checks = sum(count["ok"] for count in counts.values())
        # Of the first host that says so.
        told = {name: of[name] for of in reversed(stats.custom.values()) for name in of}
        run.live = told.get("pergola_live", summary.Live())
        run.next = told.get("pergola_next", {})
        # Failures of other hosts were rescued.
        run.failures = {host: why for host, why in run.failures.items()
                        if counts[host]["failures"] or counts[host]["unreachable"]}  # fmt: skip
        if run.failures:
            self.say_all(summary.of_warnings(run), C.COLOR_WARN)
            self.say_all(summary.of_failure(run), C.COLOR_ERROR, stderr=True)
            return
        self.say_all(summary.of_work(run))
        self.say_all(summary.of_result(run), C.COLOR_OK)
        self.say_all(summary.of_warnings(run), C.COLOR_WARN)
        self.say_all(summary.of_next(run))

    # What is gathered

    def seen(self, result: CallbackTaskResult) -> str:
        """Note the host of a result, and what its module warns of; return the host's name."""
        host = str(result.host.get_name())
        if host not in self.run.hosts:
            self.run.hosts.append(host)
        for warning in result.warnings:
            self.warn(warning.event.msg, host)
        return host

    def warn(self, text: str, host: str) -> None:
        hosts = self.run.warnings.setdefault(text.strip(), [])
        if host and host not in hosts:
            hosts.append(host)

    def tell(self, host: str, result: CallbackTaskResult) -> None:
        """A message of `debug`: printed with its step, or kept for the end."""
        message = result.result.get("msg")
        if message is None:  # it shows a variable
            message = self._dump_results(result.result).strip()
        if isinstance(message, list | tuple):
            message = "\n".join(map(str, message))
        text = str(message).rstrip()
        if text.startswith(words.WARNING):
            self.warn(text.removeprefix(words.WARNING), host)
        elif self.step:
            self.step.messages.setdefault(text, []).append(host)

    def fail(self, host: str, result: CallbackTaskResult, unreachable: bool = False) -> None:
        """Keep a failure; of several the last one counts, for the ones before were rescued."""
        task = result.task
        text = words.with_places(words.failure(result.result), self.run.options, SHORT)
        says = ""
        if unreachable or short(task.action) not in SAYS_ITSELF:
            says = words.advice(text, host, result.host.get_vars(), unreachable)
            path, _, line = str(task.get_path() or "").rpartition(":")
            if not unreachable:
                text += f"\nin: {task.get_name()} ({from_here(path)}:{line})"
        role = task._role.get_name() if task._role else ""
        self.run.failures[host] = summary.Failure(text, says, role)

    # What is printed

    def say(self, text: str, color: str | None = None, stderr: bool = False) -> None:
        self.running.end()
        self._display.display(text, color=color, stderr=stderr)

    def say_all(self, lines: Iterator[str], color: str | None = None, stderr: bool = False) -> None:
        for line in lines:
            self.say(line, color, stderr)

    def end_step(self) -> None:
        """Print the lines of the task that has ended."""
        self.running.end()
        step, self.step = self.step, None
        if step is None:
            return
        spent = time.monotonic() - step.began
        self.run.seconds[step.role] = self.run.seconds.get(step.role, 0) + spent
        for detail, hosts in together(step.changed).items():
            self.name_hosts(hosts)
            text = f"would {step.name[:1].lower()}{step.name[1:]}" if self.run.check else step.name
            text += f" ({detail})" if detail else ""
            took = words.lasted(spent) if spent >= LONG else ""
            self.say(f"  {step.role:<11} {text:<60} {took:>7}".rstrip(), C.COLOR_CHANGED)
        for diff in filter(None, step.diffs):
            self.say(diff.rstrip())
        for text, of in step.messages.items():
            self.name_hosts(tuple(sorted(of)))
            self.say(words.indented(text))
            self.run.spoke = True

    def name_hosts(self, hosts: Hosts) -> None:
        """A line that says whose lines follow, unless that was said last."""
        if hosts == self.header:
            return
        self.header = hosts
        known = [
            f"{host} ({self.systems[host]})" if host in self.systems else host for host in hosts
        ]
        self.say(", ".join(known))
