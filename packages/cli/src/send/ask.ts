import type { Decision, PostedFrameAnswer } from '@brink/protocol';
import { systemClock, wait } from '@brink/runtime';
import { decisionLine } from '../show.ts';
import { type Context, usingApi, type VerbOptions } from '../verb.ts';
import { whyMissing } from './fate.ts';
import { type BrokerOptions, connect, deviceFor } from './line.ts';
import { filesOf, wholeOf } from './source.ts';

// One file after the other, each with its decisions: for people who want to know what becomes of a picture.

export interface AskOptions extends VerbOptions, BrokerOptions {
  waitMs: number;
}

/** From whom, to what, which files. */
export interface What {
  device: string;
  stream: string;
  files: string[];
}

/** What became of one file. */
export interface Answered {
  file: string;
  frame: string;
  decisions: Decision[];
  /** Why there is no decision, or one less: not within the time, refused, no stream for it, dropped for a newer frame. */
  missing: string[];
}

/** Pipelines of one stream end at different times; how many there are, a plain client does not know. */
const GRACE_MS = 400;

export function askOverHttp(context: Context, options: AskOptions, what: What): Promise<Answered[]> {
  const { device, stream } = what;
  return usingApi(context, options, async (api) => {
    const results: Answered[] = [];
    for (const file of await filesOf(what.files)) {
      const bytes = await wholeOf(file, context);
      const path = `/v1/frames/${device}/${stream}`;
      const answer = await api.post<PostedFrameAnswer>(path, bytes, 'application/octet-stream', {
        wait_ms: options.waitMs,
      });
      const missing = [
        ...answer.pending.map((id) => `${id} is not decided yet`),
        ...answer.dropped.map((id) => `${id} was dropped`),
      ];
      const answered = { file, frame: `${answer.boot}-${answer.seq}`, decisions: answer.items, missing };
      show(context, answered);
      results.push(answered);
    }
    return results;
  });
}

export async function askOverMqtt(context: Context, options: AskOptions, what: What): Promise<Answered[]> {
  const { stream } = what;
  const device = deviceFor(context, options, what);
  const inbox = createInbox(device.boot);
  device.onDecision(stream, (decision) => inbox.take(decision));
  const files = await filesOf(what.files);
  await connect(device, context.signal);
  try {
    const results: Answered[] = [];
    for (const file of files) {
      const bytes = await wholeOf(file, context);
      const { boot, seq } = await device.publish(stream, bytes, { qos: 1 });
      const decisions = await inbox.of(seq, options.waitMs, context.signal);
      const sent = { device: device.name, stream, boot, seq };
      const missing = decisions.length > 0 ? [] : [await whyMissing(context, options, sent, options.waitMs)];
      const answered = { file, frame: `${boot}-${seq}`, decisions, missing };
      show(context, answered);
      results.push(answered);
    }
    return results;
  } finally {
    await device.stop();
  }
}

/** Collects decisions of the frames that were sent under one boot. */
function createInbox(boot: string) {
  const arrived: Decision[] = [];
  let told = () => {};
  return {
    take(decision: Decision) {
      if (decision.frames.boot !== boot) return;
      arrived.push(decision);
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

function show(context: Context, { file, decisions, missing }: Answered): void {
  if (context.json) return;
  for (const decision of decisions) context.terminal.line(`${file}: ${decisionLine(decision, context.paint)}`);
  for (const why of missing) context.terminal.note(`${file}: ${why}`);
}
