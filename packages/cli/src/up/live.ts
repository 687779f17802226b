import type { ActionRecord, Decision } from '@brink/protocol';
import { actionLine, decisionLine } from '../show.ts';
import { clockTime, type Paint } from '../terminal.ts';

/** Turns the stream of decisions and actions into what a person can follow. */
export interface Live {
  decision(decision: Decision): string[];
  action(action: ActionRecord): string[];
  /**
   * Every few seconds: what was not shown, in one line.
   * @param more what others have to add to it
   */
  summary(more?: readonly string[]): string[];
}

/** The same verdict of the same lane is shown again after this time. */
const REPEAT_MS = 10_000;
const LANES_MAX = 1000;

/**
 * A decision is shown when the verdict of its lane changes, an action when it has come to an end; both within a rate that can
 * be read. The rest is counted, and the summary says it.
 * @param now epoch ms
 */
export function createLive(paint: Paint, now: () => number): Live {
  const lanes = new Map<string, { verdict: string; shownAt: number }>();
  const decisions = createBucket({ size: 6, perSecond: 2 }, now);
  const actions = createBucket({ size: 10, perSecond: 4 }, now);
  let since = now();
  let counts = new Map<string, number>();
  let latencies: number[] = [];
  let hidden = { repeats: 0, decisions: 0, actions: 0 };

  return {
    decision(decision) {
      const lane = `${decision.device}/${decision.stream} ${decision.pipeline}`;
      const verdict = verdictOf(decision);
      const name = decision.outcome === 'decided' ? decision.pipeline : `${decision.pipeline} ${decision.outcome}`;
      counts.set(name, (counts.get(name) ?? 0) + 1);
      if (latencies.length < 10_000) latencies.push(decision.latency_ms);
      const last = lanes.get(lane);
      const news = last === undefined || last.verdict !== verdict || now() - last.shownAt > REPEAT_MS;
      if (!news || !decisions()) {
        hidden[news ? 'decisions' : 'repeats'] += 1;
        return [];
      }
      if (lanes.size >= LANES_MAX) lanes.clear();
      lanes.set(lane, { verdict, shownAt: now() });
      return [decisionLine(decision, paint)];
    },
    action(action) {
      const { state } = action;
      const waitsForAck = 'command' in action.config && action.config.command.ack === 'required';
      if (state === 'pending' || state === 'leased' || (state === 'sent' && waitsForAck)) return [];
      if (actions()) return [actionLine(action, paint)];
      hidden.actions += 1;
      return [];
    },
    summary(others = []) {
      const seconds = Math.max(1, Math.round((now() - since) / 1000));
      const parts = [...counts].map(([name, count]) => `${count} ${name}`);
      const median = latencies.sort((a, b) => a - b)[Math.floor(latencies.length / 2)];
      const more = [
        ...(hidden.repeats > 0 ? [`${hidden.repeats} repeats not shown`] : []),
        ...(hidden.decisions > 0 ? [`${hidden.decisions} changes not shown`] : []),
        ...(hidden.actions > 0 ? [`${hidden.actions} actions not shown`] : []),
        ...others,
      ];
      since = now();
      counts = new Map();
      latencies = [];
      hidden = { repeats: 0, decisions: 0, actions: 0 };
      if (more.length === 0) return [];
      const decided = parts.length === 0 ? [] : [parts.join(', '), `median ${Math.round(median ?? 0)} ms`];
      const text = `last ${seconds} s: ${[...decided, more.join(', ')].join('; ')}`;
      return [paint('dim', `${clockTime(now())} ${text}`)];
    },
  };
}

const verdictOf = ({ outcome, label, error }: Decision) => `${outcome} ${label ?? ''} ${error?.code ?? ''}`;

/** A token bucket: may one more line be shown? */
function createBucket(o: { size: number; perSecond: number }, now: () => number): () => boolean {
  let tokens = o.size;
  let at = now();
  return () => {
    tokens = Math.min(o.size, tokens + ((now() - at) / 1000) * o.perSecond);
    at = now();
    if (tokens < 1) return false;
    tokens -= 1;
    return true;
  };
}
