import {
  type ActionConfig,
  ConfigurationSchema,
  checkForeignTopics,
  type Detector,
  detectorMisfit,
  foreignTopicProblem,
  type ModelNeeds,
  ModelPolicySchema,
  misfitOf,
  parseForeignTopic,
  type RuleConfig,
  RuleSchema,
  type StreamConfig,
  StreamSchema,
  streamProblems,
} from '@brink/protocol';
import { problemAt } from './issues.ts';
import { checkRecords } from './keeping.ts';
import { type ConfigPath, type ConfigProblem, describeFound, didYouMean } from './problems.ts';
import { isRecord, type Merged } from './sources.ts';
import { checkTargets } from './targets.ts';

/** What the models folder holds. */
export interface ModelsOnDisk {
  /** Where it was looked, for messages. */
  readonly dir: string;
  /** Those with a passport: pipelines can name them. */
  readonly versions: ReadonlyMap<string, readonly number[]>;
  /** Those too that are a model.onnx alone, which only the Open Inference Protocol reaches. */
  readonly all: ReadonlyMap<string, readonly number[]>;
  /** By `<name>/<version>`: what those with a passport that can be read are fed with. */
  readonly needs?: ReadonlyMap<string, ModelNeeds>;
  /** By the same: whether what they find can be masked. */
  readonly detectors?: ReadonlyMap<string, Detector>;
}

/** One thing that is wrong inside a rule, as `checkRules` of @brink/rules says it. */
interface RuleFinding {
  /** From the root of the configuration. */
  readonly path: ConfigPath;
  /** From 1, within the text at `path`. */
  readonly column?: number;
  readonly found: string;
  readonly detail: string;
  /** Where it is no condition or template that is wrong. */
  readonly expected?: string;
}
/** Compiles every condition and template, and runs the tests of rules. */
export type CheckRules = (
  rules: Readonly<Record<string, RuleConfig>>,
  context: {
    readonly pipelines: readonly string[];
    readonly mqttAllow: readonly string[];
    readonly timezone: string;
    /** By pipeline: of its stream. */
    readonly zones: Readonly<Record<string, StreamConfig['zones']>>;
    readonly streams: Readonly<Record<string, string>>;
  },
) => RuleFinding[];

/** Control's own level in the topic tree: `brink/fleet/…`. */
const RESERVED_DEVICE = 'fleet';

/**
 * What no schema sees: whether names that are used exist, once, and whether conditions compile. Entries that the schema
 * refused are left out, so that every other problem is reported in the same run.
 */
export function crossCheck(merged: Merged, models: ModelsOnDisk, checkRules: CheckRules): ConfigProblem[] {
  const streams = validEntries(merged.value.streams, StreamSchema);
  const rules = validEntries(merged.value.rules, RuleSchema);
  return [
    ...checkStreams(streams, merged),
    ...checkPipelineNames(merged),
    ...checkTopics(streams, merged),
    ...checkModels(streams, models, merged),
    ...checkFits(streams, models, merged),
    ...checkDetectors(streams, models, merged),
    ...checkRuleNames(rules, merged),
    ...checkActions(rules, merged),
    ...checkLoops(streams, rules, merged),
    ...checkTargets(rules, merged),
    ...checkRecords(rules, streams, merged),
    ...checkConditions(rules, streams, merged, checkRules),
  ];
}

function checkConditions(
  rules: Record<string, RuleConfig>,
  streams: Record<string, StreamConfig>,
  merged: Merged,
  checkRules: CheckRules,
): ConfigProblem[] {
  // Names and topics were looked at above, with better hints: here every one of them is as it should be.
  const pipelines = Object.values(rules).flatMap(({ on }) => on);
  const site = ConfigurationSchema.shape.site.safeParse(merged.value.site ?? undefined);
  const of = Object.entries(streams).flatMap(([name, stream]) =>
    Object.keys(stream.pipelines).map((pipeline) => ({ pipeline, name, zones: stream.zones })),
  );
  const context = {
    ...{ pipelines, mqttAllow: [''], timezone: site.success ? site.data.timezone : 'UTC' },
    zones: Object.fromEntries(of.map(({ pipeline, zones }) => [pipeline, zones])),
    streams: Object.fromEntries(of.map(({ pipeline, name }) => [pipeline, name])),
  };
  return checkRules(rules, context).map(({ path, column, found, detail, expected }) => ({
    ...problemAt(path, merged, {
      found: expected === undefined ? clipText(found) : found,
      expected: expected ?? `a condition or template that compiles: ${detail}`,
    }),
    ...(column === undefined ? {} : merged.locateInText(path, column)),
  }));
}

const clipText = (text: string) => (text.length > 80 ? `${text.slice(0, 80)}…` : text);

function validEntries<T>(
  section: unknown,
  schema: { safeParse(value: unknown): { success: boolean; data?: T } },
): Record<string, T> {
  const valid: Record<string, T> = {};
  if (!isRecord(section)) return valid;
  for (const [name, entry] of Object.entries(section)) {
    const parsed = schema.safeParse(entry);
    if (parsed.success && parsed.data !== undefined) valid[name] = parsed.data;
  }
  return valid;
}

