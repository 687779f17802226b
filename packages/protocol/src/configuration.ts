import { z } from 'zod';
import { FOREIGN_TOPICS_MAX } from './foreign-topics.ts';
import { NameSchema } from './ids.ts';
import { DenoiseSchema, MaskSchema } from './mask.ts';
import { BetweenSchema, QuorumSchema, RuleTestSchema, ruleMisfits, ZoneSchema } from './rule-parts.ts';
import { HeartbeatSchema, NotifyActionSchema, TargetSchema, WebhookActionSchema } from './targets.ts';

// `config/*.yaml`, merged. Unknown keys are refused everywhere: a mask that is misspelt must not be a mask that is off.

export const FRAME_BYTES_MAX_DEFAULT = 1024 * 1024;
export const FRAME_BYTES_MAX = 16 * 1024 * 1024;

function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).format(0) !== '';
  } catch {
    return false;
  }
}

export const SiteSchema = z.strictObject({
  name: NameSchema.default('site').describe('of this place, in status and logs'),
  timezone: z
    .string()
    .refine(isTimeZone, { message: 'a time zone of the IANA list, as Europe/Berlin' })
    .default('UTC')
    .describe('IANA name, for times of day in rules'),
  language: z
    .string()
    .regex(/^[a-z]{2}$/, 'a two-letter language code')
    .default('en')
    .describe('of label_text'),
  join: z
    .enum(['open', 'approve'])
    .default('open')
    .describe('approve: frames of a device are refused until a person adds or approves it'),
  mqtt_allow: z.array(z.string().min(1)).default([]).describe('topic prefixes that `mqtt` actions may publish to'),
  notify: NameSchema.optional().describe('the target of `notify` actions that name none'),
  heartbeat: HeartbeatSchema.optional().describe(
    'tells an outside monitor that all is well; where it hears nothing any more, Brink is down or cannot decide',
  ),
});

export const KeepSchema = z.union([
  z.enum(['all', 'changes']),
  z.strictObject({ every_ms: z.number().int().min(1).describe('of received_at: at most one row in this time') }),
]);
export type KeepConfig = z.infer<typeof KeepSchema>;

export const PipelineSchema = z.strictObject({
  model: NameSchema.describe('a folder under models/'),
  priority: z.number().int().min(0).max(9).default(5).describe('9 first'),
  deadline_ms: z.number().int().min(1).max(60_000).optional().describe('from received_at; older units expire'),
  every_ms: z.number().int().min(1).optional().describe('at most one unit per device in this time; others are dropped'),
  keep: KeepSchema.default('all').describe(
    'which decisions stay in the ledger. changes: where the outcome, the label or how many objects there are of a label differs from the one before of the same device. Rules, counts, sums and the feed know every decision; what an action refers to stays always',
  ),
});
export type PipelineConfig = z.infer<typeof PipelineSchema>;

const Rate = z.number().positive().max(384_000);

const AudioStreamSchema = z.strictObject({
  encoding: z
    .enum(['wav', 's16le', 'f32le'])
    .default('wav')
    .describe('wav: every frame a whole WAV file; s16le, f32le: samples and nothing else, as ffmpeg calls them'),
  rate_hz: Rate.optional().describe('of raw samples; default: that of the model. WAV says its own'),
  channels: z
    .number()
    .int()
    .min(1)
    .max(64)
    .default(1)
    .describe('of raw samples, which lie side by side; what is heard is their mean'),
});

const SignalStreamSchema = z.strictObject({
  encoding: z
    .enum(['json', 'cbor', 'csv', 'f32le', 's16le'])
    .default('json')
    .describe('f32le, s16le: samples and nothing else, the fields of one moment side by side'),
  fields: z
    .array(
      z
        .string()
        .max(128)
        .regex(/^[^=]+(=[^=]+)?$/, 'a field, as temperature, or a channel and where it stands, as power=ENERGY.Power'),
    )
    .min(1)
    .max(256)
    .describe(
      'names of the channels; of raw samples and of CSV without a line of names: their order; power=ENERGY.Power: the channel power, which stands in an inner value',
    ),
  rate_hz: Rate.optional().describe('samples per second, where the frame does not say it; default: that of the model'),
});

