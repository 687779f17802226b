import type { ActionConfig } from '@brink/protocol';
import type { Json } from './template.ts';

// Which part of an action is a template, by kind. `${…}` stands in what is sent, never in where it is sent to: a decision
// must not choose its receiver.

/** The value with `${…}` in it, and where it lies within the action; undefined where a kind has none. */
export function templateIn(
  action: ActionConfig,
): { readonly path: readonly string[]; readonly value: Json } | undefined {
  if ('command' in action) return { path: ['command', 'args'], value: action.command.args };
  if ('mqtt' in action) return { path: ['mqtt', 'payload'], value: action.mqtt.payload };
  if ('webhook' in action) return { path: ['webhook', 'body'], value: action.webhook.body };
  if ('record' in action) return undefined;
  const { title, message } = action.notify;
  return { path: ['notify'], value: message === undefined ? { title } : { title, message } };
}

/** The action with that value in its place. */
export function withRendered(action: ActionConfig, value: Json): ActionConfig {
  if ('command' in action) return { command: { ...action.command, args: value as Record<string, Json> } };
  if ('mqtt' in action) return { mqtt: { ...action.mqtt, payload: value } };
  if ('webhook' in action) return { webhook: { ...action.webhook, body: value } };
  if ('record' in action) return action;
  const texts = Object.entries(value as Record<string, Json>).map(([name, text]) => [name, toText(text)]);
  return { notify: { ...action.notify, ...Object.fromEntries(texts) } };
}

/** A title that is one `${decision.score}` and nothing else is a number. */
const toText = (value: Json) => (typeof value === 'string' ? value : JSON.stringify(value));

/** A `notify` without a target goes where the site says. */
export function withTarget(action: ActionConfig, notify: string | undefined): ActionConfig {
  if (!('notify' in action) || action.notify.target !== undefined || notify === undefined) return action;
  return { notify: { ...action.notify, target: notify } };
}
