import type { Denoise } from '@brink/decode';
import {
  BrinkError,
  type Configuration,
  fieldsOf,
  isWindowed,
  type PublishedConfiguration,
  type StreamConfig,
  streamProblems,
} from '@brink/protocol';
import { type MaskPlan, maskPlanOf } from '../mask/plan.ts';

/** One pipeline as the gateway runs it. */
export interface PipelinePlan {
  readonly name: string;
  readonly model: string;
  readonly priority: number;
  /** ms after the frame was received; older units expire. */
  readonly deadlineMs: number | undefined;
  /** ms; at most one unit per device in this time. */
  readonly everyMs: number | undefined;
}

export interface SamplesPlan {
  readonly kind: 'audio' | 'signal';
  /** What bytes are whose type nobody says. */
  readonly encoding: 'wav' | 'json' | 'cbor' | 'csv' | 's16le' | 'f32le';
  /** Of a signal the names of its fields, in their order. */
  readonly channels: readonly string[];
  /** Where in a frame each of them stands. */
  readonly paths: readonly string[];
  /** Of raw samples: how many lie side by side. */
  readonly interleaved: number;
  /** Where the frame does not say it; undefined: that of the model. */
  readonly rateHz: number | undefined;
  /** gap: fill */
  readonly fill: boolean;
}

export interface StreamPlan {
  readonly name: string;
  readonly devices: string;
  /** Patterns of other systems' topics. */
  readonly topics: readonly string[];
  readonly format: StreamConfig['format'];
  /** Of audio and signals, which are cut into windows: how their samples are read. */
  readonly samples: SamplesPlan | undefined;
  /** What of the stream decides whether a model can be fed with it. */
  readonly brings: Pick<StreamConfig, 'format' | 'signal'>;
  /** delivery: durable */
  readonly durable: boolean;
  /** What nobody may see. */
  readonly mask: MaskPlan | undefined;
  /** Of pictures: taken away after the mask. */
  readonly denoise: Denoise | undefined;
  /** How long frames stay in memory for `record`. */
  readonly keepMs: number;
  readonly frameBytesMax: number;
  /** Of a durable stream: how long the spool keeps a frame. */
  readonly frameAgeMsMax: number;
  readonly pipelines: readonly PipelinePlan[];
}

/** What of a configuration concerns the gateway, ready to be looked up per frame. */
export interface SitePlan {
  readonly revision: string;
  readonly streams: ReadonlyMap<string, StreamPlan>;
  /** Versions that are asked for by number. */
  readonly serve: ReadonlyMap<string, number>;
  /** With `site.join: approve`, the devices whose frames are taken; undefined: all. */
  readonly approved: ReadonlySet<string> | undefined;
}

export const EMPTY_PLAN: SitePlan = { revision: '', streams: new Map(), serve: new Map(), approved: undefined };

/**
 * All or nothing: the plan, or every reason why there is none.
 * @throws BrinkError E_CONFIG
 */
export function planOf(
  { revision, configuration, approved }: PublishedConfiguration,
  spoolAgeMsMax = Number.MAX_SAFE_INTEGER,
): SitePlan {
  const problems = problemsOf(configuration);
  if (problems.length > 0) throw new BrinkError('E_CONFIG', problems.join('; '));
  const streams = new Map<string, StreamPlan>();
  for (const [name, stream] of Object.entries(configuration.streams)) {
    streams.set(name, {
      name,
      devices: stream.devices,
      topics: stream.topics,
      format: stream.format,
      samples: samplesOf(stream),
      brings: { format: stream.format, ...(stream.signal === undefined ? {} : { signal: stream.signal }) },
      mask: maskPlanOf(stream.mask),
      denoise: stream.denoise,
      keepMs: stream.keep_s * 1000,
      durable: stream.delivery === 'durable',
      frameBytesMax: stream.frame_bytes_max,
      frameAgeMsMax: stream.delivery === 'durable' ? spoolAgeMsMax : stream.frame_age_ms_max,
      pipelines: Object.entries(stream.pipelines).map(([pipeline, of]) => ({
        name: pipeline,
        model: of.model,
        priority: of.priority,
        deadlineMs: of.deadline_ms,
        everyMs: of.every_ms,
      })),
    });
  }
  const serve = Object.entries(configuration.models).flatMap(([name, policy]) =>
    policy.serve === undefined ? [] : [[name, policy.serve] as const],
  );
  const joins = configuration.site.join === 'approve' ? new Set(approved) : undefined;
  return { revision, streams, serve: new Map(serve), approved: joins };
}

function samplesOf(stream: StreamConfig): SamplesPlan | undefined {
  if (!isWindowed(stream)) return undefined;
  const fill = stream.gap === 'fill';
  const { audio, signal } = stream;
  if (signal !== undefined) {
    const { encoding, rate_hz } = signal;
    const fields = fieldsOf(stream);
    const [channels, paths] = [fields.map(({ name }) => name), fields.map(({ path }) => path)];
    return { kind: 'signal', encoding, channels, paths, interleaved: fields.length, rateHz: rate_hz, fill };
  }
  const { encoding = 'wav', channels = 1, rate_hz } = audio ?? {};
  return { kind: 'audio', encoding, channels: ['audio'], paths: [], interleaved: channels, rateHz: rate_hz, fill };
}

function problemsOf(configuration: Configuration): string[] {
  const problems: string[] = [];
  const streamOf = new Map<string, string>();
  for (const [name, stream] of Object.entries(configuration.streams)) {
    for (const { path, found, expected } of streamProblems(stream))
      problems.push(`streams.${name}.${path.join('.')}: ${found}; expected ${expected}`);
    for (const pipeline of Object.keys(stream.pipelines)) {
      const other = streamOf.get(pipeline);
      if (other !== undefined)
        problems.push(`streams.${name}.pipelines.${pipeline} is in streams.${other} too; expected one place`);
      streamOf.set(pipeline, name);
    }
  }
  return problems;
}

/** Whether a device's name matches a glob of `*` (any characters) and `?` (one). Linear in practice, no regular expression. */
export function matchesGlob(glob: string, text: string): boolean {
  let at = 0;
  let star = -1;
  let resume = 0;
  for (let i = 0; i < text.length; ) {
    const expected = glob[at];
    if (expected === '*') {
      star = at++;
      resume = i;
    } else if (expected === '?' || expected === text[i]) {
      at += 1;
      i += 1;
    } else if (star >= 0) {
      at = star + 1;
      i = ++resume;
    } else return false;
  }
  while (glob[at] === '*') at += 1;
  return at === glob.length;
}