export const StreamSchema = z.strictObject({
  devices: z.string().default('*').describe('glob over device names'),
  topics: z
    .array(z.string())
    .max(FOREIGN_TOPICS_MAX)
    .default([])
    .describe('topics of other systems whose messages are frames too: `frigate/{device}/snapshot`; `+` is any level'),
  format: z
    .enum(['image', 'audio', 'signal', 'text', 'tensor'])
    .describe('tensor: the bytes of the input tensors of the model, as its passport says, one after the other'),
  audio: AudioStreamSchema.optional().describe('of format: audio; default: WAV'),
  signal: SignalStreamSchema.optional().describe('of format: signal'),
  gap: z
    .enum(['reset', 'fill'])
    .optional()
    .describe(
      'what frames that are missing do to audio and signals: reset (default): windows begin anew with the next frame; fill: zeros, where the frame says its position (`at`)',
    ),
  delivery: z
    .enum(['latest', 'durable'])
    .default('latest')
    .describe('latest: in memory, the newest frame wins. durable: every frame is kept on disk until it is decided'),
  frame_bytes_max: z
    .number()
    .int()
    .min(1)
    .max(FRAME_BYTES_MAX)
    .default(FRAME_BYTES_MAX_DEFAULT)
    .describe('a larger frame is refused'),
  frame_age_ms_max: z
    .number()
    .int()
    .min(1)
    .default(2000)
    .describe('older at dispatch: expired; of durable streams BRINK_SPOOL_AGE_S_MAX says it'),
  zones: z
    .record(NameSchema, ZoneSchema)
    .default({})
    .describe('named polygons of the picture, corners x y of 0..1, for inZone(o, "drive") in rules'),
  mask: z
    .array(MaskSchema)
    .max(16)
    .default([])
    .describe('what nobody may see: painted black, dropped or replaced before anything is shown to a model or kept'),
  denoise: DenoiseSchema.optional().describe('of pictures, once for all models, after the mask'),
  keep_s: z
    .number()
    .min(0)
    .max(600)
    .default(0)
    .describe('the last seconds stay in memory, masked, for `record`; within BRINK_KEEP_BYTES_MAX'),
  pipelines: z.record(NameSchema, PipelineSchema).describe('what decides about the frames; names are unique in a site'),
});
export type StreamConfig = z.infer<typeof StreamSchema>;

/** Serving policy. The passport stays as it is. */
export const ModelPolicySchema = z.strictObject({
  serve: z.number().int().positive().optional().describe('version; default the highest there is'),
  versions: z
    .union([z.enum(['all', 'latest']), z.array(z.number().int().positive()).min(1).max(64)])
    .default('all')
    .describe('which versions of the folder are loaded'),
  copies: z
    .number()
    .int()
    .min(1)
    .max(64)
    .optional()
    .describe(
      'runner processes; default 1, and as many as there are run slots where the graph takes one unit at a time',
    ),
  providers: z
    .array(z.enum(['cpu', 'webgpu', 'cuda', 'tensorrt', 'coreml', 'dml']))
    .min(1)
    .max(6)
    .default(['cpu'])
    .describe('execution providers, the preferred one first'),
  strict: z.boolean().default(false).describe('fail rather than fall back to another than the first provider'),
  memory_mb_max: z
    .number()
    .int()
    .min(128)
    .max(1_000_000)
    .default(2048)
    .describe(
      'of one runner, beyond what it takes without a model (some 70 MB); what needs more is refused, a runner that takes more is ended',
    ),
  batch_wait_ms: z.number().min(0).max(1000).default(0).describe('wait this long for a fuller batch'),
  queue_max: z
    .number()
    .int()
    .min(1)
    .max(4096)
    .default(64)
    .describe('units that may wait; more are refused with E_BUSY'),
  run_ms_max: z.number().int().min(10).max(600_000).default(5000).describe('a longer run is ended with SIGKILL'),
});
export type ModelPolicy = z.infer<typeof ModelPolicySchema>;

const Args = z.record(z.string(), z.json()).default({}).describe('`${…}` in a text is CEL');

