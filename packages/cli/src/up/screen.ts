import { join } from 'node:path';
import { clockTime, near, paintOn, printable, type Terminal } from '../terminal.ts';
import { addresses, type ProcessName, publicUrl, type UpOptions } from './plan.ts';

/** What `brink up` tells: lines for people, or one JSON object per line on stdout. */
export interface Screen {
  begin(version: string): void;
  started(name: ProcessName, pid: number, restarts: number): void;
  /** @param ms undefined: it does not say when it is ready, but it runs */
  ready(name: ProcessName, ms: number | undefined, restarts: number): void;
  /** Not ready after a long time, and why. */
  waiting(problems: readonly string[]): void;
  ended(name: ProcessName, how: string, againMs: number | undefined): void;
  /** @param late it was told before what was missing */
  allReady(ms: number, pids: Readonly<Record<string, number>>, late: boolean): void;
  /** Everything runs, and this is what keeps it from being ready. */
  degraded(ms: number, problems: readonly string[]): void;
  /** A line of a service's log that people should see. */
  note(name: ProcessName, text: string, severe: boolean): void;
  live(lines: readonly string[]): void;
  stopping(why: string): void;
  stopped(ms: number): void;
}

/** Notes of services within this time; the rest is in the logs. */
const NOTES_MAX = 12;
const NOTES_WITHIN_MS = 10_000;

export function createJsonScreen(terminal: Terminal, o: UpOptions): Screen {
  const say = (event: string, value: object) => terminal.line(JSON.stringify({ event, ...value }));
  return {
    begin: (version) => say('begin', { version, data: o.data, config: o.config, models: o.models }),
    started: (service, pid, restarts) => say('started', { service, pid, restarts }),
    ready: (service, ms, restarts) => say('service-ready', { service, ms, restarts }),
    waiting: (problems) => say('waiting', { problems }),
    ended: (service, how, againMs) => say('ended', { service, how, again_ms: againMs ?? null }),
    allReady: (ms, pids) =>
      say('ready', { ms, ...addresses(o), ...(o.lan ? { token_file: tokenFileOf(o) } : {}), pids }),
    degraded: (ms, problems) => say('degraded', { ms, problems }),
    note: (service, text, severe) => terminal.note(`${service}${severe ? ' error' : ''}: ${printable(text)}`),
    live: () => {},
    stopping: (why) => say('stopping', { why }),
    stopped: (ms) => say('stopped', { ms }),
  };
}

/** Told in a better form by `news.ts`. */
const TOLD_ELSEWHERE = 'configuration refused, the one before stays';

/**
 * @param root folder of the project
 * @param now epoch ms
 */
export function createTextScreen(terminal: Terminal, o: UpOptions, root: string, now: () => number): Screen {
  const paint = paintOn(terminal);
  const at = () => paint('dim', clockTime(now()));
  const line = (text: string) => terminal.line(text);
  let notes = { since: 0, count: 0 };
  const mayNote = (): 'yes' | 'last' | 'no' => {
    if (now() - notes.since > NOTES_WITHIN_MS) notes = { since: now(), count: 0 };
    notes.count += 1;
    return notes.count < NOTES_MAX ? 'yes' : notes.count === NOTES_MAX ? 'last' : 'no';
  };
  return {
    begin(version) {
      line(`${paint('bold', `Brink ${version}`)}  configuration ${shown(o.config)}, models ${shown(o.models)}`);
      line(`data lie in ${shown(o.data)}; to start afresh: stop, then rm -r ${shown(o.data)}`);
    },
    started: (name, _pid, restarts) => {
      if (restarts > 0) line(`${at()} ${name.padEnd(10)} started again`);
    },
    ready(name, ms, restarts) {
      const word = ms === undefined ? 'runs' : restarts > 0 ? 'ready again' : 'ready';
      const took = ms === undefined ? '' : paint('dim', `${Math.round(ms)} ms`);
      line(`${at()} ${name.padEnd(10)} ${paint('green', word)}  ${took}`.trimEnd());
    },
    waiting(problems) {
      line(`${at()} still waiting:`);
      for (const problem of problems) line(`         ${printable(problem)}`);
    },
    ended(name, how, againMs) {
      const next = againMs === undefined ? '' : `; starts again in ${Math.round(againMs)} ms`;
      line(`${at()} ${name.padEnd(10)} ${paint('yellow', `ended (${how})${next}`)}`);
    },
    allReady(ms, _pids, late) {
      if (late) return line(`${at()} ${paint('green', 'all ready now')}`);
      line(`\n${paint('bold', `All ready after ${(ms / 1000).toFixed(1)} s.`)} Ctrl-C stops everything.`);
      for (const text of whereToLook(o, root)) line(text);
    },
    degraded(_ms, problems) {
      line(`\n${paint('yellow', 'Ready, except:')}`);
      for (const problem of problems) line(`  ${paint('red', '!')} ${printable(problem)}`);
      line('The rest works, and it is told here when that does too. Ctrl-C stops everything.');
      for (const text of whereToLook(o, root)) line(text);
    },
    note(name, text, severe) {
      if (text.startsWith(TOLD_ELSEWHERE)) return;
      const may = mayNote();
      if (may === 'no') return;
      const more = may === 'last' ? ` (more in ${shown(o.data)}/logs)` : '';
      line(`${at()} ${name.padEnd(10)} ${paint(severe ? 'red' : 'yellow', printable(text))}${more}`);
    },
    live: (lines) => {
      for (const text of lines) line(text);
    },
    stopping: (why) => line(`${at()} stopping (${why})`),
    stopped: (ms) => line(`${at()} stopped after ${Math.round(ms)} ms`),
  };
}

