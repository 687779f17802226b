import { type ActionState, createTopics, type FleetStatus, underName } from '@brink/protocol';
import {
  type Clock,
  createLinkMetrics,
  createMqtt,
  createMqttMetrics,
  createOps,
  createRegistry,
  type LinkAddress,
  type Logger,
  type Part,
  startAll,
  stopAll,
} from '@brink/runtime';
import manifest from '../package.json' with { type: 'json' };
import { createDispatcher, type Dispatcher, type DispatcherDeps } from './actions/dispatcher.ts';
import { createHttpOut } from './actions/http-out.ts';
import { createSecrets } from './actions/secrets.ts';
import { createAlarms } from './alarms/alarms.ts';
import { timeDispatches } from './alarms/dispatch-lag.ts';
import type { ControlConfig } from './config.ts';
import { type ConfigurationKeeper, createConfiguration } from './configuration/active.ts';
import { createConfigurationEditor } from './configuration/edit.ts';
import { readModels, readModelsFolder } from './configuration/folder.ts';
import { createJudge } from './configuration/judge.ts';
import { createFeed } from './fleet/feed.ts';
import { listenToFleet } from './fleet/inbox.ts';
import { createPresence } from './fleet/presence.ts';
import { createServices } from './fleet/services.ts';
import { createDeviceStates } from './fleet/states.ts';
import { createGateways } from './gateways/gateways.ts';
import { createHttp, type HttpConfig } from './http/http.ts';
import { machineNow } from './ledger/integrity/mirror.ts';
import { createLedger } from './ledger/ledger.ts';
import { createMetrics } from './metrics.ts';
import { boundModels } from './models/bound.ts';
import { createModelUploads } from './models/uploads.ts';
import { afterwards, inDataFolder, unawaited } from './parts.ts';
import { createRecordings } from './recordings/recordings.ts';
import { createApprovals } from './registry/approvals.ts';
import { credentialsFor } from './registry/credential-store.ts';
import { createDevices } from './registry/devices.ts';
import { createDynsec } from './registry/dynsec.ts';
import { createForeignRights } from './registry/foreign-rights.ts';
import { createForgetDevice } from './registry/forget.ts';
import { createOnline } from './registry/online.ts';
import { createRules } from './rules/rules.ts';
import { brokenLaws, createStatus, problemsOf } from './status.ts';

export type { ControlConfig } from './config.ts';

export interface ServiceDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly random: () => number;
}

export interface ControlService extends Part {
  /** The real ones, once started: ports may be given as 0. */
  readonly addresses: {
    readonly http: { readonly host: string; readonly port: number };
    readonly ops: { readonly host: string; readonly port: number };
    readonly link: LinkAddress;
  };
  /** Why it is not ready; empty when it is. */
  problems(): string[];
}

/** Messages that may wait for the broker: the feed of a second at full speed. */
const MQTT_OUTGOING_MAX = 16_384;

/**
 * Control: outcomes in, decisions and actions out.
 *
 *     gateways ══ outcomes, reports ══▶ gateways ─▶ ledger ─┬─▶ feed, states, events       (after COMMIT)
 *        ▲                                 │                └─▶ dispatcher ─▶ commands ─▶ devices
 *        └───────── frames over HTTP ──────┘                                                 │
 *     config/*.yaml ─▶ configuration ─▶ rules of the ledger        inbox ◀── acks, status ◀──┘
 *                             └─▶ presence ─▶ brink/fleet/config
 *     http reads the ledger and asks everybody else
 */
export function createService(o: ControlConfig, d: ServiceDeps): ControlService {
  const ground = createGround(o, d);
  const core = createCore(o, d, ground);
  const { mqtt, dynsec, problems, registry } = ground;
  const { ledger, configuration, states, presence, approvals } = core;
  const entrances = createEntrances(o, d, ground, core, () => dispatcher.targets());
  const { gateways, http } = entrances;
  const dispatcher = createOutlet(d, ground, core, entrances);
  const alarms = createAlarms({
    ...{ ...d, ...ground, http: ground.out, read: () => ledger.read },
    configuration: () => configuration.current?.configuration,
    problems: () => [...problems(), ...problemsOf(entrances.services.list())],
  });
  const notes = () => [...(configuration.problem === undefined ? [] : [configuration.problem.detail]), ...ledger.notes];
  let starting = true;
  // A broker that is there at once makes nobody ready who does not listen yet.
  const lacking = () => (starting ? ['starting', ...problems()] : problems());
  const ops = createOps(o.ops, { registry, problems: lacking, notes, logger: d.logger });
  const parts: Part[] = [
    inDataFolder(o.dataDir),
    ops,
    ledger,
    // Not waited for: without a broker the ledger still takes outcomes and HTTP answers; /readyz says what is missing.
    unawaited(mqtt, d.logger),
    ...(dynsec === undefined ? [] : [unawaited(dynsec, d.logger)]),
    approvals,
    configuration,
    states,
    ground.out,
    dispatcher,
    presence,
    gateways,
    entrances.uploads,
    entrances.online,
    http,
    alarms,
    afterwards(entrances.finishForgetting, d.logger),
  ];
  return {
    get addresses() {
      return { http: http.address, ops: ops.address, link: gateways.address };
    },
    problems: lacking,
    async start(signal) {
      await startAll(parts, signal);
      starting = false;
    },
    stop: () => stopAll(parts),
  };
}

