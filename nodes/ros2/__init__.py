"""Exchange messages with robots that speak ROS 2, where no ROS is installed."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dora_rt.errors import DoraRtError, ExtraMissingError, ParameterRefusedError

from ..options import NodeParser, add_option, add_switch, file_path, one_of, whole_number

if TYPE_CHECKING:
    from dora_rt import Node
    from dora_rt.live.run_parameters import RunParameters

    from .bridge import Bridge, Transport
    from .interfaces import Interfaces
    from .ros_entities import Identity

__all__ = ["main", "parse_options"]

logger = logging.getLogger(__name__)

_ROUTER = "tcp/127.0.0.1:7447"
_ROUTE_OPTIONS = ("publish", "subscribe", "call", "serve", "call_action", "serve_action")
_DISTROS = ("humble", "iron", "jazzy", "kilted", "lyrical", "rolling")
_EPILOG = f"""\
A route is PORT=TOPIC:PACKAGE/TYPE and perhaps, behind commas: reliable or best_effort, latched,
depth=N, arrow or json (structs of Arrow, or JSON in bytes), timeout=SECONDS of a service, and
frame_id=NAME. Inputs are published, and outputs get what is subscribed to. Pictures, boxes, point
clouds, poses, speeds, text and numbers are the arrays that the other nodes have; docs/ros2.md has
the table. Other messages are structs of Arrow.

The robot runs rmw_zenoh (RMW_IMPLEMENTATION=rmw_zenoh_cpp) and its router (ros2 run rmw_zenoh_cpp
rmw_zenohd); --start-router is one without ROS.

