import { type ActionConfig, BrinkError, type TargetConfig, targetKind } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import { Webhook } from 'standardwebhooks';
import type { LeasedAction } from '../ledger/records.ts';
import type { HttpAnswer, HttpOut } from './http-out.ts';
import type { Secrets } from './secrets.ts';

// Actions that leave over HTTP. Whatever the receiver's kind, a repeat has the same id and the same bytes.

export interface HookContext {
  readonly http: HttpOut;
  readonly secrets: Secrets;
  /** `targets` of the active configuration. */
  readonly target: (name: string) => TargetConfig | undefined;
  readonly clock: Clock;
  /** Aborts what is on its way. */
  readonly signal?: AbortSignal | undefined;
}

/** What of an action says where it goes and that it is the same again. A heartbeat has no more. */
export type Sendable = Pick<LeasedAction, 'id' | 'kind' | 'target'>;

export type HookConfig = Extract<ActionConfig, { webhook: unknown } | { notify: unknown }>;

interface Message {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/**
 * @returns the status of an answer that says that it was taken
 * @throws BrinkError E_UNAVAILABLE or E_TIMEOUT: may go better later; E_ACTION_REFUSED, E_TARGET_GONE, E_SSRF_BLOCKED,
 * E_NOT_FOUND: not again by itself; E_SECRET
 */
export async function sendHook(action: Sendable, config: HookConfig, d: HookContext): Promise<number> {
  const target = d.target(action.target);
  if (target === undefined) {
    const named = action.target === '' ? 'no target' : `no target "${action.target}"`;
    throw new BrinkError('E_NOT_FOUND', `there is ${named} in the configuration; expected one under \`targets\``);
  }
  const { url, headers, body } = await messageOf(action, config, target, d);
  const { allow_private: allowPrivate, timeout_ms: timeoutMs } = target;
  const answer = await d.http.post({
    ...{ url, body, allowPrivate, timeoutMs, signal: d.signal },
    headers: { 'content-type': 'application/json', 'user-agent': 'brink', ...headers },
  });
  return judge(action.target, answer);
}

function messageOf(action: Sendable, config: HookConfig, target: TargetConfig, d: HookContext): Promise<Message> {
  const kind = targetKind(target);
  const wrong = 'webhook' in config !== (kind === 'webhook');
  if (wrong) {
    const detail = `"${action.target}" is a target of ${kind} now; expected one for a ${action.kind}`;
    throw new BrinkError('E_NOT_FOUND', detail);
  }
  if ('webhook' in config) return webhook(action, config.webhook.body, target as TargetOf<'webhook'>, d);
  return 'ntfy' in target
    ? ntfy(action, config.notify, target, d.secrets)
    : gotify(action, config.notify, target as TargetOf<'gotify'>, d.secrets);
}

type TargetOf<K extends string> = Extract<TargetConfig, Record<K, unknown>>;
type Notice = Extract<ActionConfig, { notify: unknown }>['notify'];

/**
 * Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md): id,
 * time of this attempt, and a signature for each secret, so that one can replace the other without a gap.
 */
async function webhook(
  action: Sendable,
  payload: unknown,
  target: TargetOf<'webhook'>,
  { secrets, clock }: HookContext,
): Promise<Message> {
  const body = JSON.stringify(payload);
  const at = new Date(clock.now());
  const lines = target.secret === undefined ? [] : await secrets.read(target.secret);
  const signatures = lines.map((line) => signerOf(line, target.secret).sign(action.id, at, body));
  const headers: Record<string, string> = {
    'webhook-id': action.id,
    'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
    ...(signatures.length === 0 ? {} : { 'webhook-signature': signatures.join(' ') }),
  };
  return { url: target.webhook, headers, body };
}

function signerOf(line: string, name: string | undefined): Webhook {
  // The error of the library may have the secret in it.
  const wrong = new BrinkError('E_SECRET', `the secret "${name}" is no key; expected whsec_ and base64, on a line`);
  if (!/^(whsec_)?[A-Za-z0-9+/]{8,}={0,2}$/.test(line)) throw wrong;
  try {
    return new Webhook(line);
  } catch {
    throw wrong;
  }
}

/** https://docs.ntfy.sh/publish/#publish-as-json: as JSON, since headers take no text beyond ASCII. */
async function ntfy(
  action: Sendable,
  { title, message, priority }: Notice,
  target: TargetOf<'ntfy'>,
  secrets: Secrets,
): Promise<Message> {
  const url = new URL(target.ntfy);
  const at = url.pathname.lastIndexOf('/');
  const topic = url.pathname.slice(at + 1);
  url.pathname = url.pathname.slice(0, at + 1);
  const token = target.secret === undefined ? undefined : (await secrets.read(target.secret))[0];
  return {
    url: url.href,
    headers: { ...keyOf(action), ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ topic, ...textOf(title, message), priority }),
  };
}

/** https://gotify.net/api-docs#/message/createMessage; its priorities go to 10. */
async function gotify(
  action: Sendable,
  { title, message, priority }: Notice,
  target: TargetOf<'gotify'>,
  secrets: Secrets,
): Promise<Message> {
  const url = new URL(target.gotify);
  url.pathname = `${url.pathname.replace(/\/$/, '')}/message`;
  const [token = ''] = await secrets.read(target.secret);
  return {
    url: url.href,
    headers: { ...keyOf(action), 'x-gotify-key': token },
    body: JSON.stringify({ ...textOf(title, message), priority: priority * 2 }),
  };
}

/** Neither of them drops a repeat; who stands in front of them can (draft-ietf-httpapi-idempotency-key-header). */
const keyOf = ({ id }: Sendable) => ({ 'idempotency-key': `"${id}"` });

/** Both servers need a message; the title is optional. */
const textOf = (title: string, message: string | undefined) =>
  message === undefined ? { message: title } : { title, message };

const ANSWER_CHARS_SHOWN = 160;
/** Too early, too many, and what servers say when they are not well: the same may be taken later. */
const LATER = new Set([408, 425, 429]);

function judge(name: string, { status, body, retryAfterMs }: HttpAnswer): number {
  if (status >= 200 && status < 300) return status;
  const said = body
    .replace(/[\p{C}\s]+/gu, ' ')
    .trim()
    .slice(0, ANSWER_CHARS_SHOWN);
  const answered = `"${name}" answered ${status}${said === '' ? '' : `: ${said}`}`;
  if (status === 410) throw new BrinkError('E_TARGET_GONE', answered);
  if (status >= 500 || LATER.has(status)) throw new BrinkError('E_UNAVAILABLE', answered, { retryAfterMs });
  const moved = status < 400 ? '; redirects are not followed: expected its new URL in the configuration' : '';
  throw new BrinkError('E_ACTION_REFUSED', answered + moved);
}