/** Ends that the ledger tells of with their COMMIT: a second look must not tell of them again. */
const TOLD_WITH_COMMIT = new Set<ActionState>(['expired', 'dead', 'cancelled', 'suppressed']);
type Ground = ReturnType<typeof createGround>;
type Entrances = ReturnType<typeof createEntrances>;
type Core = ReturnType<typeof createCore>;

/** What everything stands on: topics, metrics, the broker, the ledger. */
function createGround(o: ControlConfig, d: ServiceDeps) {
  const topics = createTopics(o.topicRoot);
  const registry = createRegistry('control');
  const metrics = createMetrics(registry);
  const offline: FleetStatus = { service: 'control', instance: o.instance, state: 'offline' };
  const mqtt = createMqtt(
    {
      url: o.mqtt.url,
      clientId: o.mqtt.username ?? `brink-${o.instance}`,
      ...(o.mqtt.username === undefined ? {} : { username: o.mqtt.username }),
      ...(o.mqtt.password === undefined ? {} : { password: o.mqtt.password }),
      // Acks that arrive while control is away wait for it at the broker.
      clean: false,
      will: {
        topic: topics.format({ kind: 'fleet', service: 'control', instance: o.instance }),
        payload: JSON.stringify(offline),
        retain: true,
        qos: 1,
      },
      outgoingMax: MQTT_OUTGOING_MAX,
    },
    { ...d, metrics: createMqttMetrics(registry) },
  );
  const dynsec = o.dynsec === undefined ? undefined : createDynsec({ url: o.mqtt.url, ...o.dynsec }, d);
  const ledger = createLedger({ folder: o.dataDir, ...o.ledger }, { ...d, machine: machineNow });
  metrics.observeLedger(ledger);
  const problems = (): string[] =>
    [ledger.problem, ...ledger.damage.map(lossOf), mqtt.problem, dynsec?.problem].filter(
      (problem) => problem !== undefined,
    );
  return {
    topics,
    registry,
    metrics,
    mqtt,
    dynsec,
    ledger,
    out: createHttpOut({}, d),
    secrets: createSecrets({ dir: o.secretsDir }),
    problems,
    startedAt: new Date(d.clock.now()).toISOString(),
  };
}

/** Configuration, rules and their actions, and what is published of them. */
function createCore(o: ControlConfig, d: ServiceDeps, ground: Ground) {
  const { topics, metrics, mqtt, ledger, dynsec } = ground;
  const foreign = dynsec === undefined ? undefined : createForeignRights({ root: o.topicRoot }, { ...d, dynsec });
  const configuration: ConfigurationKeeper = createConfiguration(
    { dir: o.configDir, modelsDir: o.modelsDir },
    {
      ...d,
      judge: createJudge({}, d),
      async activate(published, activation) {
        await foreign?.apply(published.configuration);
        await ledger.configure(published, activation);
      },
      lastKnownGood: () => ledger.read.configuration(),
      onActive: () => {
        presence.publishConfiguration();
        presence.refresh();
        states.all();
      },
      looked: (outcome) => metrics.configuration.labels(outcome).inc(),
    },
  );
  const active = () => configuration.current;
  const states = createDeviceStates(
    { topics },
    { ...d, mqtt, metrics, read: () => ledger.read, configuration: () => active()?.configuration },
  );
  const status = () => fleetStatus(o.instance, ground, configuration);
  const approves = () => active()?.configuration.site.join === 'approve';
  const approvals = createApprovals({ ledger, onChange: () => approves() && presence.publishConfiguration() });
  const published = () => {
    const now = active();
    return now !== undefined && approves() ? { ...now, approved: approvals.list() } : now;
  };
  const presence = createPresence({ topics, instance: o.instance }, { ...d, mqtt, active: published, status });
  mqtt.onConnect(() => states.all());
  return { ledger, configuration, states, presence, approvals };
}

