import type {
  ActionExplanation,
  ActionRecord,
  DeadRecord,
  Decision,
  DecisionExplanation,
  Discovered,
  Evidence,
} from '@brink/protocol';
import { clockTime, type Paint, printable } from './terminal.ts';

// What decisions, actions and chains look like to people. One line each, the same in `up`, `watch`, `decisions` and `explain`.

/** `cat 猫 0.97`, or why there is none. */
function verdict(decision: Decision, paint: Paint): string {
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
  const origin = action.rule === undefined ? 'ordered over HTTP' : `rule ${action.rule}`;
  const head = `${paint('dim', clockTime(Date.parse(ended ?? action.created_at)))} ${paint('cyan', '→')} ${nameOf(action)}`;
  return `${head} ${paint(colour, state)}${ack}${took}${why}  ${paint('dim', origin)}`;
}

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
function nameOf(action: ActionRecord): string {
  const { config, target } = action;
  if ('command' in config) return `${target} ${config.command.name}`;
  return `${action.kind} ${printable(target)}`;
}

/** From the acknowledgement back to the bytes of the frame, newest first, one arrow per step. */
export function actionChain(chain: ActionExplanation, paint: Paint): string[] {
  const { action, because, decision } = chain;
  const lines = [...actionRows(action, paint), ...dispatchRows(chain, paint), step('because of the rule', paint)];
  if (because === null) lines.push(row('rule', action.rule ?? 'none: it was ordered over HTTP'));
  else lines.push(...ruleRows(because));
  if (decision === null) {
    return [...lines, step('decided', paint), row('decision', `${action.decision} (not kept any more)`)];
  }
  return [
    ...lines,
    ...decisionRows(decision, chain.model, paint),
    ...preparedRows(chain.prepared, chain.frame, decision, paint),
  ];
}

function actionRows(action: ActionRecord, paint: Paint): string[] {
  const { config, error } = action;
  const sent = sentRow(config);
  return [
    `${paint('bold', nameOf(action))}  ${action.state}`,
    row('id', action.id),
    sent,
    ...(error === undefined ? [] : [row('error', `${error.code}: ${printable(error.detail)}`)]),
  ];
}

function sentRow(config: ActionRecord['config']): string {
  if ('command' in config) return row('args', JSON.stringify(config.command.args));
  if ('mqtt' in config) return row('payload', JSON.stringify(config.mqtt.payload));
  if ('webhook' in config) return row('body', JSON.stringify(config.webhook.body));
  if ('record' in config) {
    return row('recorded', `${config.record.before_ms} ms before, ${config.record.after_ms} ms after`);
  }
  const { title, message } = config.notify;
  return row('text', printable(message === undefined ? title : `${title}: ${message}`));
}

function dispatchRows({ action, ack, attempts }: ActionExplanation, paint: Paint): string[] {
  const lines = [step('acknowledged', paint)];
  const asked = 'command' in action.config && action.config.command.ack === 'required';
  if (ack == null)
    lines.push(row('ack', asked ? (action.state === 'sent' ? 'none yet' : 'none') : 'none is asked for'));
  else lines.push(row('ack', `${ack.status}${ack.error === undefined ? '' : ` ${printable(ack.error)}`} at ${ack.at}`));
  lines.push(step('dispatched', paint));
  if (attempts.length === 0) lines.push(row('attempt', 'none'));
  for (const attempt of attempts) {
    const error = attempt.error === undefined ? '' : ` ${attempt.error.code}: ${printable(attempt.error.detail)}`;
    lines.push(
      row(`attempt ${attempt.attempt}`, `${attempt.result} at ${attempt.sent_at ?? attempt.leased_at}${error}`),
    );
  }
  return lines;
}

export function decisionChain(chain: DecisionExplanation, paint: Paint): string[] {
  const { decision, evidence, actions } = chain;
  const lines = actions.map((action) => row('led to', `${action.id}  ${action.state}`));
  if (actions.length === 0) lines.push(row('led to', 'no action'));
  const model = { ...decision.model, ...evidence.model };
  const frame = { ...evidence.frame, gateway: evidence.gateway };
  return [...lines, ...decisionRows(decision, model, paint), ...preparedRows(evidence, frame, decision, paint)];
}