function checkStreams(streams: Record<string, StreamConfig>, merged: Merged): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  for (const [name, stream] of Object.entries(streams)) {
    const path = ['streams', name];
    if (stream.devices === RESERVED_DEVICE) {
      const expected = 'another name: brink/fleet/… belongs to the services';
      problems.push(problemAt([...path, 'devices'], merged, { found: `"${RESERVED_DEVICE}"`, expected }));
    }
    if (Object.keys(stream.pipelines).length === 0) {
      problems.push(
        problemAt([...path, 'pipelines'], merged, { found: 'an empty mapping', expected: 'at least one pipeline' }),
      );
    }
    for (const { path: under, found, expected } of streamProblems(stream)) {
      problems.push(problemAt([...path, ...under], merged, { found, expected }));
    }
  }
  return problems;
}

/** Whether a message can be of two streams, or of none that the gateway may hear. */
function checkTopics(streams: Record<string, StreamConfig>, merged: Merged): ConfigProblem[] {
  return checkForeignTopics(streams).map(({ stream, index, expected }) =>
    problemAt(['streams', stream, 'topics', index], merged, {
      found: describeFound(streams[stream]?.topics[index]),
      expected,
    }),
  );
}

/** Pipeline names stand in decision ids and rules without their stream: each once in the site. */
function checkPipelineNames(merged: Merged): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const first = new Map<string, ConfigPath>();
  for (const { name, path } of pipelinesOf(merged)) {
    const other = first.get(name);
    if (other === undefined) {
      first.set(name, path);
      continue;
    }
    const there = merged.locate(other, 'key');
    problems.push(
      problemAt(path, merged, {
        what: 'key',
        found: `the pipeline name "${name}" a second time`,
        expected: `names that are unique in the site; it is also in ${there.file}:${there.line}:${there.column}`,
      }),
    );
  }
  return problems;
}

function pipelinesOf(merged: Merged): { name: string; path: ConfigPath }[] {
  const { streams } = merged.value;
  if (!isRecord(streams)) return [];
  return Object.entries(streams).flatMap(([stream, entry]) => {
    const pipelines = isRecord(entry) && isRecord(entry.pipelines) ? entry.pipelines : {};
    return Object.keys(pipelines).map((name) => ({ name, path: ['streams', stream, 'pipelines', name] }));
  });
}

function checkModels(streams: Record<string, StreamConfig>, models: ModelsOnDisk, merged: Merged): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const missing = (path: ConfigPath, name: string, there: ModelsOnDisk['all'], file: string, what?: 'key'): void => {
    if (there.has(name)) return;
    problems.push(
      problemAt(path, merged, {
        ...(what === undefined ? {} : { what }),
        found: `the model "${name}", of which there is no ${models.dir}/${name}/<version>/${file}`,
        expected:
          there.size === 0 ? `a model in ${models.dir}, which has none` : `one of ${[...there.keys()].join(', ')}`,
        hint: didYouMean(name, there.keys()),
        absent: true,
      }),
    );
  };
  for (const [stream, { pipelines, mask }] of Object.entries(streams)) {
    for (const [i, one] of mask.entries()) {
      if (!('faces' in one)) continue;
      missing(['streams', stream, 'mask', i, 'faces', 'model'], one.faces.model, models.versions, 'model.json');
    }
    for (const [pipeline, { model }] of Object.entries(pipelines)) {
      missing(['streams', stream, 'pipelines', pipeline, 'model'], model, models.versions, 'model.json');
    }
  }
  for (const [name, policy] of Object.entries(validEntries(merged.value.models, ModelPolicySchema))) {
    missing(['models', name], name, models.all, 'model.json or model.onnx', 'key');
    const versions = models.all.get(name);
    if (policy.serve === undefined || versions === undefined || versions.includes(policy.serve)) continue;
    problems.push(
      problemAt(['models', name, 'serve'], merged, {
        found: `version ${policy.serve}, of which there is no ${models.dir}/${name}/${policy.serve}/`,
        expected: `one of ${versions.join(', ')}`,
        example: `serve: ${versions.at(-1)}`,
        absent: true,
      }),
    );
  }
  return problems;
}

/** Whether the frames of a stream can become what the model takes, as far as its passport says. */
function checkFits(streams: Record<string, StreamConfig>, models: ModelsOnDisk, merged: Merged): ConfigProblem[] {
  const policies = validEntries(merged.value.models, ModelPolicySchema);
  return Object.entries(streams).flatMap(([stream, config]) =>
    Object.entries(config.pipelines).flatMap(([pipeline, { model }]) => {
      const version = policies[model]?.serve ?? models.versions.get(model)?.at(-1);
      const needs = models.needs?.get(`${model}/${version}`);
      const why = needs === undefined ? undefined : misfitOf(config, needs);
      if (needs === undefined || why === undefined) return [];
      const found = `the model "${model}" (version ${version}): ${why}`;
      const expected = `a model for format: ${config.format}`;
      return [problemAt(['streams', stream, 'pipelines', pipeline, 'model'], merged, { found, expected })];
    }),
  );
}