/** Where others come in: gateways over the link, services and devices over MQTT, people over HTTP. */
function createEntrances(
  o: ControlConfig,
  d: ServiceDeps,
  ground: Ground,
  core: Core,
  targetStates: Dispatcher['targets'],
) {
  const { topics, registry, metrics, mqtt, dynsec, ledger, problems, startedAt } = ground;
  const { configuration, states } = core;
  const services = createServices();
  const gateways = createGateways(
    { instance: o.instance, ...o.link },
    {
      ...d,
      metrics,
      linkMetrics: createLinkMetrics(registry),
      commit: (items) => {
        for (const item of items)
          if (item.kind === 'dead' && item.letter.error.code === 'E_DEVICE')
            devices.meet(item.letter.device, item.letter.received_ms);
        return ledger.commit(items);
      },
      onReport: (report) => devices.notice(report),
    },
  );
  const reports = () => gateways.reports().map(({ report }) => report);
  const credentials = credentialsFor(o, topics, dynsec);
  const join = () => configuration.current?.configuration.site.join ?? 'open';
  const devices = createDevices({
    ...d,
    ledger,
    credentials,
    approvals: core.approvals,
    reports,
    join,
    forget: createForgetDevice({ topics, dataDir: o.dataDir }, { ...d, ledger, gateways, mqtt, states }),
    publicUrl: o.publicUrl,
  });
  metrics.observeModels(() => boundModels(configuration.current?.configuration ?? { streams: {} }, services.list()));
  metrics.observeLaws(() => brokenLaws(gateways.reports()));
  const newest = { n: 0, lagMs: null as number | null };
  const asked = { ...d, ledger, configuration, services: services.list };
  const status = createStatus(
    { version: manifest.version, dataDir: o.dataDir, startedAt },
    { ...asked, reports: gateways.reports, linked: gateways.linked, problems, newest: () => newest },
  );
  const uploads = createModelUploads(
    { dataDir: o.dataDir, modelsDir: o.modelsDir, mbMax: o.modelsMbMax },
    { ...d, services: services.list, policy: (name) => underName(configuration.current?.configuration.models, name) },
  );
  const http = createHttp(httpConfig(o), {
    ...asked,
    editor: createConfigurationEditor({ dir: o.configDir }, { configuration }),
    uploads,
    metrics,
    devices,
    gateways,
    status,
    state: states.of,
    targetStates,
    reports,
    models: () => readModelsFolder(o.modelsDir),
    recordings: createRecordings({ dir: o.recordingsDir }),
    ...createRules(o, { ...asked, models: () => readModels(o.modelsDir) }),
  });
  const feed = createFeed({ topics }, { ...d, mqtt, metrics });
  ledger.onCommitted(({ decisions, actions }) => {
    feed.publish(decisions);
    states.take(decisions.map(({ decision }) => decision));
    http.events.decisions(decisions);
    for (const action of actions) http.events.action(action);
    const last = decisions.at(-1)?.decision;
    if (last === undefined) return;
    newest.n = last.n;
    newest.lagMs = Math.max(0, d.clock.now() - Date.parse(last.received_at));
    metrics.lag.observe(newest.lagMs / 1000);
  });
  const showAction = (id: string, told?: ReadonlySet<ActionState>): void => {
    ledger.read.action(id).then(
      (action) => action && !told?.has(action.state) && http.events.action(action),
      (error: unknown) => d.logger.debug({ err: error }, 'action not shown'),
    );
  };
  const online = createOnline({}, { ...d, ledger });
  mqtt.onConnect(() => online.connected());
  const onAck = (key: string) => showAction(key);
  listenToFleet({ topics }, { mqtt, logger: d.logger, metrics, ledger, services, online, onAck });
  return { gateways, http, showAction, services, uploads, online, finishForgetting: devices.finishForgetting };
}

function httpConfig(o: ControlConfig): HttpConfig {
  const { topicRoot, publicUrl, inference, dataDir } = o;
  return { ...o.http, version: manifest.version, topicRoot, publicUrl, inference, dataDir };
}

/** Where actions go out. */
function createOutlet(d: ServiceDeps, ground: Ground, core: Core, { showAction, gateways }: Entrances) {
  const { topics, metrics, mqtt, ledger, out: http, secrets } = ground;
  const configured = () => core.configuration.current?.configuration;
  const timed = timeDispatches(ledger, { ...d, observe: (seconds) => metrics.dispatchLag.observe(seconds) });
  const outbox: DispatcherDeps['ledger'] = {
    lease: timed.lease,
    onDue: ledger.onDue,
    async settle(outcomes) {
      await timed.settle(outcomes);
      for (const { id } of outcomes) showAction(id, TOLD_WITH_COMMIT);
    },
  };
  const dispatcher = createDispatcher(
    {},
    {
      ...{ ...d, ledger: outbox, mqtt, topics, http, secrets, record: gateways.record },
      mqttAllow: () => configured()?.site.mqtt_allow ?? [],
      targets: () => configured()?.targets ?? {},
      attempted: (kind, result) => metrics.attempts.labels(kind, result).inc(),
    },
  );
  metrics.observeDispatcher(dispatcher);
  return dispatcher;
}

function fleetStatus(instance: string, ground: Ground, configuration: ConfigurationKeeper): FleetStatus {
  const problems = ground.problems();
  const { current, problem } = configuration;
  return {
    service: 'control',
    instance,
    state: 'online',
    version: manifest.version,
    started_at: ground.startedAt,
    ...(current === undefined ? {} : { revision: current.revision }),
    ...(problem === undefined ? {} : { revision_error: problem.detail }),
    ready: problems.length === 0,
    problems,
  };
}

/** Stands in /readyz and the status until somebody has taken note. */
const lossOf = (damage: string) => `E_STORAGE_CORRUPT: ${damage}; taken note of by \`brink damage accept\``;
