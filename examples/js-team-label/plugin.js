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
          // Labels can always be changed; nothing else is.
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
    const problems = attempt(
      () => takeSettings(JSON.parse(settings)),
      (problem) => [problem],
    );
    if (problems.length > 0) {
      throw problems;
    }
  },
};

export const mapper = {
  toHost(request) {
    return attempt(
      () => apply(label(JSON.parse(request.draft))),
      (problem) => outcome({ tag: "fail", val: problem }),
    );
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
  return [{ reason: "BadTeam", message, at: "/team" }];
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

// An error that leaves the component only says that it trapped. As a problem it can be read where the plugin is
// used, and the log has the place in this file.
function attempt(work, otherwise) {
  try {
    return work();
  } catch (error) {
    const message = String(error);
    log.write("error", message, [["stack", String(error?.stack)]]);
    return otherwise({ reason: "PluginError", message, at: null });
  }
}

function apply(edit) {
  return outcome({ tag: "apply", val: edit });
}

function outcome(verdict) {
  return { verdict, events: [], conditions: [], extra: [] };
}
