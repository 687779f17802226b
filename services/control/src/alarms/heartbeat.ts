import { BrinkError, type HeartbeatConfig } from '@brink/protocol';
import type { Clock, Logger, Part, Timer } from '@brink/runtime';
import { type HookContext, sendHook } from '../actions/hooks.ts';

export interface HeartbeatDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly hooks: HookContext;
  /** `site` of the active configuration; undefined before there is one. */
  readonly site: () => { readonly name: string; readonly heartbeat?: HeartbeatConfig | undefined } | undefined;
  /** Why Brink is not ready; empty: it is. */
  readonly problems: () => readonly string[];
  readonly counted: (result: BeatResult) => void;
}

export type BeatResult = 'sent' | 'failed' | 'withheld';

export interface Heartbeat extends Part {
  /** The configuration may have changed: who is told, and how often. */
  look(): void;
}

/**
 * The dead-man's switch. An outside monitor is told at a steady pace that all is well, and raises the alarm when it hears nothing: that is
 * the one alarm which a box that is down, cut off or without power still gives. Nothing is sent while Brink is not ready either, for a
 * control that answers but cannot decide is as good as dead to who relies on it. One beat that gets lost is not sent again: the next follows.
 */
export function createHeartbeat(d: HeartbeatDeps): Heartbeat {
  let running = false;
  let timer: Timer | undefined;
  let agreed = '';
  let well: boolean | undefined;

  function look(): void {
    const heartbeat = d.site()?.heartbeat;
    const now = JSON.stringify(heartbeat ?? null);
    if (!running || now === agreed) return;
    agreed = now;
    well = undefined;
    if (timer !== undefined) d.clock.clearTimeout(timer);
    timer = undefined;
    if (heartbeat !== undefined) beat();
  }

  function beat(): void {
    const site = d.site();
    const heartbeat = site?.heartbeat;
    if (!running || site === undefined || heartbeat === undefined) return;
    timer = d.clock.setTimeout(beat, heartbeat.every_ms);
    if (d.problems().length > 0) {
      note('withheld', d.problems().join('; '));
      return;
    }
    send(site.name, heartbeat).then(
      () => note('sent', ''),
      (reason: unknown) => note('failed', BrinkError.from(reason).message),
    );
  }

  async function send(site: string, { url, target, allow_private }: HeartbeatConfig): Promise<void> {
    const at = new Date(d.clock.now()).toISOString();
    const body = { site, at, ready: true };
    const id = `heartbeat.${site}.${at}`;
    if (target !== undefined) {
      await sendHook({ id, target, kind: 'webhook' }, { webhook: { target, body, expires_ms: 1000 } }, d.hooks);
      return;
    }
    const headers = { 'content-type': 'application/json', 'user-agent': 'brink', 'webhook-id': id };
    const post = { url: url as string, headers, body: JSON.stringify(body), allowPrivate: allow_private };
    const { status } = await d.hooks.http.post(post);
    if (status < 200 || status >= 300) throw new BrinkError('E_UNAVAILABLE', `the monitor answered ${status}`);
  }

  /** Once where it changes, not once a minute for a week. */
  function note(result: BeatResult, why: string): void {
    if (!running) return;
    d.counted(result);
    const now = result === 'sent';
    if (well === now) return;
    if (now) d.logger.info('heartbeats reach the monitor');
    else d.logger.warn({ result, why }, 'the monitor gets no heartbeats');
    well = now;
  }

  return {
    look,
    start() {
      running = true;
      agreed = 'null';
      look();
      return Promise.resolve();
    },
    stop() {
      running = false;
      if (timer !== undefined) d.clock.clearTimeout(timer);
      timer = undefined;
      return Promise.resolve();
    },
  };
}
