"""Gives every pod the label `team`.

The shapes of all values are those of `wit/types.wit`: a record is a data class, the case `apply` of the variant
`verdict` is `Verdict_Apply`, an enum and flags are those of Python, and a `result` returns its value or raises
`Err`. `componentize-py --wit-path ../../wit --world mapping-plugin bindings <folder>` writes them to files for an editor.
"""

# Import all modules here: at run time there are no files to load a module from.
import json
import re
import traceback
from collections.abc import Callable

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import log
from wit_world.imports.types import (
    Descriptor,
    Directions,
    Edit,
    Edit_Patch,
    Edit_Unchanged,
    Inputs,
    Kind,
    Mapping,
    Outcome,
    Problem,
    Role_Mutate,
    Selection,
    Verdict,
    Verdict_Apply,
)

POD = Kind(group="", version="v1", kind="Pod")

# A valid label value; at most 63 characters.
LABEL_VALUE = re.compile("([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?")

# Set by `configure`, which is called first in each instance.
team = ""


class Plugin(exports.Plugin):
    def describe(self) -> Descriptor:
        return Descriptor(
            name="python-team-label",
            version="0.1.0",
            summary="Gives every pod the label `team`.",
            mappings=[
                Mapping(
                    kind=POD,
                    plural="pods",
                    # After weft's own rule for pods, and after mutations with lower numbers.
                    role=Role_Mutate(100),
                    directions=Directions.TO_HOST,
                    # The rule reads the draft only; other inputs would be copied for every call.
                    inputs=Inputs(0),
                    selection=Selection.ALL,
                    references=[],
                    selectors=[],
                    # Fields to change beside labels and annotations.
                    host_writes=[],
                    virtual_writes=[],
                    install_definition=False,
                    extra=[],
                )
            ],
            lookups=[],
            settings_schema=json.dumps(
                {
                    "type": "object",
                    "properties": {
                        "team": {"type": "string", "default": "none", "description": "The value of the label."}
                    },
                    "additionalProperties": False,
                }
            ),
            uses_time=False,
            extra=[],
        )

    def configure(self, settings: str) -> None:
        problems = attempt(lambda: take_settings(json.loads(settings)))
        if problems:
            raise Err(problems)


class Mapper(exports.Mapper):
    def to_host(self, request: exports.mapper.Request) -> Outcome:
        return attempt(lambda: apply(label(json.loads(request.draft))))

    def to_virtual(self, request: exports.mapper.Request) -> Outcome:
        # Never called, because the mapping does not request it; but the world requires the export.
        return apply(Edit_Unchanged())


def take_settings(settings: dict[str, str]) -> list[Problem]:
    global team
    # A default in a schema is documentation only; weft does not fill it in.
    team = settings.get("team", "none")
    if len(team) <= 63 and LABEL_VALUE.fullmatch(team):
        return []
    message = (
        f"{json.dumps(team)} is not a label value: use at most 63 letters, digits, "
        '"-", "_" and ".", with a letter or digit at both ends'
    )
    return [Problem(reason="BadTeam", message=message, field="/team")]


def label(draft: dict) -> Edit:
    labels = draft["metadata"].get("labels")
    if labels is not None and labels.get("team") == team:
        return Edit_Unchanged()
    # A patch has only the changes, so the rest of the draft is not serialised again. It cannot add a key to a map
    # that is missing.
    if labels is None:
        change = {"op": "add", "path": "/metadata/labels", "value": {"team": team}}
    else:
        change = {"op": "add", "path": "/metadata/labels/team", "value": team}
    return Edit_Patch(json.dumps([change]))


def attempt[T](work: Callable[[], T]) -> T:
    """An exception ends the call, and weft rolls back a new version whose first calls fail. An exception that leaves
    the component carries no message, so the error and its location are logged first."""
    try:
        return work()
    except Exception as error:
        # `traceback.format_exc` would look for the source files, and there are none.
        frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
        place = f"{frame.f_code.co_qualname}, line {line}"
        log.write(log.Level.ERROR, f"{type(error).__name__}: {error} at {place}", [])
        raise


def apply(edit: Edit) -> Outcome:
    return outcome(Verdict_Apply(edit))


def outcome(verdict: Verdict) -> Outcome:
    return Outcome(verdict=verdict, events=[], conditions=[], extra=[])