/** Whether the detector of a mask can mask: where it cannot, no picture of the stream would ever go on. */
function checkDetectors(streams: Record<string, StreamConfig>, models: ModelsOnDisk, merged: Merged): ConfigProblem[] {
  const policies = validEntries(merged.value.models, ModelPolicySchema);
  return Object.entries(streams).flatMap(([stream, { mask }]) =>
    mask.flatMap((one, i) => {
      if (!('faces' in one)) return [];
      const { model, score_min: scoreMin } = one.faces;
      const version = policies[model]?.serve ?? models.versions.get(model)?.at(-1);
      const detector = models.detectors?.get(`${model}/${version}`);
      const misfit = detector && detectorMisfit(detector, scoreMin);
      if (misfit === undefined) return [];
      const { key, expected } = misfit;
      const found = `the model "${model}" (version ${version}): ${misfit.found}`;
      return [problemAt(['streams', stream, 'mask', i, 'faces', key], merged, { found, expected })];
    }),
  );
}

function checkRuleNames(rules: Record<string, RuleConfig>, merged: Merged): ConfigProblem[] {
  const pipelines = new Set(pipelinesOf(merged).map(({ name }) => name));
  const streams = isRecord(merged.value.streams) ? Object.keys(merged.value.streams) : [];
  const expected = pipelines.size === 0 ? 'a pipeline; no stream has one' : `a pipeline: ${[...pipelines].join(', ')}`;
  const uses = Object.entries(rules).flatMap(([rule, { on }]) =>
    typeof on === 'string'
      ? [{ name: on, path: ['rules', rule, 'on'] }]
      : on.map((name, index) => ({ name, path: ['rules', rule, 'on', index] })),
  );
  return uses
    .filter(({ name }) => !pipelines.has(name))
    .map(({ name, path }) => {
      const stream = streams.includes(name) ? `"${name}" is a stream; a rule is on its pipelines` : undefined;
      return problemAt(path, merged, {
        found: `"${name}"`,
        expected,
        hint: stream ?? didYouMean(name, pipelines),
      });
    });
}

function checkActions(rules: Record<string, RuleConfig>, merged: Merged): ConfigProblem[] {
  const site = ConfigurationSchema.shape.site.safeParse(merged.value.site ?? undefined);
  const allowed = site.success ? site.data.mqtt_allow : undefined;
  return actionsOf(rules).flatMap(({ action, path }) => {
    if ('command' in action) {
      if (action.command.device !== RESERVED_DEVICE) return [];
      const expected = 'a device: brink/fleet/… belongs to the services';
      return [problemAt([...path, 'command', 'device'], merged, { found: `"${RESERVED_DEVICE}"`, expected })];
    }
    if (!('mqtt' in action)) return [];
    const { topic } = action.mqtt;
    if (allowed === undefined || allowed.some((prefix) => topic.startsWith(prefix))) return [];
    return [notAllowed([...path, 'mqtt', 'topic'], topic, allowed, merged)];
  });
}

/** What an action publishes must not come in again as a frame: a rule would feed itself. */
function checkLoops(
  streams: Record<string, StreamConfig>,
  rules: Record<string, RuleConfig>,
  merged: Merged,
): ConfigProblem[] {
  const patterns = Object.entries(streams).flatMap(([stream, { topics }]) =>
    topics
      .filter((pattern) => foreignTopicProblem(pattern) === undefined)
      .map((pattern) => ({ stream, pattern, deviceIn: parseForeignTopic(pattern).deviceIn })),
  );
  return actionsOf(rules).flatMap(({ action, path }) => {
    if (!('mqtt' in action)) return [];
    const { topic } = action.mqtt;
    const taker = patterns.find(({ deviceIn }) => deviceIn(topic) !== undefined);
    if (taker === undefined) return [];
    const found = `the topic ${describeFound(topic)}`;
    const expected = `a topic that no stream takes; streams.${taker.stream}.topics has "${taker.pattern}", which would make a frame of it`;
    return [problemAt([...path, 'mqtt', 'topic'], merged, { found, expected })];
  });
}

function actionsOf(rules: Record<string, RuleConfig>): { action: ActionConfig; path: ConfigPath }[] {
  return Object.entries(rules).flatMap(([rule, config]) =>
    (['then', 'on_release'] as const).flatMap((list) =>
      config[list].map((action, index) => ({ action, path: ['rules', rule, list, index] })),
    ),
  );
}

function notAllowed(path: ConfigPath, topic: string, allowed: readonly string[], merged: Merged): ConfigProblem {
  const prefix = topic.includes('/') ? topic.slice(0, topic.indexOf('/') + 1) : topic;
  return problemAt(path, merged, {
    found: `the topic ${describeFound(topic)}`,
    expected:
      allowed.length === 0
        ? 'a topic under a prefix that site.mqtt_allow lists, which is empty'
        : `a topic that begins with one of site.mqtt_allow: ${allowed.map((item) => `"${item}"`).join(', ')}`,
    hint: 'to allow it, add its prefix to the site',
    example: `site: { mqtt_allow: ["${prefix}"] }`,
  });
}
