// Gives every pod the label `team`.
//
// The shapes of all values are those of `wit/types.wit`, with names in camelCase: a record is an object, a
// variant is `{ tag, val }`, an enum is its name, a `result` returns its value or throws its error.

import log from "weft:mapping/log@0.1.0";

const POD = { group: "", version: "v1", kind: "Pod" };

// What Kubernetes takes as the value of a label; 63 characters at most.
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
          // The draft is all that is read; what is not asked for need not be copied.
          inputs: {},
          selection: "all",
          references: [],
          selectors: [],
          // Labels and annotations can always be changed; beside them, what is named here, or `/spec` and `/data`.
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

  // Never called, because `describe` does not ask for it; but the world has it, so it has to be there.
  toVirtual() {
    return apply({ tag: "unchanged" });
  },
};

function takeSettings(settings) {
  // A default in a schema is there for people to read: nobody fills it in.
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
  // A patch says only what is different, so the rest of the draft need not be written out again. It cannot add
  // to a map that is not there.
  const change = labels
    ? { op: "add", path: "/metadata/labels/team", value: team }
    : { op: "add", path: "/metadata/labels", value: { team } };
  return { tag: "patch", val: JSON.stringify([change]) };
}

// A mistake ends the call, and a version that makes it on its first objects is put back. What leaves the component
// by `throw` says no more than that, so what went wrong, and where, is written to the log before.
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
