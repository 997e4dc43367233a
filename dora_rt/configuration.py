"""What this process is in a dataflow: what dora-launch says, or the dynamic node that it wants."""

from __future__ import annotations

import os
from importlib import import_module

from dora_rt.contract import CONFIG_VARIABLE, NodeConfig
from dora_rt.errors import NotInDataflowError


def find_config(node_id: str | None) -> NodeConfig:
    """Give the configuration of the node that this process is.

    Args:
        node_id: which dynamic node it wants to be, as `node` or `run/node`. Of no meaning if
            dora-launch started this process: then it is the node that it was started as.

    Raises:
        NotInDataflowError: dora-launch did not start it, and no dataflow that runs has such a node.
    """
    text = os.environ.get(CONFIG_VARIABLE)
    if text is not None:
        return NodeConfig.from_json(text)
    if node_id is None:
        raise NotInDataflowError(
            "Node() works only in a program that dora-launch started: put this script into a "
            "dataflow file (- id: my_node, path: this_script.py) and run "
            "`dora-launch dataflow.yml`; to test its logic alone, use dora_rt.testing.FakeNode"
        )
    run, _, name = node_id.rpartition("/")
    # By name, and now: what looks for running dataflows is nothing that other nodes need.
    config: NodeConfig = import_module("dora_rt.dynamic").config_of(name, run or None)
    return config
