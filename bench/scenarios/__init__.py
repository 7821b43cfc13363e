"""Every scenario, in the order in which all are measured."""

from bench.scenario import Scenario
from bench.scenarios import batch, bodies, claims, flat, idle, latency, order, producers, recovery, replicas, speed

ALL: tuple[Scenario, ...] = (
    speed.SCENARIO,
    batch.SCENARIO,
    replicas.SCENARIO,
    flat.SCENARIO,
    claims.SCENARIO,
    bodies.SCENARIO,
    latency.SCENARIO,
    producers.SCENARIO,
    idle.SCENARIO,
    recovery.SCENARIO,
    order.SCENARIO,
)
BY_NAME = {scenario.name: scenario for scenario in ALL}
