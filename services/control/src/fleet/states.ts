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
    const rules = await d.read().ruleStates();
    for (const device of devices) {
      const topic = o.topics.format({ kind: 'state', device });
      d.mqtt.publish(topic, JSON.stringify(stateOf(device, rules)), { qos: 0, retain: true }).then(
        () => d.metrics.states.labels('published').inc(),
        () => d.metrics.states.labels('dropped').inc(),
      );
    }
    schedule();
  }

  function stateOf(device: string, rules: readonly RuleState[]): DeviceState {
    const configuration = d.configuration();
    const streams = Object.values(configuration?.streams ?? {}).filter((stream) =>
      picomatch.isMatch(device, stream.devices),
    );
    const pipelines = streams.flatMap((stream) => Object.keys(stream.pipelines));
    const held = latest.get(device);
    const concerned = Object.entries(configuration?.rules ?? {}).filter(([, { on }]) =>
      [on].flat().some((pipeline) => pipelines.includes(pipeline)),
    );
    const byName = new Map(rules.map((state) => [state.rule, state]));
    const standing = concerned.map(([name, rule]) => [name, mostActive(rule, byName.get(name), device)] as const);
    return {
      device,
      decisions: Object.fromEntries(pipelines.map((pipeline) => [pipeline, held?.get(pipeline) ?? null])),
      rules: Object.fromEntries(standing),
    };
  }

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
    of: async (device) => stateOf(device, await d.read().ruleStates()),
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

const ORDER: readonly RuleStateName[] = ['idle', 'arming', 'releasing', 'active'];

/** A rule may have several keys that concern a device (one per label, say): the one that is furthest along counts. */
function mostActive(rule: RuleConfig, state: RuleState | undefined, device: string): RuleStateName {
  const place = rule.by.indexOf('device');
  // Keys are the fields of `by`, joined by ":" (keyOf in @brink/rules). Without the device in it, a key concerns them all.
  const concerned = (state?.keys ?? []).filter(({ key }) => place < 0 || key.split(':')[place] === device);
  return ORDER[Math.max(0, ...concerned.map((key) => ORDER.indexOf(key.state)))] ?? 'idle';
}
