#!/usr/bin/env python3
"""Runs the reference implementation of MLRsearch and writes what it decides, for tests/mlrsearch.rs.

    pip install MLRsearch==1.2.1
    python3 traffic-gen/tests/mlrsearch_oracle.py > traffic-gen/tests/mlrsearch_golden.json

Two parts:
- "loads": lists of trials, and for each goal how the oracle classifies a load with these trials, and the loss ratio that its conditional
  throughput is worked out from;
- "searches": whole searches on a seeded, noisy device: every trial, and the bounds and conditional throughput at the end.

The device is a few lines that exist once more in tests/mlrsearch.rs, with the same arithmetic.
"""

import json
import math
import sys

from MLRsearch import AbstractMeasurer, Config, MeasurementResult, MultipleLossRatioSearch, SearchGoal
from MLRsearch.discrete_load import DiscreteLoad
from MLRsearch.discrete_result import DiscreteResult
from MLRsearch.load_rounding import LoadRounding
from MLRsearch.target_spec import TargetSpec
from MLRsearch.target_stat import TargetStat

MASK = (1 << 64) - 1


class Chance:
    """SplitMix64."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def unit(self):
        return (self.next() >> 11) / 9007199254740992.0


class Device:
    """Forwards `capacity` frames a second, give or take `noise`; one trial in `one_in` loses a little at any load."""

    def __init__(self, seed, capacity, noise, one_in):
        self.chance, self.capacity, self.noise, self.one_in = Chance(seed), capacity, noise, one_in

    def trial(self, load, seconds):
        """Frames offered and lost."""
        offered = int(load * seconds + 0.5)
        capacity = self.capacity * (1.0 + self.noise * (self.chance.unit() - 0.5))
        lost = offered - int(capacity * seconds + 0.5) if load > capacity else 0
        if self.one_in and self.chance.next() % self.one_in == 0:
            lost += 1 + offered // 100000
        return offered, min(max(lost, 0), offered)


GOALS = {
    "ndr": dict(loss_ratio=0.0, exceed_ratio=0.5, relative_width=0.005, initial_trial_duration=1.0, final_trial_duration=1.0, duration_sum=21.0),
    "pdr": dict(loss_ratio=0.005, exceed_ratio=0.5, relative_width=0.005, initial_trial_duration=1.0, final_trial_duration=1.0, duration_sum=21.0),
    "strict": dict(loss_ratio=0.0, exceed_ratio=0.0, relative_width=0.01, initial_trial_duration=1.0, final_trial_duration=5.0, duration_sum=5.0),
    "quarter": dict(loss_ratio=0.01, exceed_ratio=0.25, relative_width=0.01, initial_trial_duration=1.0, final_trial_duration=2.0, duration_sum=8.0),
}


class Measurer(AbstractMeasurer):
    def __init__(self, device):
        self.device, self.trials = device, []

    def measure(self, intended_duration, intended_load):
        offered, lost = self.device.trial(intended_load, intended_duration)
        self.trials.append([intended_load, intended_duration, lost / offered if offered else 0.0])
        return MeasurementResult(intended_duration=intended_duration, intended_load=intended_load, offered_count=offered, loss_count=lost)


def loads():
    chance = Chance(2544)
    losses = [0.0, 0.0, 0.0, 0.001, 0.004, 0.005, 0.006, 0.01, 0.2]
    durations = [0.5, 1.0, 1.0, 2.0, 5.0]
    cases = []
    for number in range(400):
        trials = [[durations[chance.next() % len(durations)], losses[chance.next() % len(losses)]] for _ in range(chance.next() % 40)]
        answers = {}
        for name, goal in GOALS.items():
            spec = TargetSpec(
                loss_ratio=goal["loss_ratio"],
                exceed_ratio=goal["exceed_ratio"],
                discrete_width=None,
                trial_duration=goal["final_trial_duration"],
                duration_sum=goal["duration_sum"],
                expansion_coefficient=2,
                fail_fast=False,
                preceding=None,
            )
            stat = TargetStat(spec)
            for seconds, loss in trials:
                count = 1_000_000
                result = MeasurementResult(intended_duration=seconds, intended_load=1e6, offered_count=count, loss_count=round(count * loss))
                stat.add(result)
            optimistic, pessimistic = stat.estimates()
            bound = {(True, True): "lower", (False, False): "upper", (True, False): "undecided"}[(optimistic, pessimistic)]
            ratio = stat.pessimistic_loss_ratio if any(seconds >= goal["final_trial_duration"] for seconds, _ in trials) else None
            answers[name] = [bound, ratio]
        cases.append(dict(trials=trials, answers=answers))
    return cases


def searches():
    found = []
    for seed, capacity, noise, one_in in [
        (1, 7_300_000.0, 0.0, 0),
        (2, 7_300_000.0, 0.002, 0),
        (3, 1_234_567.0, 0.004, 10),
        (4, 100_000.0, 0.001, 20),
        (5, 14_000_000.0, 0.003, 5),
    ]:
        goals = [SearchGoal(**GOALS["ndr"]), SearchGoal(**GOALS["pdr"])]
        config = Config()
        config.goals, config.max_load, config.min_load = goals, 14_880_952.0, 9_001.0
        config.search_duration_max, config.warmup_duration = 1e6, 1.0
        measurer = Measurer(Device(seed, capacity, noise, one_in))
        result = MultipleLossRatioSearch(config=config).search(measurer, debug=lambda text: None)
        bounds = []
        for goal in goals:
            answer = result[goal]
            number = lambda load: None if load is None else float(load)
            bounds.append([number(answer.relevant_lower_bound), number(answer.relevant_upper_bound), number(answer.conditional_throughput)])
        found.append(
            dict(seed=seed, capacity=capacity, noise=noise, one_in=one_in, max=14_880_952.0, min=9_001.0, bounds=bounds, trials=measurer.trials)
        )
    return found


def main():
    json.dump(dict(oracle="MLRsearch 1.2.1", goals=GOALS, loads=loads(), searches=searches()), sys.stdout, separators=(",", ":"), sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
