import { existsSync, statSync } from 'node:fs';
import { BrinkError } from '@brink/protocol';
import { exitCodeOf, systemClock } from '@brink/runtime';
import { createApi, readToken } from '../api.ts';
import { followEvents, type LiveEvent } from '../follow.ts';
import { describe, paintOn } from '../terminal.ts';
import { type Context, type ExitCode, filled } from '../verb.ts';
import { createFleet, type FleetEnd } from './fleet.ts';
import { createLive } from './live.ts';
import { createNews, pollNews } from './news.ts';
import { takePlace } from './place.ts';
import { addresses, planProcesses, type UpOptions, wantedPorts } from './plan.ts';
import { checkPorts } from './ports.ts';
import { checkConfiguration } from './precheck.ts';
import { createJsonScreen, createTextScreen, type Screen } from './screen.ts';
import { versionOf } from './version.ts';

const SUMMARY_EVERY_MS = 5000;

/**
 * Runs everything until it is asked to stop.
 * @returns 0, or what sysexits.h says: 69 port taken, 70 a service was given up, 75 data folder in use, 78 configuration
 */
export async function runUp(context: Context, o: UpOptions): Promise<ExitCode> {
  try {
    return await up(context, o);
  } catch (reason) {
    const error = BrinkError.from(reason);
    if (error.code === 'E_CANCELLED' || error.code === 'E_INTERNAL') throw error;
    return refuse(context, { code: exitCodeOf(error), lines: `brink up: ${describe(error)}`.split('\n') });
  }
}

async function up(context: Context, o: UpOptions): Promise<ExitCode> {
  const { signal, terminal, root } = context;
  checkPlatform();
  checkFolder(o.config, 'configuration', '--config');
  checkFolder(o.models, 'models', '--models');
  const mayStart = async (ranBefore: boolean) => {
    const checked = checkConfiguration({ ...o, root, ranBefore }, signal);
    const [problems] = await Promise.all([checked, checkPorts(wantedPorts(o), systemClock, signal)]);
    for (const problem of problems) terminal.note(problem);
    if (problems.length > 0) terminal.note('brink up: starting with the configuration that was in force last');
  };
  // Whoever is refused leaves no data folder behind; where there is one, it says best who else is running.
  const fresh = !existsSync(o.data);
  if (fresh) await mayStart(false);
  const place = await takePlace(o.data, o.lan ? { simulated: simulatedOf(context, o) } : undefined);
  try {
    if (!fresh) await mayStart(true);
    const screen = context.json ? createJsonScreen(terminal, o) : createTextScreen(terminal, o, root, Date.now);
    screen.begin(versionOf(root));
    const plans = planProcesses(o, place, root);
    const token = o.lan ? readToken(place.tokenFile) : undefined;
    const fleet = createFleet(
      plans,
      { place, env: inherited(context.env), http: addresses(o).http, token },
      { clock: systemClock, random: Math.random, screen },
    );
    const stopped = Promise.withResolvers<FleetEnd>();
    if (signal.aborted) stopped.resolve({ code: 0, lines: [] });
    signal.addEventListener('abort', () => stopped.resolve({ code: 0, lines: [] }), { once: true });
    const over = new AbortController();
    const running = fleet
      .start(AbortSignal.any([signal, over.signal]))
      .then(() => showLive(context, { ...o, token }, screen, over.signal));
    const broke = running.then(
      () => new Promise<never>(() => {}),
      (error: unknown): FleetEnd => ({
        code: signal.aborted ? 0 : 70,
        lines: signal.aborted ? [] : [`brink up: ${describe(BrinkError.from(error))}`],
      }),
    );
    const end = await Promise.race([stopped.promise, fleet.failed, broke]);
    over.abort();
    const since = performance.now();
    if (end.code === 0) screen.stopping('asked to');
    await fleet.stop();
    if (end.code !== 0) return refuse(context, end);
    screen.stopped(performance.now() - since);
    return 0;
  } finally {
    await place.release();
  }
}

/** Decisions, actions and news as control has them. That control is being restarted was told already. */
async function showLive(
  context: Context,
  o: UpOptions & { token: string | undefined },
  screen: Screen,
  over: AbortSignal,
): Promise<void> {
  if (context.json) return;
  const live = createLive(paintOn(context.terminal), Date.now);
  const news = createNews(paintOn(context.terminal), Date.now);
  const api = createApi({ url: addresses(o).http, ...(o.token === undefined ? {} : { token: o.token }) });
  const timer = setInterval(() => screen.live(live.summary(news.refused())), SUMMARY_EVERY_MS);
  const seen = ({ decision, action }: LiveEvent) =>
    screen.live(action === undefined ? live.decision(decision) : live.action(action));
  try {
    await Promise.all([
      followEvents(api, { signal: over, seen, lost: () => {} }),
      pollNews(api, { news, clock: systemClock, signal: over, show: (lines) => screen.live(lines) }),
    ]);
  } finally {
    clearInterval(timer);
    await api.close();
  }
}

/** Its devices, by the names that simulation.ts gives them; they need credentials like everybody else. */
function simulatedOf({ env }: Context, { demo }: UpOptions): string[] {
  if (!demo) return [];
  return [filled(env['BRINK_SIMULATE_CAMERA']) ?? 'cam-1', filled(env['BRINK_SIMULATE_FEEDER']) ?? 'feeder-1'];
}

/** The last word: after everything has stopped. */
function refuse({ terminal, json }: Context, end: FleetEnd): ExitCode {
  for (const line of end.lines) terminal.note(line);
  if (json) terminal.line(JSON.stringify({ event: 'refused', code: end.code, lines: end.lines }));
  return end.code;
}

/** What the children may see of this process' environment. Where they listen and whom they are is ours to say. */
function inherited(env: Record<string, string | undefined>): Record<string, string> {
  const passed: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    const known = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'NODE_EXTRA_CA_CERTS'].includes(name);
    const ours =
      name.startsWith('BRINK_') && !/^BRINK_(HTTP|MQTT|DYNSEC|LINK|DATA|INFERENCE|CONTROL|URL|LAUNCHER)/.test(name);
    if (value !== undefined && (known || ours)) passed[name] = value;
  }
  return passed;
}

function checkPlatform(): void {
  if (process.platform === 'win32') {
    throw new BrinkError(
      'E_UNSUPPORTED',
      'Brink does not run on Windows itself; run it inside WSL 2, or with docker compose',
    );
  }
  if (process.platform === 'darwin' && process.arch === 'x64') {
    throw new BrinkError(
      'E_UNSUPPORTED',
      'Brink does not run on Intel Macs: ONNX Runtime has no build for them; use docker compose',
    );
  }
}

function checkFolder(path: string, what: string, option: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  throw new BrinkError('E_SETTING', `the folder ${path} (${what}) is not there; name another with ${option}`);
}
