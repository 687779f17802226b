import type { Configuration, DeviceRecord, Discovered, Status } from '@brink/protocol';

/** One thing that was looked at. `note`: works, but somebody may want to know. */
export interface Finding {
  readonly what: string;
  readonly state: 'ok' | 'note' | 'problem';
  readonly detail: string;
  /** What to do about it. */
  readonly advice?: string;
}

export interface Site {
  readonly status: Status;
  readonly discovered: readonly Discovered[];
  readonly devices: readonly DeviceRecord[];
  /** Undefined where the token may not read it. */
  readonly configuration: Configuration | undefined;
  /** This machine's clock when the status came, ms since 1970. */
  readonly nowMs: number;
}

const CLOCK_MS_MAX = 5000;
const LAG_MS_MAX = 2500;
const OUTBOX_MS_MAX = 900_000;
const WAL_BYTES_MAX = 256 * 1024 * 1024;
const DISK_FULL_NOTE = 0.9;
const DISK_FULL = 0.95;

/** What is wrong with a site, and what to do about it. Everything from what control says; nothing is changed. */
export function examine(site: Site): Finding[] {
  return [
    ...services(site.status),
    ...configuration(site.status),
    ...laws(site.status),
    ledger(site.status),
    disk(site.status),
    ...actions(site.status),
    ...frames(site),
    devices(site),
    clock(site),
    heartbeat(site),
  ];
}

const ok = (what: string, detail: string): Finding => ({ what, state: 'ok', detail });
const note = (what: string, detail: string, advice: string): Finding => ({ what, state: 'note', detail, advice });
const problem = (what: string, detail: string, advice: string): Finding => ({ what, state: 'problem', detail, advice });

function services({ services, problems }: Status): Finding[] {
  const missing = ['gateway', 'inference', 'control'].filter(
    (name) => !services.some(({ service, state }) => service === name && state === 'online'),
  );
  const start = 'start it: `npm start`, or `docker compose up -d`; its log says why it ended';
  const away = missing.map((name) => problem(name, 'is not there', start));
  const said = problems.map((detail) => problem('ready', detail, adviceOn(detail)));
  const found = [...away, ...said];
  const names = services.map(({ instance }) => instance).join(', ');
  return found.length > 0 ? found : [ok('services', `${names} are ready`)];
}

/** By the words of the problem: what people did who had it. */
function adviceOn(detail: string): string {
  if (/E_BROKER|broker|MQTT/i.test(detail)) return 'is the broker up, and do user name and password fit? See its log';
  if (/E_STORAGE_FULL/.test(detail)) return 'make room on the disk; Brink goes on by itself within seconds';
  if (/does not serve|model/i.test(detail))
    return '`brink models list` says which versions there are and why one failed';
  if (/E_STORAGE/.test(detail)) return 'docs/operations.md; keep the data folder as it is';
  return "the service's log, and /readyz on its operations port";
}

function configuration({ configuration: { error, applied, revision } }: Status): Finding[] {
  if (error !== null)
    return [
      problem('configuration', `the files are not valid: ${error.detail}`, 'put them right; `brink check` helps'),
    ];
  if (!applied)
    return [note('configuration', `${revision} is not yet applied everywhere`, '`brink status` says by whom')];
  return [ok('configuration', `${revision}, applied everywhere`)];
}

function laws({ laws: { streams, pipelines } }: Status): Finding[] {
  return [
    ...streams.items.filter(({ holds }) => !holds).map(({ device, stream }) => `${device}/${stream}`),
    ...pipelines.items.filter(({ holds }) => !holds).map(({ pipeline }) => pipeline),
  ]
    .map((name) => problem('books', `${name} does not account for every frame`, 'tell us: `brink status --json`'))
    .concat(streams.holds && pipelines.holds ? [ok('books', 'every frame is accounted for')] : []);
}

