import { Counter, Gauge, Histogram, type Registry } from '@brink/runtime';
import type { Dispatcher } from './actions/dispatcher.ts';
import type { Ledger } from './ledger/ledger.ts';

/** Every metric of control. Seconds, bytes, `_total`. */
export function createMetrics(registry: Registry) {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter({ name: `brink_control_${name}`, help, labelNames: [...labelNames], registers });
  const gauge = (name: string, help: string, collect?: (this: Gauge) => void) =>
    new Gauge({ name: `brink_control_${name}`, help, registers, ...(collect === undefined ? {} : { collect }) });
  return {
    outcomes: counter('outcomes_total', 'outcomes and dead letters from gateways, by what became of them', ['result']),
    outcomesRefused: counter('outcomes_refused_total', 'outcomes that are not what the schema says, by code', ['code']),
    reports: counter('reports_total', 'reports of gateways, by result', ['result']),
    configuration: counter('configuration_looks_total', 'looks at the configuration files, by outcome', ['outcome']),
    feed: counter('feed_total', 'decisions to be published on the feed, by result', ['result']),
    states: counter('states_total', 'retained states of devices published, by result', ['result']),
    ignored: counter('mqtt_ignored_total', 'messages that are none of those that are expected, by code', ['code']),
    acks: counter('acks_total', 'acks of devices, by what they meant; malformed: not as the schema says', ['outcome']),
    requests: counter('http_requests_total', 'HTTP requests, by route, method and status', [
      'route',
      'method',
      'status',
    ]),
    requestSeconds: new Histogram({
      name: 'brink_control_http_request_seconds',
      help: 'from the request line to the last byte of the answer',
      labelNames: ['route'],
      // Reads take a few ms; a posted frame waits for its decision, up to ten seconds.
      buckets: [0.002, 0.01, 0.05, 0.25, 1, 5, 20],
      registers,
    }),
    audit: counter('audit_total', 'requests that may change something, by whether they are in the audit', ['result']),
    listeners: gauge('event_listeners', 'clients of /v1/events'),
    lagged: counter('events_lagged_total', 'times that a client of /v1/events read too slowly and lost events'),
    lag: new Histogram({
      name: 'brink_control_commit_lag_seconds',
      help: 'from received_at at the gateway to COMMIT, one sample per group of commits',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
      registers,
    }),
    dispatchLag: new Histogram({
      name: 'brink_control_dispatch_lag_seconds',
      help: 'from received_at of what led to an action, or from the time that its timer was due, until it had left for the first time',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600],
      registers,
    }),
    outboxOldest: gauge('outbox_oldest_seconds', 'age of the oldest action that has not ended; 0: there is none'),
    brokerDropped: gauge(
      'broker_dropped_messages',
      'what the broker says that it has dropped since its start ($SYS/broker/publish/messages/dropped of Mosquitto)',
    ),
    heartbeats: counter('heartbeats_total', 'heartbeats to the outside monitor; withheld: Brink is not ready', [
      'result',
    ]),
    /** @param read how many streams and pipelines there are whose books do not balance */
    observeLaws(read: () => number): void {
      gauge(
        'laws_broken',
        'streams and pipelines whose counts do not add up; /v1/status names them',
        function collect() {
          this.set(read());
        },
      );
    },
    observeLedger: (ledger: Ledger) => observeLedger(gauge, ledger),
    observeModels: (read: () => ReadonlyMap<string, boolean>) => observeModels(registers, read),
    attempts: counter('action_attempts_total', 'attempts at actions, by kind and by what became of them', [
      'kind',
      'result',
    ]),
    observeDispatcher: (dispatcher: Dispatcher) => observeDispatcher(gauge, registers, dispatcher),
  };
}

type MakeGauge = (name: string, help: string, collect?: (this: Gauge) => void) => Gauge;

/** The ledger counts for itself; its figures are read when somebody asks for them. */
function observeLedger(gauge: MakeGauge, ledger: Ledger): void {
  const figures = {
    queued: 'operations that wait for a COMMIT',
    committed: 'rows committed since start',
    duplicates: 'outcomes that were committed before',
    groups: 'transactions since start',
    refusedBusy: 'operations refused because the queue was full',
    failedCommits: 'transactions that could not be committed',
    purged: 'rows deleted by retention',
    walBytes: 'size of the write-ahead log',
    rows: 'decisions that are kept',
    bytes: 'size of the ledger, pages that are free not counted',
    unkept: 'decisions that keep left out, since start',
    refusedFull: 'operations refused because the disk is full',
    diskPercent: 'how full the disk of the ledger is, percent',
    hangs: 'evaluations of rules that did not end, since start; each rule rests until it is changed',
    copies: 'copies of the ledger made since start',
    copiesFailed: 'copies of the ledger that could not be made, since start',
    copiedAt: 'when the newest copy of the ledger was made, seconds since 1970; 0: there is none',
  } as const;
  for (const [key, help] of Object.entries(figures) as [keyof typeof figures, string][]) {
    gauge(`ledger_${snake(key)}`, help, function collect() {
      this.set(ledger.stats[key]);
    });
  }
  gauge('ledger_damage', 'losses that nobody has taken note of', function collect() {
    this.set(ledger.damage.length);
  });
  gauge('ledger_disk_state', '0: there is room; 1: the disk is low; 2: nothing new is taken in', function collect() {
    this.set(['ok', 'low', 'full'].indexOf(ledger.stats.diskState));
  });
}

/** @param read the models that pipelines and masks name, and whether they are served */
function observeModels(registers: Registry[], read: () => ReadonlyMap<string, boolean>): void {
  const unserved = new Gauge({
    name: 'brink_control_model_not_served',
    help: '1: a pipeline or a mask names this model, and a gateway has none to work with',
    labelNames: ['model'],
    registers,
    collect() {
      unserved.reset();
      for (const [model, served] of read()) unserved.labels(model).set(served ? 0 : 1);
    },
  });
}

function observeDispatcher(gauge: MakeGauge, registers: Registry[], dispatcher: Dispatcher): void {
  const shut = new Gauge({
    name: 'brink_control_target_shut',
    help: '1: the target gets nothing at present, because it failed several times or answered 410',
    labelNames: ['target'],
    registers,
    collect() {
      shut.reset();
      for (const [target, { state }] of Object.entries(dispatcher.targets()))
        shut.labels(target).set(state === 'closed' ? 0 : 1);
    },
  });
  const figures = {
    inFlight: 'actions that are being sent',
    sent: 'attempts that left, since start',
    failed: 'attempts that did not leave and are made again',
    refused: 'actions that can never be sent',
  } as const;
  for (const [key, help] of Object.entries(figures) as [keyof typeof figures, string][]) {
    gauge(`dispatcher_${snake(key)}`, help, function collect() {
      this.set(dispatcher.stats[key]);
    });
  }
}

const snake = (key: string) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

export type Metrics = ReturnType<typeof createMetrics>;