const tokenFileOf = (o: UpOptions) => join(o.data, 'credentials', 'http-token');

/** Everybody on the network may come, with a token or as a device with a password; in the clear. */
function whereToLookOnTheNetwork(o: UpOptions): string[] {
  const url = o.port === 8080 ? '' : ` --url ${addresses(o).http}`;
  return [
    `  API     ${publicUrl('http', o.port)}/v1/status   docs ${publicUrl('http', o.port)}/docs`,
    `  MQTT    ${publicUrl('mqtt', o.mqttPort)}   topics ${o.topicRoot}/#`,
    '  Reachable from the network, without encryption: there is no TLS yet.',
    `  models  ${addresses(o).oip}/v2 (Open Inference Protocol; this machine only)`,
    healthLine(o.opsPort),
    `  logs    ${shown(o.data)}/logs`,
    'Everybody needs credentials, also on this machine. Try, from another terminal:',
    `  export BRINK_HTTP_TOKEN_FILE=${shown(tokenFileOf(o))}`,
    `  npx brink devices add cam-9${url}`,
    `  npx brink tokens add dashboard --scope decisions:read${url}`,
    `  npx brink watch${url}`,
    '',
  ];
}

function whereToLook(o: UpOptions, root: string): string[] {
  if (o.lan) return whereToLookOnTheNetwork(o);
  const { http, oip } = addresses(o);
  const url = o.port === 8080 ? '' : ` --url ${http}`;
  // `brink send` publishes over MQTT where it finds the broker by itself.
  const over = o.mqttPort === 1883 ? url : ` --http${url}`;
  const port = o.mqttPort === 1883 ? '' : ` -p ${o.mqttPort}`;
  const picture = near(join(root, 'packages/device/pictures/chelsea.png'));
  return [
    `  API     ${http}/v1/status   docs ${http}/docs`,
    `  MQTT    mqtt://127.0.0.1:${o.mqttPort}   topics ${o.topicRoot}/#`,
    `  models  ${oip}/v2 (Open Inference Protocol)`,
    healthLine(o.opsPort),
    `  logs    ${shown(o.data)}/logs`,
    'Try, from another terminal:',
    `  mosquitto_pub${port} -t ${o.topicRoot}/cam-9/up/frames/front -f ${picture}`,
    `  npx brink send cam-9 front ${picture}${over}`,
    `  curl -s '${http}/v1/decisions?device=cam-9&limit=1'`,
    `  npx brink watch${url}`,
    ...aboutTheDemonstration(o, o.config === join(root, 'config')),
    '',
  ];
}

const healthLine = (port: number) =>
  `  health  gateway 127.0.0.1:${port}  inference :${port + 1}  control :${port + 2}  broker :${port + 3}  /readyz /metrics`;

/** @param ours the configuration is the one that the demonstration was made for */
function aboutTheDemonstration(o: UpOptions, ours: boolean): string[] {
  if (!o.demo) {
    const whose = ours ? 'commands to feeder-1 expire unless somebody plays it' : 'no camera, no feeder';
    return [`No simulated devices run (--no-demo): ${whose}.`];
  }
  if (!ours) return ['The simulated camera (cam-1) shows five photographs; feeder-1 is simulated too.'];
  return [
    'The simulated camera shows five photographs; pets (cifar-net) and article (simple-cnn) know ten',
    "kinds of things, so only the cat is right. Labels in the site's language (config/site.yaml).",
  ];
}

/** Relative to where the user stands, where that is shorter. */
function shown(path: string): string {
  const short = near(path);
  return short === path ? path : `./${short}`;
}
