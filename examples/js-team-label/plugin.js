// Gives every pod the label `team`.
//
// The shapes of all values are those of `wit/types.wit`, with names in camelCase: a record is an object, a
// variant is `{ tag, val }`, an enum is its name, a `result` returns its value or throws its error.

import log from "weft:mapping/log@0.1.0";

const POD = { group: "", version: "v1", kind: "Pod" };

// A valid label value; at most 63 characters.
const LABEL_VALUE = /^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$/;

// Set by `configure`, which is called first in each instance.
let team;

export const plugin = {
  describe() {
    return {
      name: "js-team-label",
      version: "0.1.0",
      summary: "Gives every pod the label `team`.",
      mappings: [
        {
          kind: POD,
          plural: "pods",
          // After weft's own rule for pods, and after mutations with lower numbers.
          role: { tag: "mutate", val: 100 },
          directions: { toHost: true },
          // The rule reads the draft only; other inputs would be copied for every call.
          inputs: {},
          selection: "all",
          references: [],
          selectors: [],
          // Fields to change beside labels and annotations.
          hostWrites: [],
          virtualWrites: [],
          installDefinition: false,
          extra: [],
        },
      ],
      lookups: [],
      settingsSchema: JSON.stringify({
        type: "object",
        properties: {
          team: { type: "string", default: "none", description: "The value of the label." },
        },
        additionalProperties: false,
      }),
      usesTime: false,
      extra: [],
    };
  },

  configure(settings) {
    const problems = attempt(() => takeSettings(JSON.parse(settings)));
    if (problems.length > 0) {
      throw problems;
    }
  },
};

export const mapper = {
  toHost(request) {
    return attempt(() => apply(label(JSON.parse(request.draft))));
  },

  // Never called, because the mapping does not request it; but the world requires the export.
  toVirtual() {
    return apply({ tag: "unchanged" });
  },
};

function takeSettings(settings) {
  // A default in a schema is documentation only; weft does not fill it in.
  team = settings.team ?? "none";
  if (team.length <= 63 && LABEL_VALUE.test(team)) {
    return [];
  }
  const message =
    `${JSON.stringify(team)} is not a label value: use at most 63 letters, digits, "-", "_" and ".", ` +
    "with a letter or digit at both ends";
  return [{ reason: "BadTeam", message, field: "/team" }];
}

function label(draft) {
  const labels = draft.metadata.labels;
  if (labels?.team === team) {
    return { tag: "unchanged" };
  }
  // A patch has only the changes, so the rest of the draft is not serialised again. It cannot add a key to a map
  // that is missing.
  const change = labels
    ? { op: "add", path: "/metadata/labels/team", value: team }
    : { op: "add", path: "/metadata/labels", value: { team } };
  return { tag: "patch", val: JSON.stringify([change]) };
}

// An exception ends the call, and weft rolls back a new version whose first calls fail. A `throw` that leaves the
// component carries no message, so the error and its location are logged first.
function attempt(work) {
  try {
    return work();
  } catch (error) {
    const place = String(error?.stack ?? "").trim().split("\n")[0].trim();
    log.write("error", `${error} ${place}`.trim(), []);
    throw error;
  }
}

function apply(edit) {
  return outcome({ tag: "apply", val: edit });
}

function outcome(verdict) {
  return { verdict, events: [], conditions: [], extra: [] };
}