examples:
  --publish image=/camera/image:sensor_msgs/Image
  --call plan=/plan_path:nav_msgs/GetPlan,json
  --parameters "detector webcam"        ros2 param list /detector
  --subscribe "speed=/cmd_vel:geometry_msgs/Twist map=/map:nav_msgs/OccupancyGrid,latched"
  --router tcp/192.168.1.20:7447        the robot's [default: {_ROUTER}]
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until its inputs or the dataflow end; return the exit status."""
    options = parse_options(argv, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    from dora_rt import Node

    from .bridge import run
    from .zenoh_transport import Router, import_zenoh

    try:
        if options.transport == "auto":
            options.transport = _found_transport()
        if options.transport == "zenoh":
            import_zenoh()
        with Node() as node, contextlib.ExitStack() as stack:
            bridges = _make_bridges(node, options, stack)
            if options.start_router and options.transport == "zenoh":
                router = Router.open(options.router, shares_memory=options.shared_memory)
                stack.callback(router.close)
            run(node, bridges)
    except DoraRtError as error:
        logger.error("%s", error)
        return 1
    return 0


def parse_options(argv: Sequence[str] | None, environ: Mapping[str, str]) -> argparse.Namespace:
    """Read the options: from the command line, else `env:` of the file, else outside."""
    from .routes import parse_routes

    parser = NodeParser("ros2", __doc__, _EPILOG)
    text = "routes of the inputs that are published, with blanks between them"
    add_option(parser, environ, "--publish", parse_routes, None, text)
    text = "routes of the topics that are subscribed to"
    add_option(parser, environ, "--subscribe", parse_routes, None, text)
    text = "routes of services that inputs call; answers leave at the outputs of the same names"
    add_option(parser, environ, "--call", parse_routes, None, text)
    text = "routes of services that outputs are asked for; answers come at inputs of the same names"
    add_option(parser, environ, "--serve", parse_routes, None, text)
    text = "routes of actions: inputs PORT_goal, PORT_cancel, outputs PORT_feedback, PORT_result"
    add_option(parser, environ, "--call-action", parse_routes, None, text)
    text = "routes of actions: outputs PORT_goal, PORT_cancel, inputs PORT_feedback, PORT_result"
    add_option(parser, environ, "--serve-action", parse_routes, None, text)
    text = "nodes of the dataflow whose parameters are offered, with blanks between them"
    add_option(parser, environ, "--parameters", str.split, None, text)
    text = "zenoh, or rclpy: the installed ROS, for robots with DDS; auto: rclpy if it is there"
    transport = one_of("zenoh", "rclpy", "auto")
    add_option(parser, environ, "--transport", transport, "zenoh", text)
    text = "configuration of zenoh's session, in the place of --router"
    add_option(parser, environ, "--zenoh-config", file_path, None, text)
    add_option(parser, environ, "--router", str, _ROUTER, "where the router of zenoh is")
    text = "be the router there, for robots that have none"
    add_switch(parser, environ, "--start-router", text, from_outside=False)
    text = (
        "let zenoh use shared memory, for a robot that is this machine; a kill leaves some behind"
    )
    add_switch(parser, environ, "--shared-memory", text)
    text = "domain of ROS"
    domain = whole_number(0, 232)
    default = _domain_of_ros(parser, environ)
    add_option(parser, environ, "--domain", domain, default, f"{text}; else ROS_DOMAIN_ID")
    text = "namespace of the node, before relative names"
    add_option(parser, environ, "--namespace", _namespace, "/", text)
    text = "name of the node in ROS; else its id"
    add_option(parser, environ, "--name", _node_name, None, text)
    text = "release of the robot's ROS; only humble differs"
    add_option(parser, environ, "--distro", one_of(*_DISTROS), "jazzy", text)
    text = "folder with texts of messages, FOLDER/PACKAGE/msg/NAME.msg, before those of dora_rt"
    add_option(parser, environ, "--interfaces", file_path, None, text)
    return parser.parse_args(argv)


def _make_bridges(
    node: Node, options: argparse.Namespace, stack: contextlib.ExitStack
) -> list[Bridge]:
    """Make the exchanges of the node's routes, and those of other nodes' parameters.

    Raises:
        DoraRtError: they do not fit the dataflow file, or a type is not known.
    """
    from .interfaces import Interfaces
    from .ros_entities import Identity
    from .topics import RouteError

    has_routes = any(getattr(options, name) for name in _ROUTE_OPTIONS)
    if not has_routes and not options.parameters:
        raise RouteError(
            f"node '{node.id()}' has no routes, and so nothing to do; in the dataflow file write "
            "at this node: args: --publish image=/camera/image:sensor_msgs/Image"
        )
    folders = [options.interfaces] if options.interfaces else []
    interfaces = Interfaces([*folders, *_folders_of_ros(os.environ)])
    identity = Identity(_name_in_ros(options.name or node.id()), options.namespace, options.domain)
    bridges = [_make_bridge(node, options, identity, interfaces)] if has_routes else []
    if options.parameters:
        taken = {identity.name} if has_routes else set()
        bridges += _offer_parameters(node, options, interfaces, taken, stack)
    return bridges


def _make_bridge(
    node: Node, options: argparse.Namespace, identity: Identity, interfaces: Interfaces
) -> Bridge:
    """Make topics of the routes.

    Raises:
        DoraRtError: they do not fit the dataflow file, or a type is not known.
    """
    from .action_exchange import CalledAction, ServedAction
    from .bridge import Bridge, Exchange
    from .ros_entities import Role
    from .service_exchange import CalledService, ServedService
    from .topic_exchange import Publication, Subscription
    from .topics import Queue, TopicMaker

    routes = {name: getattr(options, name) or [] for name in _ROUTE_OPTIONS}
    _check_ports(node, options)
    maker = TopicMaker(identity, interfaces, has_hashes=options.distro != "humble")
    inputs = {name: Queue.of([queue]) for name, queue in node.input_queues().items()}
    outputs = {name: Queue.of(queues) for name, queues in node.output_queues().items()}
    exchanges: list[Exchange] = []
    latched = node.latched_inputs()
    for route in routes["publish"]:
        if route.port in latched:
            route = route.latched()
        queue = inputs.get(route.port, Queue())
        exchanges.append(Publication(maker.make(route, Role.PUBLISHER, queue)))
    for route in routes["subscribe"]:
        topic = maker.make(route, Role.SUBSCRIPTION, outputs[route.port])
        exchanges.append(Subscription(topic))
    for route in routes["call"]:
        exchanges.append(CalledService(maker.make_service(route, Role.CLIENT)))
    for route in routes["serve"]:
        exchanges.append(ServedService(maker.make_service(route, Role.SERVER)))
    for route in routes["call_action"]:
        action = maker.make_action(route, is_served=False, ports=node.output_ids())
        exchanges.append(CalledAction(action))
    for route in routes["serve_action"]:
        action = maker.make_action(route, is_served=True, ports=node.output_ids())
        exchanges.append(ServedAction(action))
    return Bridge(node, exchanges, _connector(options, identity))


def _offer_parameters(
    node: Node,
    options: argparse.Namespace,
    interfaces: Interfaces,
    taken: set[str],
    stack: contextlib.ExitStack,
) -> list[Bridge]:
    """Make a node of ROS for each node whose parameters are offered.

    Raises:
        RouteError: the dataflow has no such node, or two would be called the same in ROS.
    """
    from dora_rt.live.run_parameters import RunParameters

    from .bridge import Bridge
    from .parameter_services import ParameterServices, ParametersOfNode
    from .ros_entities import Identity
    from .topics import RouteError, TopicMaker

    run = RunParameters.of(node)
    stack.callback(run.close)
    bridges = []
    for one in options.parameters:
        _check_node(run, one)
        identity = Identity(_name_in_ros(one), options.namespace, options.domain)
        if identity.name in taken:
            raise RouteError(
                f"--parameters {one}: there is a node {identity.full_name} in ROS already; give "
                "this one another name with --name"
            )
        taken.add(identity.name)
        maker = TopicMaker(identity, interfaces, has_hashes=options.distro != "humble")
        services = ParameterServices(identity.full_name, maker, ParametersOfNode(run, one))
        title = partial(_parameters_title, one)
        bridges.append(Bridge(node, [services], _connector(options, identity), title))
    return bridges


def _check_node(run: RunParameters, node: str) -> None:
    """Check that there is a node, as far as that can be known here.

    Raises:
        RouteError: there is none; on several machines, another one may still have it.
        LauncherSilentError: the launcher does not answer.
    """
    from .topics import RouteError

    try:
        run.read(node)
    except ParameterRefusedError as error:
        if not run.has_other_machines():
            raise RouteError(f"--parameters {node}: {error}") from error
        logger.warning("--parameters %s: %s", node, error)


def _connector(options: argparse.Namespace, identity: Identity) -> Callable[[], Transport]:
    from .rclpy_transport import RclpyTransport
    from .zenoh_transport import ZenohTransport

    if options.transport == "rclpy":
        return partial(RclpyTransport.open, identity)
    return partial(
        ZenohTransport.open,
        options.router,
        identity,
        options.zenoh_config,
        shares_memory=options.shared_memory,
    )


def _parameters_title(node: str, _: int, received: int) -> str:
    return f"parameters of {node}: {received} requests"


def _name_in_ros(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def _found_transport() -> str:
    """Return the transport that works here."""
    from .rclpy_transport import import_rclpy

    try:
        import_rclpy()
    except ExtraMissingError as error:
        logger.info("by zenoh, since rclpy is not there (%s)", error.__cause__)
        return "zenoh"
    return "rclpy"


def _check_ports(node: Node, options: argparse.Namespace) -> None:
    """Compare the routes with the ports of the dataflow file.

    Raises:
        RouteError: a route has no port, or two have the same.
    """
    from .action_exchange import port_of_action
    from .topics import check_ports

    def ports(*names: str) -> list[str]:
        return [route.port for name in names for route in getattr(options, name) or []]

    def parts(name: str, *of_action: str) -> list[str]:
        return [port_of_action(port, part) for port in ports(name) for part in of_action]

    services = [route for name in ("call", "serve") for route in getattr(options, name) or []]
    asked, answered = ([route.ports[end] for route in services] for end in (0, 1))
    called, served = parts("call_action", "cancel"), parts("serve_action", "feedback")
    goals, results = parts("call_action", "goal"), parts("serve_action", "result")
    needed = [*ports("publish"), *asked, *goals, *results]
    check_ports(node.id(), "input", needed, [*called, *served], node.input_ids())
    called, served = parts("call_action", "feedback"), parts("serve_action", "cancel")
    results, goals = parts("call_action", "result"), parts("serve_action", "goal")
    needed = [*ports("subscribe"), *answered, *results, *goals]
    check_ports(node.id(), "output", needed, [*called, *served], node.output_ids())


def _folders_of_ros(environ: Mapping[str, str]) -> list[Path]:
    """Return where a ROS that the shell has sourced keeps its texts."""
    prefixes = filter(None, environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
    return [Path(prefix) / "share" for prefix in prefixes]


def _domain_of_ros(parser: NodeParser, environ: Mapping[str, str]) -> int:
    text = environ.get("ROS_DOMAIN_ID", "").strip() or "0"
    try:
        return whole_number(0, 232)(text)
    except argparse.ArgumentTypeError as error:
        parser.error(f"environment variable ROS_DOMAIN_ID={text}: {error}")


def _namespace(text: str) -> str:
    if re.fullmatch(r"/|(/[A-Za-z_]\w*)+", text, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no namespace as / or /robot1")
    return text


def _node_name(text: str) -> str:
    if re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no name of a node: letters, digits and _")
    return text
