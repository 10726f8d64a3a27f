"""What a run would cost, before it: arithmetic, memory and time of a transformer, in closed form.

Nothing here runs a network. A room describes its own with a `Blueprint`; everything else is counted from that.
"""

from kinema.train.plan.blueprint import Blueprint, Product, Work, work
from kinema.train.plan.choose import MAX_TP, USABLE, Plan, layouts, make_plan
from kinema.train.plan.devices import DEVICES, FLOAT, Device, find_device, this_machine
from kinema.train.plan.footprint import Layout, Memory, activations, memory, saved_in_block
from kinema.train.plan.stages import PaperStage, Subject

__all__ = [
    "DEVICES",
    "FLOAT",
    "MAX_TP",
    "USABLE",
    "Blueprint",
    "Device",
    "Layout",
    "Memory",
    "PaperStage",
    "Plan",
    "Product",
    "Subject",
    "Work",
    "activations",
    "find_device",
    "layouts",
    "make_plan",
    "memory",
    "saved_in_block",
    "this_machine",
    "work",
]