function ledger({ ledger: { problem: broken, lag_ms, queued, wal_bytes, n } }: Status): Finding {
  if (broken !== null) return problem('ledger', broken, adviceOn(broken));
  if (lag_ms !== null && lag_ms > LAG_MS_MAX)
    return note('ledger', `${Math.round(lag_ms)} ms from frame to commit, ${queued} waiting`, 'is the box too busy?');
  if (wal_bytes > WAL_BYTES_MAX)
    return note('ledger', `its log has ${Math.round(wal_bytes / 1e6)} MB`, 'does somebody read for very long?');
  return ok('ledger', `${n} decisions`);
}

function disk({ disk: found }: Status): Finding {
  if (found === null) return note('disk', 'nobody knows how full it is', 'does the data folder lie on a real disk?');
  const full = 1 - found.free_bytes / found.total_bytes;
  const detail = `${found.path} is ${Math.round(full * 100)} % full`;
  const advice = 'make room, or keep less: `keep` of the pipelines, docs/operations.md';
  if (full > DISK_FULL) return problem('disk', detail, advice);
  return full > DISK_FULL_NOTE ? note('disk', detail, advice) : ok('disk', detail);
}

function actions({ actions: counts, outbox, rules }: Status): Finding[] {
  const aside = rules.set_aside.map(({ rule }) => rule);
  const findings: Finding[] = [];
  if (aside.length > 0)
    findings.push(note('rules', `${aside.join(', ')}: set aside, nothing of it is sent`, '`brink rules arm <rule>`'));
  const { oldest_ms } = outbox;
  if (oldest_ms !== null && oldest_ms > OUTBOX_MS_MAX) {
    const detail = `one has been open for ${Math.round(oldest_ms / 60_000)} min`;
    findings.push(note('actions', detail, '`brink actions --state sent`: is its device there?'));
  }
  const dead = counts.dead ?? 0;
  if (dead > 0)
    findings.push(note('actions', `${dead} could not be carried out`, '`brink actions --state dead` says why'));
  return findings.length > 0 ? findings : [ok('actions', 'none is stuck')];
}

function frames({ status: { dead }, discovered }: Site): Finding[] {
  const refused = dead.reduce((sum, { count }) => sum + count, 0);
  return [
    ...(refused > 0 ? [note('frames', `${refused} were refused by name`, '`brink dead` says which and why')] : []),
    ...(discovered.length > 0
      ? [note('frames', `${discovered.length} topics are of no stream`, '`brink discovered` prints what to paste')]
      : []),
  ];
}

function devices({ devices: all }: Site): Finding {
  // One that says nothing of its state (`unknown`) is there as long as it sends frames.
  const isAway = ({ state, last_seen }: Site['devices'][number]) =>
    state === 'offline' || (state === 'unknown' && last_seen === undefined);
  const away = all.filter((device) => device.registered && isAway(device)).map(({ name }) => name);
  if (away.length === 0) return ok('devices', `${all.length} known`);
  const some = away.slice(0, 5).join(', ');
  return note('devices', `${away.length} not online: ${some}`, '`brink devices show <name>`; do its credentials fit?');
}

function clock({ status, nowMs }: Site): Finding {
  const off = Date.parse(status.now) - nowMs;
  if (Math.abs(off) <= CLOCK_MS_MAX) return ok('clock', 'as here');
  const detail = `differs from this machine's by ${Math.round(off / 1000)} s`;
  return note('clock', detail, 'have both keep time (NTP): rules know hours of the day, tokens expire');
}

function heartbeat({ configuration: active }: Site): Finding {
  if (active === undefined) return ok('heartbeat', 'not looked at: the token may not read the configuration');
  if (active.site.heartbeat !== undefined)
    return ok('heartbeat', 'a monitor outside is told; brink_control_heartbeats_total says how that goes');
  const advice = 'site: { heartbeat: { url: "https://…" } }: a monitor that hears nothing any more calls you';
  return note('heartbeat', 'nobody outside would notice that this box is down', advice);
}
