import { randomInt } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import {
  BrinkError,
  createTopics,
  type DeadRecord,
  type Decision,
  DecisionSchema,
  type Discovered,
  FRAME_BYTES_MAX,
  type PostedFrameAnswer,
} from '@brink/protocol';
import { createMqtt, type Mqtt, secretFrom, silentLogger, systemClock, wait } from '@brink/runtime';
import type { Api } from './api.ts';
import { decisionLine } from './show.ts';
import { printable } from './terminal.ts';
import { type Context, filled, usingApi, type VerbOptions } from './verb.ts';

export interface SendOptions extends VerbOptions {
  http?: boolean;
  mqttUrl?: string;
  username?: string;
  passwordFile?: string;
  waitMs: number;
}

/** What became of one file. */
export interface Sent {
  file: string;
  frame: string;
  decisions: Decision[];
  /** Why there is no decision, or one less: not within the time, refused, no stream for it, dropped for a newer frame. */
  missing: string[];
}

const CONNECT_MS_MAX = 5000;
/** Pipelines of one stream end at different times; how many there are, a plain client does not know. */
const GRACE_MS = 400;

/** Of one device's stream, newest first: a camera that keeps sending must not hide ours. */
const DEAD_LOOKED_AT = 100;

/** From whom, to what, which files. */
export interface What {
  device: string;
  stream: string;
  files: string[];
}

export function sendOverHttp(context: Context, options: SendOptions, { device, stream, files }: What): Promise<Sent[]> {
  return usingApi(context, options, async (api) => {
    const results: Sent[] = [];
    for (const file of files) {
      const bytes = await frameBytes(file);
      const path = `/v1/frames/${device}/${stream}`;
      const answer = await api.post<PostedFrameAnswer>(path, bytes, 'application/octet-stream', {
        wait_ms: options.waitMs,
      });
      const missing = [
        ...answer.pending.map((id) => `${id} is not decided yet`),
        ...answer.dropped.map((id) => `${id} was dropped`),
      ];
      const sent = { file, frame: `${answer.boot}-${answer.seq}`, decisions: answer.items, missing };
      show(context, sent);
      results.push(sent);
    }
    return results;
  });
}

export async function sendOverMqtt(
  context: Context,
  options: SendOptions,
  { device, stream, files }: What,
): Promise<Sent[]> {
  const topics = createTopics(filled(context.env['BRINK_TOPIC_ROOT']) ?? 'brink');
  const boot = `s${randomInt(36 ** 7)
    .toString(36)
    .padStart(7, '0')}`;
  const inbox = createInbox(boot);
  const mqtt = connection(context, options, boot);
  mqtt.subscribe(topics.format({ kind: 'decisions', device, stream }), { qos: 0 }, ({ payload }) =>
    inbox.take(payload),
  );
  try {
    await mqtt.start(AbortSignal.any([context.signal, AbortSignal.timeout(CONNECT_MS_MAX)]));
    const results: Sent[] = [];
    for (const [index, file] of files.entries()) {
      const seq = index + 1;
      const bytes = await frameBytes(file);
      await mqtt.publish(topics.format({ kind: 'frame', device, stream, id: { boot, seq } }), bytes, { qos: 1 });
      const decisions = await inbox.of(seq, options.waitMs, context.signal);
      const missing = decisions.length > 0 ? [] : [await whyMissing(context, options, { device, stream, boot, seq })];
      const sent = { file, frame: `${boot}-${seq}`, decisions, missing };
      show(context, sent);
      results.push(sent);
    }
    return results;
  } finally {
    await mqtt.stop();
  }
}

interface Frame {
  readonly device: string;
  readonly stream: string;
  readonly boot: string;
  readonly seq: number;
}

/** Why nothing was decided of a frame, as far as control can say. */
export async function fateOf(api: Pick<Api, 'get'>, { device, stream, boot, seq }: Frame): Promise<string | undefined> {
  const dead = await api.get<{ items: DeadRecord[] }>('/v1/dead', { device, stream, limit: DEAD_LOOKED_AT });
  const refused = dead.items.find((letter) => letter.boot === boot && letter.seq === seq);
  if (refused !== undefined) return `refused: ${refused.error.code}: ${printable(refused.error.detail)}`;
  const discovered = await api.get<{ items: Discovered[] }>('/v1/discovered');
  if (!discovered.items.some((found) => found.device === device && found.stream === stream)) return undefined;
  return `no stream of the configuration takes ${device}/${stream}; \`brink discovered\` shows what to paste`;
}

async function whyMissing(context: Context, options: SendOptions, frame: Frame): Promise<string> {
  // The broker has the frame: that control cannot be asked is no failure of sending it.
  const fate = await usingApi(context, options, (api) => fateOf(api, frame)).catch(() => undefined);
  return fate ?? `no decision within ${options.waitMs} ms; \`brink status\` counts what became of it`;
}

function connection(context: Context, options: SendOptions, boot: string): Mqtt {
  const { env } = context;
  const username = options.username ?? filled(env['BRINK_MQTT_USERNAME']);
  const password = secretFrom(options.passwordFile ?? env['BRINK_MQTT_PASSWORD_FILE']);
  return createMqtt(
    {
      url: options.mqttUrl ?? filled(env['BRINK_MQTT_URL']) ?? 'mqtt://127.0.0.1:1883',
      // A device's client id is its user name; without credentials any will do.
      clientId: username ?? `brink-send-${boot}`,
      clean: true,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
    },
    { logger: silentLogger, clock: systemClock, random: Math.random },
  );
}

/** Collects decisions of the frames that were sent under one boot. */
function createInbox(boot: string) {
  const arrived: Decision[] = [];
  let told = () => {};
  return {
    take(payload: Uint8Array) {
      const parsed = DecisionSchema.safeParse(JSON.parse(Buffer.from(payload).toString('utf8')));
      if (!parsed.success || parsed.data.frames.boot !== boot) return;
      arrived.push(parsed.data);
      told();
    },
    /** Until none has come for GRACE_MS after the first, `waitMs` at most. */
    async of(seq: number, waitMs: number, signal: AbortSignal): Promise<Decision[]> {
      const mine = () => arrived.filter((decision) => decision.frames.last === seq);
      const until = performance.now() + waitMs;
      for (let left = waitMs; left > 0; left = until - performance.now()) {
        const before = mine().length;
        const news = Promise.withResolvers<void>();
        told = news.resolve;
        const pause = new AbortController();
        const both = AbortSignal.any([pause.signal, signal]);
        await Promise.race([
          news.promise,
          wait(before === 0 ? left : Math.min(left, GRACE_MS), systemClock, both).catch(() => {}),
        ]);
        pause.abort();
        if (signal.aborted || (before > 0 && mine().length === before)) break;
      }
      return mine();
    },
  };
}

function show(context: Context, { file, decisions, missing }: Sent): void {
  if (context.json) return;
  for (const decision of decisions) context.terminal.line(`${file}: ${decisionLine(decision, context.paint)}`);
  for (const why of missing) context.terminal.note(`${file}: ${why}`);
}

async function frameBytes(file: string): Promise<Buffer> {
  try {
    const { size } = await stat(file);
    if (size > FRAME_BYTES_MAX)
      throw new BrinkError('E_TOO_LARGE', `${file} has ${size} bytes; a frame has at most ${FRAME_BYTES_MAX}`);
    return await readFile(file);
  } catch (error) {
    if (error instanceof BrinkError) throw error;
    throw new BrinkError('E_NOT_FOUND', `${file} cannot be read: ${BrinkError.from(error).detail}`, { cause: error });
  }
}
