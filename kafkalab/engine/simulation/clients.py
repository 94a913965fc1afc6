"""Simulated clients: they speak the protocol over the simulated network and write down what they see.

Each is a machine of its own with its own loop. They do what Kafka's clients do where it matters for
the cluster: learn the leaders, send again what may be sent again, in order, up to a deadline; and
they never take a silence for a refusal.
"""

from kafkalab.engine.simulation.client import SimAdmin, SimClient
from kafkalab.engine.simulation.consumer import SimConsumer
from kafkalab.engine.simulation.member import SimMember
from kafkalab.engine.simulation.producer import SimProducer

__all__ = ["SimAdmin", "SimClient", "SimConsumer", "SimMember", "SimProducer"]
