import { BrinkError } from '@brink/protocol';
import type { Clock, Logger, Part, Registry } from '@brink/runtime';
import { Aedes } from 'aedes';
import { createAdmission, ownerOf } from './admission.ts';
import { createCongestion } from './congestion.ts';
import { type Connection, Connections } from './connections.ts';
import { createForeign } from './foreign.ts';
import { createHooks, watch } from './hooks.ts';
import { type BrokerLimits, DEFAULT_LIMITS } from './limits.ts';
import { createListener } from './listener.ts';
import { createMetrics } from './metrics.ts';
import { createPace, type Pace } from './pace.ts';
import { boundPersistence, type Persistence } from './persistence.ts';
import { createRetained } from './retained.ts';
import { Sessions } from './sessions.ts';
import { createThrottle } from './throttle.ts';
import { createUserTable, type User, type UserTable } from './users.ts';

export interface BrokerConfig {
  /** An address of this host. Beyond loopback everybody needs credentials. */
  host: string;
  /** 0: the system chooses. */
  port: number;
  /** First level of Brink's topics, default `brink`. */
  root?: string;
  /** Let clients of this box in without credentials, as operators. Only with a loopback host. Default `never`. */
  anonymous?: 'loopback' | 'never';
  users?: readonly User[];
  /** Filters that nobody may subscribe to. */
  noSubscribe?: readonly string[];
  /** Payload of one message; default the largest that a stream can allow, so that the gateway refuses by name. */
  frameBytesMax?: number;
  limits?: Partial<BrokerLimits>;
}

interface BrokerDeps {
  logger: Logger;
  clock: Clock;
  registry: Registry;
  /** Called before somebody is refused: who is known may have changed since `setUsers`. */
  recheckUsers?: (() => void) | undefined;
}

export interface Broker extends Part {
  readonly address: { host: string; port: number };
  /** `mqtt://127.0.0.1:1883` */
  readonly url: string;
  /** From now on these users. Who is no longer among them, or has another password, is disconnected. */
  setUsers(users: readonly User[]): void;
}

/**
 * The embedded MQTT 3.1.1 broker: aedes, behind a guard that reads packet lengths first, with rights per role (rights.ts), admission
 * (admission.ts) and a bound on everything (limits.ts).
 * @throws BrinkError E_SETTING for users that contradict each other, or anonymous access beyond loopback
 */
export function createBroker(config: BrokerConfig, d: BrokerDeps): Broker {
  const limits = { ...DEFAULT_LIMITS, ...config.limits };
  if (config.anonymous === 'loopback' && !/^(127\.|::1$|localhost$)/.test(config.host)) {
    const detail = `anonymous access at ${config.host}; expected a loopback address, or users with passwords`;
    throw new BrinkError('E_SETTING', detail);
  }
  let known = config.users ?? [];
  let users = createUserTable(known);
  const house = createHouse(config, limits, { ...d, users: () => users });
  const { connections, sessions, throttle } = house;
  const listener = createListener({ ...config, limits }, { ...house, clock: d.clock });

  return {
    start: () => listener.start(),
    stop: () => listener.stop(),
    get address() {
      return { host: config.host, port: listener.port };
    },
    get url() {
      return `mqtt://${config.host.includes(':') ? `[${config.host}]` : config.host}:${listener.port}`;
    },
    setUsers(next) {
      users = createUserTable(next);
      throttle.reset();
      endRevoked(users, connections);
      for (const { username } of known) {
        if (!users.has(username)) sessions.revoke(ownerOf({ role: 'device', name: username, anonymous: false }));
      }
      known = next;
    },
  };
}

/** Everything behind the listener: who is there, what waits for whom, and aedes with its hooks. */
function createHouse(config: BrokerConfig, limits: BrokerLimits, d: BrokerDeps & { users: () => UserTable }) {
  const { root = 'brink', anonymous, noSubscribe = [] } = config;
  const { users } = d;
  const metrics = createMetrics(d.registry);
  const connections = new Connections({ ...d, metrics });
  const sessions = new Sessions(limits, { ...d, metrics });
  const retained = createRetained(limits, { gauge: metrics.retained });
  const throttle = createThrottle(limits, d);
  const foreign = createForeign({ root }, d);
  const holder = (id: string) => connections.holder(id)?.admitted?.identity;
  const admission = createAdmission(
    { ...limits, root, anonymous: anonymous === 'loopback', noSubscribe },
    { users, recheckUsers: d.recheckUsers, sessions, throttle, holder, foreign: foreign.topics },
  );
  const delayed = (reason: 'accept_rate' | 'publish_rate') => () => metrics.delayed.inc({ reason });
  const congestion = createCongestion({ clock: d.clock, delayed: delayed('publish_rate') });
  const paceOf = createPaces(limits, d.clock);
  const served = { admission, congestion, connections, retained, sessions, foreign, metrics, users, paceOf };
  const hooks = createHooks(limits, served);
  const left = (id: string) => sessions.left(id);

  return {
    connections,
    sessions,
    throttle,
    delayed: delayed('accept_rate'),
    closed: left,
    async open(): Promise<Aedes> {
      const aedes = await Aedes.createBroker(hooks);
      const internals = aedes as unknown as { persistence: Persistence };
      const maySubscribe = (client: object, filter: string) => connections.of(client)?.filters.has(filter) === true;
      internals.persistence = boundPersistence(internals.persistence, { sessions, retained, maySubscribe });
      watch(aedes, { connections, logger: d.logger, left });
      return aedes;
    },
  };
}

/** Whoever is no user any more, or has another password now, goes. */
function endRevoked(table: UserTable, connections: Connections): void {
  for (const connection of connections) {
    const { admitted } = connection;
    if (admitted === undefined || admitted.identity.anonymous) continue;
    const { name } = admitted.identity;
    if (table.fingerprintOf(name) === admitted.fingerprint) continue;
    connections.refused(
      'user_revoked',
      new BrinkError('E_UNAUTHORISED', `user "${name}" was changed or removed`),
      connection,
    );
    connection.socket.destroy();
  }
}

/** One pace per device, also across its connections: otherwise whoever reconnects starts anew. There are no more than users. */
function createPaces(limits: BrokerLimits, clock: Clock) {
  const byDevice = new Map<string, Pace>();
  return (connection: Connection | undefined): Pace | undefined => {
    const identity = connection?.admitted?.identity;
    if (identity?.role !== 'device') return undefined;
    const known = byDevice.get(identity.name);
    if (known !== undefined) return known;
    const pace = createPace(limits, clock);
    byDevice.set(identity.name, pace);
    return pace;
  };
}
