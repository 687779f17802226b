import {
  BrinkError,
  type Configuration,
  DiscoveredSchema,
  type FleetStatus,
  FleetStatusSchema,
  type GatewayReport,
  ModelPolicySchema,
  NameSchema,
  PipelineCountsSchema,
  RuleArmingSchema,
  RuleKeyStateSchema,
  RuleSchema,
  StreamCountsSchema,
  StreamSchema,
  TargetSchema,
  underName,
} from '@brink/protocol';
import { z } from 'zod';
import type { ModelsOnDisk } from '../../configuration/crosschecks.ts';
import type { LedgerReads } from '../../ledger/records.ts';
import { type App, problems } from '../app.ts';
import { tagged } from '../editing.ts';
import { listOf } from '../query.ts';

// What the configuration names: each item is its name, its configuration, and how it is doing.

const StreamItem = StreamSchema.extend({
  name: NameSchema,
  counts: z.array(StreamCountsSchema),
  pipeline_counts: z.array(PipelineCountsSchema),
});
const RuleItem = RuleSchema.safeExtend({
  name: NameSchema,
  arming: RuleArmingSchema,
  keys: z.array(RuleKeyStateSchema),
  errors: z.number().int(),
  last_error: z.string().optional(),
});
const named = { name: NameSchema };
const [WebhookTarget, NtfyTarget, GotifyTarget] = TargetSchema.options;
const TargetItem = z.union([WebhookTarget.extend(named), NtfyTarget.extend(named), GotifyTarget.extend(named)]);
const Running = FleetStatusSchema.shape.models.unwrap().element.omit({ name: true }).extend({ instance: NameSchema });
const ModelItem = ModelPolicySchema.extend({
  name: NameSchema,
  versions: z
    .array(z.number().int())
    .describe('that are in the models folder; which of them are loaded is in the configuration'),
  running: z.array(Running).describe('what inference says of it'),
});

export interface CatalogueDeps {
  readonly configuration: () => Configuration;
  readonly revision: () => string;
  readonly reports: () => readonly GatewayReport[];
  readonly services: () => readonly FleetStatus[];
  readonly models: () => Promise<ModelsOnDisk>;
  readonly read: LedgerReads;
}

interface Kind {
  readonly path: string;
  readonly one: string;
  readonly item: z.ZodType<{ name: string }>;
  list(): Promise<{ name: string }[]>;
}

export function addCatalogue(app: App, d: CatalogueDeps): void {
  addKind(app, d, { path: 'streams', one: 'stream', item: StreamItem, list: () => Promise.resolve(streams(d)) });
  addKind(app, d, { path: 'rules', one: 'rule', item: RuleItem, list: () => rules(d) });
  addKind(app, d, { path: 'models', one: 'model', item: ModelItem, list: () => models(d) });
  addKind(app, d, { path: 'targets', one: 'target', item: TargetItem, list: () => Promise.resolve(targets(d)) });
  app.get(
    '/v1/discovered',
    {
      schema: {
        summary: 'Frames that no stream takes, with the configuration to paste',
        tags: ['streams'],
        response: { 200: listOf(DiscoveredSchema), ...problems },
      },
    },
    () => ({ items: d.reports().flatMap(({ discovered }) => discovered) }),
  );
}

function addKind(app: App, d: CatalogueDeps, kind: Kind): void {
  const tags = [kind.path];
  app.get(
    `/v1/${kind.path}`,
    { schema: { summary: `All ${kind.path}`, tags, response: { 200: listOf(kind.item), ...problems } } },
    async () => ({ items: await kind.list() }),
  );
  app.get(
    `/v1/${kind.path}/:name`,
    {
      schema: {
        summary: `One ${kind.one}`,
        tags,
        params: z.strictObject({ name: NameSchema }),
        response: { 200: kind.item, ...problems },
      },
    },
    async ({ params: { name } }, reply) => {
      const item = (await kind.list()).find((one) => one.name === name);
      if (item === undefined) throw new BrinkError('E_NOT_FOUND', `there is no ${kind.one} "${name}"`);
      // Its configuration is a part of the whole, and an edit of it is judged by the whole's revision.
      tagged(reply, d.revision());
      return item;
    },
  );
}

function streams(d: CatalogueDeps): z.infer<typeof StreamItem>[] {
  const reports = d.reports();
  return Object.entries(d.configuration().streams).map(([name, stream]) => ({
    name,
    ...stream,
    counts: reports.flatMap((report) => report.streams.filter((counts) => counts.stream === name)),
    pipeline_counts: reports.flatMap((report) =>
      report.pipelines.filter((counts) => Object.hasOwn(stream.pipelines, counts.pipeline)),
    ),
  }));
}

/** Their secrets are files; here they are only named. */
const targets = (d: CatalogueDeps): z.infer<typeof TargetItem>[] =>
  Object.entries(d.configuration().targets).map(([name, target]) => ({ ...target, name }));

const ARMED = { state: 'armed' } as const;

async function rules(d: CatalogueDeps): Promise<z.infer<typeof RuleItem>[]> {
  const states = new Map((await d.read.ruleStates()).map((state) => [state.rule, state]));
  return Object.entries(d.configuration().rules).map(([name, rule]) => {
    const { arming = ARMED, keys = [], errors = 0, last_error } = states.get(name) ?? {};
    return { name, ...rule, arming, keys, errors, ...(last_error === undefined ? {} : { last_error }) };
  });
}

async function models(d: CatalogueDeps): Promise<z.infer<typeof ModelItem>[]> {
  const { all } = await d.models();
  const configured = d.configuration().models;
  const running = d
    .services()
    .flatMap(({ instance, models: said = [] }) => said.map((model) => ({ ...model, instance })));
  return [...all].map(([name, found]) => ({
    name,
    ...(underName(configured, name) ?? ModelPolicySchema.parse({})),
    versions: [...found],
    running: running.filter((model) => model.name === name).map(({ name: _, ...rest }) => rest),
  }));
}
