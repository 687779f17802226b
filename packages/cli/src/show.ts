import type { ActionRecord, DeadRecord, Decision, Discovered } from '@brink/protocol';
import { clockTime, type Paint, printable } from './terminal.ts';

// What decisions, actions and chains look like to people. One line each, the same in `up`, `watch`, `decisions` and `explain`.

/** `cat 猫 0.97`, or why there is none. */
export function verdict(decision: Decision, paint: Paint): string {
  if (decision.outcome !== 'decided') {
    const { code = '', detail = '' } = decision.error ?? {};
    return `${paint('yellow', `${decision.outcome}: ${code}`)} ${paint('dim', printable(detail))}`;
  }
  if (decision.label === undefined) {
    const values = Object.entries(decision.values ?? {}).map(([name, value]) => `${name} ${round(value)}`);
    return printable(values.join(' '));
  }
  const text =
    decision.label_text === undefined || decision.label_text === decision.label ? '' : ` ${decision.label_text}`;
  const doubt = decision.quality === 'bad' ? paint('yellow', ' (doubtful input)') : '';
  return `${paint('bold', printable(decision.label + text))} ${(decision.score ?? 0).toFixed(2)}${doubt}`;
}

export function decisionLine(decision: Decision, paint: Paint): string {
  const at = paint('dim', clockTime(Date.parse(decision.received_at)));
  const lane = `${decision.device}/${decision.stream}`;
  return `${at} ${lane} ${decision.pipeline}  ${verdict(decision, paint)}  ${paint('dim', `${Number(decision.latency_ms.toFixed(decision.latency_ms < 10 ? 1 : 0))} ms`)}`;
}

/** `→ feeder-1 open acked 35 ms` */
export function actionLine(action: ActionRecord, paint: Paint): string {
  const { state, error } = action;
  const ended = action.ack?.at ?? action.ended_at;
  const took = ended === undefined ? '' : ` ${Date.parse(ended) - Date.parse(action.created_at)} ms`;
  const colour =
    state === 'acked' || state === 'sent' ? 'green' : state === 'pending' || state === 'leased' ? 'dim' : 'yellow';
  const why = error === undefined || state === 'acked' ? '' : ` (${error.code}: ${printable(error.detail)})`;
  const ack = action.ack !== undefined && action.ack.status !== 200 ? ` ${action.ack.status}` : '';
  const origin = action.rule === undefined ? `ordered by ${printable(action.decision)}` : ruleOrigin(action);
  const head = `${paint('dim', clockTime(Date.parse(ended ?? action.created_at)))} ${paint('cyan', '→')} ${nameOf(action)}`;
  return `${head} ${paint(colour, state)}${ack}${took}${why}  ${paint('dim', origin)}`;
}

const ruleOrigin = ({ rule, key }: ActionRecord) => `rule ${rule}${key === TEST_KEY ? ', fired as a test' : ''}`;

/** Of actions that a person fired to see what a rule does; no machine has such a key. */
const TEST_KEY = '@test';

/** `12:00:00 cam-9/front  E_IMAGE_TYPE: …  4096 bytes` */
export function deadLine({ device, stream, error, bytes, received_at }: DeadRecord, paint: Paint): string {
  const at = paint('dim', clockTime(Date.parse(received_at)));
  const lane = printable(`${device}/${stream}`);
  return `${at} ${lane}  ${paint('yellow', error.code)}: ${printable(error.detail)}  ${paint('dim', `${bytes} bytes`)}`;
}

/** `# cam-9/backyard: 3 frames, the last of 4096 bytes, image/jpeg` */
export function discoveredLine({ device, stream, frames, per_s, bytes, type, last_at_ms }: Discovered): string {
  const rate = per_s > 0 ? ` (${per_s} a second)` : '';
  const last = `the last at ${clockTime(last_at_ms)}, of ${bytes} bytes, ${printable(type)}`;
  return `# ${device}/${stream}: ${frames} ${frames === 1 ? 'frame' : 'frames'}${rate}, ${last}`;
}

/** `feeder-1 open`, or the topic of a publish. */
export function nameOf(action: ActionRecord): string {
  const { config, target } = action;
  if ('command' in config) return `${target} ${config.command.name}`;
  return `${action.kind} ${printable(target)}`;
}

/** Two digits behind the point below 10, one below 100, none above. */
export function round(value: number): string {
  const digits = Math.abs(value) < 10 ? 2 : Math.abs(value) < 100 ? 1 : 0;
  return String(Number(value.toFixed(digits)));
}