export const CommandActionSchema = z.strictObject({
  device: NameSchema.describe('who gets the command'),
  name: NameSchema.describe("the command's name, the last level of its topic"),
  args: Args,
  expires_ms: z.number().int().min(100).max(86_400_000).default(10_000).describe('not carried out after this time'),
  ack: z
    .enum(['required', 'none'])
    .default('required')
    .describe('required: sent again until it is acknowledged or expires'),
});
export const MqttActionSchema = z.strictObject({
  topic: z
    .string()
    .min(1)
    .max(256)
    .regex(/^[^+#\0$][^+#\0]*$/, 'a topic without wildcards, not beginning with $'),
  payload: z.json(),
  retain: z.boolean().default(false),
  expires_ms: z.number().int().min(100).max(86_400_000).default(10_000),
});
export const RecordActionSchema = z.strictObject({
  before_ms: z.number().int().min(0).max(600_000).default(5000).describe('of the stream, as far as keep_s reaches'),
  after_ms: z.number().int().min(0).max(600_000).default(5000),
});
export const ActionSchema = z.union([
  z.strictObject({ command: CommandActionSchema }),
  z.strictObject({ mqtt: MqttActionSchema }),
  z.strictObject({ webhook: WebhookActionSchema }),
  z.strictObject({ notify: NotifyActionSchema }),
  z.strictObject({ record: RecordActionSchema }),
]);
export type ActionConfig = z.infer<typeof ActionSchema>;

export const ACTION_KINDS = ['command', 'mqtt', 'webhook', 'notify', 'record'] as const;
export type ActionKind = (typeof ACTION_KINDS)[number];
export const actionKind = (action: ActionConfig): ActionKind => Object.keys(action)[0] as ActionKind;

/** Beyond it every one could not have a connection of its own at the same time. */
const TARGETS_MAX = 50;

const Cel = z.string().min(1).max(2000).describe('CEL over decision, device, stream, pipeline, previous');

export const RuleSchema = z
  .strictObject({
    on: z.union([NameSchema, z.array(NameSchema).min(1).max(64)]).describe('pipeline, or a list'),
    when: Cel.optional(),
    absent_ms: z
      .number()
      .int()
      .min(1)
      .max(30 * 86_400_000)
      .optional()
      .describe('acts when a key that had decisions (on which `when` held, where it is given) had none for so long'),
    by: z
      .array(z.enum(['device', 'stream', 'pipeline', 'label']))
      .default(['device'])
      .describe('one state machine per key; []: one for all'),
    for: z
      .union([
        z
          .strictObject({ at_least: z.number().int().min(1), of: z.number().int().min(1).max(1000) })
          .refine((n) => n.at_least <= n.of, { message: 'at_least not greater than of' }),
        z.strictObject({ ms: z.number().int().min(1) }),
      ])
      .optional()
      .describe('how long or how often the condition must hold before the rule fires'),
    quorum: QuorumSchema.optional(),
    release: z
      .strictObject({ when: Cel.optional(), ms: z.number().int().min(0).default(0) })
      .optional()
      .describe('when it becomes inactive; default: when the condition no longer holds'),
    cooldown_ms: z
      .number()
      .int()
      .min(0)
      .default(0)
      .describe('from the first action that really left, a key stays silent this long'),
    between: BetweenSchema.optional(),
    stale_ms_max: z
      .number()
      .int()
      .min(1)
      .default(10_000)
      .describe(
        'an older trigger is recorded as suppressed, never sent; the first younger one on which it still holds acts',
      ),
    // biome-ignore lint/suspicious/noThenProperty: `then` is the word of the configuration; it is an array, never awaited
    then: z.array(ActionSchema).min(1).max(16).describe('on entering the active state'),
    on_release: z.array(ActionSchema).max(16).default([]).describe('on leaving it'),
    tests: z.array(RuleTestSchema).max(50).default([]).describe('run before every activation, and by brink rules test'),
  })
  .superRefine((rule, context) => {
    for (const { path, message } of ruleMisfits(rule)) context.addIssue({ code: 'custom', path, message });
  });
export type RuleConfig = z.infer<typeof RuleSchema>;

export const ConfigurationSchema = z
  .strictObject({
    version: z.literal(1),
    site: SiteSchema.prefault({}),
    streams: z.record(NameSchema, StreamSchema).default({}),
    models: z.record(NameSchema, ModelPolicySchema).default({}),
    rules: z.record(NameSchema, RuleSchema).default({}),
    targets: z
      .record(NameSchema, TargetSchema)
      .refine((targets) => Object.keys(targets).length <= TARGETS_MAX, { message: `at most ${TARGETS_MAX} targets` })
      .default({}),
  })
  .meta({ id: 'Configuration', description: 'The site: streams, models, rules, targets' });
export type Configuration = z.infer<typeof ConfigurationSchema>;

/** What control publishes, retained, on `brink/fleet/config`. */
export const PublishedConfigurationSchema = z.strictObject({
  revision: z.string().regex(/^[0-9a-f]{12}$/),
  configuration: ConfigurationSchema,
  approved: z
    .array(NameSchema)
    .max(100_000)
    .optional()
    .describe('with site.join: approve, the devices whose frames are taken'),
});
export type PublishedConfiguration = z.infer<typeof PublishedConfigurationSchema>;
