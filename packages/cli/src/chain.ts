import type { ActionExplanation, ActionRecord, Decision, DecisionExplanation, Evidence } from '@brink/protocol';
import { nameOf, round, verdict } from './show.ts';
import { type Paint, printable } from './terminal.ts';

// Why: from an acknowledgement back to the bytes of the frame, one arrow per step.

/** From the acknowledgement back to the bytes of the frame, newest first, one arrow per step. */
export function actionChain(chain: ActionExplanation, paint: Paint): string[] {
  const { action, because, decision } = chain;
  const lines = [...actionRows(action, paint), ...dispatchRows(chain, paint), ...causeRows(chain, paint)];
  if (chain.cause === 'person' || because?.test?.sample === true) return lines;
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

/** Receivers of webhooks and notifications acknowledge with their answer. */
function missingAck({ config, ended_at }: ActionRecord): string {
  const asked = 'command' in config ? config.command.ack === 'required' : 'webhook' in config || 'notify' in config;
  if (!asked) return 'none is asked for';
  return ended_at === undefined ? 'none yet' : 'none';
}

function dispatchRows({ action, ack, attempts }: ActionExplanation, paint: Paint): string[] {
  const lines = [step('acknowledged', paint)];
  if (ack == null) lines.push(row('ack', missingAck(action)));
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

const CAUSES: Record<ActionExplanation['cause'], string> = {
  rule: 'because of the rule',
  timer: 'because of the rule, when its time had come',
  test: 'because somebody fired the rule, to see what it does',
  person: 'because somebody ordered it',
};

function causeRows({ action, because, cause, by }: ActionExplanation, paint: Paint): string[] {
  const lines = [step(CAUSES[cause], paint)];
  if (by !== undefined) lines.push(row('by', printable(by)));
  if (because !== null) lines.push(...ruleRows(because));
  else if (action.rule !== undefined) lines.push(row('rule', action.rule));
  if (because?.test?.sample === true) lines.push(row('filled from', 'a sample; there was no decision'));
  return lines;
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
  lines.push(...circumstanceRows(because));
  if (because.timer_due !== undefined) lines.push(row('timer', `due at ${because.timer_due}`));
  lines.push(row('age', `${round(because.age_ms)} ms old when evaluated; stale after ${because.stale_ms_max} ms`));
  lines.push(row('configuration', because.revision));
  return lines;
}

function circumstanceRows({ quorum, absent_ms, between }: NonNullable<ActionExplanation['because']>): string[] {
  const lines: string[] = [];
  if (quorum !== undefined) {
    const needed = `needed ${quorum.at_least} ${quorum.of}s within ${quorum.within_ms} ms`;
    lines.push(row('quorum', `${quorum.agree.map(printable).join(', ')}; ${needed}`));
  }
  if (absent_ms !== undefined) lines.push(row('absent', `nothing came for ${absent_ms} ms`));
  if (between !== undefined) lines.push(row('between', between));
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