function ruleRows(because: NonNullable<ActionExplanation['because']>): string[] {
  const { condition, history } = because;
  const lines = [
    row('rule', `${because.rule} for ${because.key}: ${because.before} → ${because.after}`),
    row(condition.field, `${condition.text}  (${condition.holds ? 'holds' : 'does not hold'})`),
  ];
  for (const [path, value] of Object.entries(because.values))
    lines.push(row('', `${path} = ${printable(JSON.stringify(value))}`));
  if (history !== undefined) {
    lines.push(
      row('for', `${history.holding} of the last ${history.seen}; needed ${history.at_least} of ${history.of}`),
    );
  }
  if (because.timer_due !== undefined) lines.push(row('timer', `due at ${because.timer_due}`));
  lines.push(row('age', `${round(because.age_ms)} ms old when evaluated; stale after ${because.stale_ms_max} ms`));
  lines.push(row('configuration', because.revision));
  return lines;
}

function decisionRows(decision: Decision, model: ActionExplanation['model'], paint: Paint): string[] {
  const lines = [
    step('decided', paint),
    row('decision', decision.id),
    row(
      'outcome',
      `${verdict(decision, paint)} on pipeline ${decision.pipeline}, ${round(decision.latency_ms)} ms after ${decision.received_at}`,
    ),
  ];
  if (decision.error !== undefined)
    lines.push(row('error', `${decision.error.code}: ${printable(decision.error.detail)}`));
  lines.push(step('by the model', paint));
  const { name, version } = model ?? decision.model;
  lines.push(row('model', `${name} version ${version}${model?.provider === undefined ? '' : ` on ${model.provider}`}`));
  if (model?.passport_sha256 !== undefined) lines.push(row('passport', `sha256 ${model.passport_sha256}`));
  if (model?.model_sha256 !== undefined) lines.push(row('model file', `sha256 ${model.model_sha256}`));
  return lines;
}

function preparedRows(
  prepared: Pick<Evidence, 'transform' | 'batch' | 'ms' | 'top' | 'attempts'> | null,
  frame: ActionExplanation['frame'],
  decision: Decision,
  paint: Paint,
): string[] {
  const lines = [step('prepared', paint)];
  const { transform, ms, top, batch, attempts } = prepared ?? {};
  if (transform !== undefined) {
    const { fit, width, height, scale, offset } = transform;
    lines.push(
      row(
        'picture',
        `${fit} to ${width}×${height}, scale ${scale.map(round).join(' ')}, offset ${offset.map(round).join(' ')}`,
      ),
    );
  }
  if (ms !== undefined) {
    const parts = Object.entries(ms).map(([name, value]) => `${name.replace('_', ' ')} ${round(value ?? 0)}`);
    lines.push(row('ms', parts.join(', ')));
  }
  if (top !== undefined)
    lines.push(row('raw scores', top.map(({ label, raw }) => `${printable(label)} ${round(raw)}`).join(', ')));
  if (batch !== undefined) lines.push(row('batch', `${batch}${(attempts ?? 0) < 2 ? '' : `, attempt ${attempts}`}`));
  lines.push(step('from the frame', paint));
  const { boot, first, last } = decision.frames;
  lines.push(
    row('frame', `${decision.device}/${decision.stream} ${boot}-${first === last ? last : `${first}…${last}`}`),
  );
  if (frame == null) return lines;
  const size = frame.width === undefined ? '' : `, ${frame.width}×${frame.height}`;
  lines.push(
    row(
      'received',
      `${frame.bytes} bytes${frame.type === undefined ? '' : ` of ${printable(frame.type)}`}${size} by ${frame.gateway}`,
    ),
  );
  lines.push(row('sha256', paint('bold', frame.sha256)));
  return lines;
}

const step = (what: string, paint: Paint) => `${paint('cyan', '↑')} ${paint('dim', what)}`;
const row = (name: string, text: string) => `    ${name.padEnd(14)} ${text}`;

/** Two digits behind the point below 10, one below 100, none above. */
function round(value: number): string {
  const digits = Math.abs(value) < 10 ? 2 : Math.abs(value) < 100 ? 1 : 0;
  return String(Number(value.toFixed(digits)));
}
