import type {
  Configuration,
  Decision,
  DeviceState,
  RuleConfig,
  RuleState,
  RuleStateName,
  Topics,
} from '@brink/protocol';
import type { Clock, Logger, Mqtt, Part, Timer } from '@brink/runtime';
import picomatch from 'picomatch';
import type { LedgerReads } from '../ledger/records.ts';
import type { Metrics } from '../metrics.ts';

const SETTLE_MS = 300;
/** Devices whose last decisions are held for their retained state. */
const DEVICES_MAX = 10_000;

/**
 * `brink/{device}/state`, retained: the latest decision per pipeline and where its rules stand. Every key is always there.
 * Published some tenths of a second after a change, once for all changes of a device in that time.
 */
export function createDeviceStates(
  o: { topics: Topics },
  d: {
    mqtt: Mqtt;
    clock: Clock;
    logger: Logger;
    metrics: Metrics;
    read: () => LedgerReads;
    configuration: () => Configuration | undefined;
  },
): Part & {
  take(decisions: readonly Decision[]): void;
  all(): void;
  of(device: string): Promise<DeviceState>;
  forget(device: string): void;
} {
  /** device → pipeline → its latest decision */
  const latest = new Map<string, Map<string, Decision>>();
  const changed = new Set<string>();
  const concern = createConcern();
  let timer: Timer | undefined;
  let stopped = false;

  function remember(decision: Decision): void {
    let pipelines = latest.get(decision.device);
    if (pipelines === undefined) {
      if (latest.size >= DEVICES_MAX) return;
      pipelines = new Map();
      latest.set(decision.device, pipelines);
    }
    const before = pipelines.get(decision.pipeline);
    if (before === undefined || before.n < decision.n) pipelines.set(decision.pipeline, decision);
  }

  function take(decisions: readonly Decision[]): void {
    for (const decision of decisions) {
      remember(decision);
      changed.add(decision.device);
    }
    schedule();
  }

  function schedule(): void {
    if (timer !== undefined || stopped || changed.size === 0) return;
    timer = d.clock.setTimeout(() => {
      timer = undefined;
      void publish().catch((error: unknown) => d.logger.warn({ err: error }, 'device states not published'));
    }, SETTLE_MS);
  }

  async function publish(): Promise<void> {
    if (!d.mqtt.connected || changed.size === 0) return;
    const devices = [...changed];
    changed.clear();
    const stands = await standing();
    for (const device of devices) {
      const topic = o.topics.format({ kind: 'state', device });
      d.mqtt.publish(topic, JSON.stringify(stateOf(device, stands)), { qos: 0, retain: true }).then(
        () => d.metrics.states.labels('published').inc(),
        () => d.metrics.states.labels('dropped').inc(),
      );
    }
    schedule();
  }

  function stateOf(device: string, standing: Standing): DeviceState {
    const { pipelines, rules } = concern(d.configuration(), device);
    const held = latest.get(device);
    return {
      device,
      decisions: Object.fromEntries(pipelines.map((pipeline) => [pipeline, held?.get(pipeline) ?? null])),
      rules: Object.fromEntries(rules.map((rule) => [rule, standing(rule, device)])),
    };
  }

  const standing = async () => standingOf(d.configuration()?.rules ?? {}, await d.read().ruleStates());

  return {
    take,
    /** Every device once more: at connect, and when the configuration changed. */
    all() {
      for (const device of latest.keys()) changed.add(device);
      schedule();
    },
    /** Nothing of it is held, or published, until it decides something again. */
    forget(device) {
      latest.delete(device);
      changed.delete(device);
    },
    of: async (device) => stateOf(device, await standing()),
    async start() {
      const { items } = await d.read().decisions({ limit: 500 });
      for (const decision of items) remember(decision);
    },
    stop() {
      stopped = true;
      if (timer !== undefined) d.clock.clearTimeout(timer);
      return Promise.resolve();
    },
  };
}

/** What of the configuration is about a device; matched once per device and configuration. */
function createConcern() {
  let known: Configuration | undefined;
  let streams: { has: (device: string) => boolean; pipelines: string[] }[] = [];
  const found = new Map<string, { pipelines: string[]; rules: string[] }>();

  function lookUp(device: string) {
    const pipelines = streams.filter(({ has }) => has(device)).flatMap((stream) => stream.pipelines);
    const rules = Object.entries(known?.rules ?? {}).filter(([, { on }]) =>
      [on].flat().some((pipeline) => pipelines.includes(pipeline)),
    );
    return { pipelines, rules: rules.map(([name]) => name) };
  }

  return (configuration: Configuration | undefined, device: string) => {
    if (configuration !== known || found.size >= DEVICES_MAX) found.clear();
    if (configuration !== known) {
      known = configuration;
      streams = Object.values(known?.streams ?? {}).map(({ devices, pipelines }) => ({
        has: picomatch(devices),
        pipelines: Object.keys(pipelines),
      }));
    }
    let concern = found.get(device);
    if (concern === undefined) {
      concern = lookUp(device);
      found.set(device, concern);
    }
    return concern;
  };
}

const ORDER: readonly RuleStateName[] = ['idle', 'arming', 'releasing', 'active'];

type Standing = (rule: string, device: string) => RuleStateName;

/**
 * A rule may have several keys that concern a device (one per label, say): the one that is furthest along counts. All keys are
 * gone through once, and not once for each device.
 */
export function standingOf(
  rules: Readonly<Record<string, Pick<RuleConfig, 'by'>>>,
  states: readonly RuleState[],
): Standing {
  const found = new Map(
    states.map(({ rule, keys }) => {
      const places = new Map<string, number>();
      const place = rules[rule]?.by.indexOf('device') ?? -1;
      for (const { key, state } of keys) {
        // Keys are the fields of `by`, joined by ":" (keyOf in @brink/rules). Without the device in it, a key concerns them all.
        const device = place < 0 ? '' : (key.split(':')[place] ?? '');
        places.set(device, Math.max(places.get(device) ?? 0, ORDER.indexOf(state)));
      }
      return [rule, { places, ofAll: place < 0 }] as const;
    }),
  );
  return (rule, device) => {
    const one = found.get(rule);
    return ORDER[one?.places.get(one.ofAll ? '' : device) ?? 0] ?? 'idle';
  };
}
