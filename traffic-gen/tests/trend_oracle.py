"""Histories with and without jumps, and what PyPI jumpavg 0.4.2 makes of them, as JSON: see trend.rs."""

import json

import jumpavg

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
        return (self.next() >> 11) / (1 << 53)

    def noise(self):
        """About normal, spread 1: twelve dice."""
        return sum(self.unit() for _ in range(12)) - 6.0


def history(seed, levels, spread, runs, trials):
    chance = Chance(seed)
    return [
        [round(level * (1.0 + spread * chance.noise()), 4) for _ in range(trials)]
        for level in levels
        for _ in range(runs)
    ]


def main():
    cases = [([10.0], 0.01), ([10.0, 9.5], 0.005), ([10.0, 9.5], 0.05), ([10.0, 9.5, 10.0], 0.01), ([5.0, 5.2, 8.0], 0.02),
             ([10.0, 9.5, 9.0, 9.5], 0.002)]
    told = []
    for number, (levels, spread) in enumerate(cases):
        for runs, trials in [(3, 1), (8, 1), (4, 5)]:
            values = history(number * 100 + runs, levels, spread, runs, trials)
            groups = jumpavg.classify(values if trials > 1 else [value for [value] in values])
            groups = [{"runs": len(group.run_list), "mean": group.stats.avg, "stdev": group.stats.stdev} for group in groups]
            told.append({"levels": levels, "spread": spread, "history": values, "groups": groups})
    print(json.dumps(told))


main()
