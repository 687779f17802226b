import { pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';

// The configuration of Mosquitto's dynamic-security plugin, written before the broker starts for the first time.
// Form and hash: plugins/dynamic_security/{config,clients,roles}.c of Mosquitto 2.0.21, tried on it.
// https://mosquitto.org/documentation/dynamic-security/

interface Acl {
  readonly acltype: 'publishClientSend' | 'publishClientReceive' | 'subscribePattern' | 'subscribeLiteral';
  readonly topic: string;
  readonly priority: number;
  readonly allow: boolean;
}
interface Role {
  readonly rolename: string;
  readonly acls: readonly Acl[];
}
interface Client {
  readonly username: string;
  readonly password: string;
  readonly salt: string;
  readonly iterations: number;
  readonly roles: readonly { rolename: string; priority: number }[];
}
export interface DynamicSecurity {
  readonly defaultACLAccess: Record<
    'publishClientSend' | 'publishClientReceive' | 'subscribe' | 'unsubscribe',
    boolean
  >;
  readonly clients: readonly Client[];
  readonly groups: readonly unknown[];
  readonly roles: readonly Role[];
}

/** What the gateway may read of other systems. Control fills it from the configuration, so its content is kept. */
const FOREIGN_ROLE = 'brink.foreign';

const HASH_BYTES = 64;
const SALT_BYTES = 12;
// The plugin's own number. It slows the guessing of passwords that people choose; these are 256 random bits.
const ITERATIONS = 101;

const CONTROL_TOPIC = '$CONTROL/dynamic-security/v1';

const send = (topic: string): Acl => ({ acltype: 'publishClientSend', topic, priority: 0, allow: true });
const receive = (topic: string): Acl[] => [
  { acltype: 'subscribePattern', topic, priority: 0, allow: true },
  { acltype: 'publishClientReceive', topic, priority: 0, allow: true },
];

/**
 * One role per service, by the table of topics: only control publishes commands and decisions, only the gateway receipts.
 * User names have a dot, which no device's name can have. Devices get a role each from control (2.0 knows no `%u` in roles).
 * @param root first level of every topic
 */
function serviceRoles(root: string): Role[] {
  const services: Record<string, Acl[]> = {
    gateway: [
      ...receive(`${root}/+/up/frames/#`),
      ...receive(`${root}/+/up/retired/+`),
      ...receive(`${root}/+/up/status`),
      ...receive(`${root}/fleet/#`),
      ...receive('$SYS/broker/#'),
      send(`${root}/+/down/receipts/+`),
      send(`${root}/fleet/gateway/+`),
    ],
    inference: [...receive(`${root}/fleet/#`), send(`${root}/fleet/inference/+`)],
    control: [
      ...receive(`${root}/+/up/status`),
      ...receive(`${root}/+/up/acks`),
      ...receive(`${root}/fleet/#`),
      ...receive('$SYS/broker/#'),
      send(`${root}/+/down/commands/+`),
      send(`${root}/+/down/decisions/+`),
      send(`${root}/+/state`),
      // To clear what a device left retained, when it is forgotten.
      send(`${root}/+/up/status`),
      send(`${root}/fleet/control/+`),
      send(`${root}/fleet/config`),
      // `mqtt` actions go to other systems' topics, which site.mqtt_allow lists; under its own root control has only the above.
      // `#` does not match topics that begin with `$`.
      { acltype: 'publishClientSend', topic: `${root}/#`, priority: -1, allow: false },
      { acltype: 'publishClientSend', topic: '#', priority: -2, allow: true },
    ],
    registrar: [
      send(CONTROL_TOPIC),
      { acltype: 'subscribeLiteral', topic: `${CONTROL_TOPIC}/response`, priority: 0, allow: true },
      { acltype: 'publishClientReceive', topic: `${CONTROL_TOPIC}/response`, priority: 0, allow: true },
    ],
    // For people with mosquitto_sub: everything but the frames, and nothing to say.
    operator: [
      ...receive(`${root}/+/up/status`),
      ...receive(`${root}/+/up/acks`),
      ...receive(`${root}/+/down/#`),
      ...receive(`${root}/+/state`),
      ...receive(`${root}/fleet/#`),
      ...receive('$SYS/broker/#'),
    ],
    health: [...receive('$SYS/broker/uptime')],
  };
  return Object.entries(services).map(([name, acls]) => ({ rolename: `brink.${name}`, acls }));
}

/**
 * What the plugin's file must say, starting from what it says now: devices and roles that others made are kept, Brink's own
 * are put right. A client whose password still fits keeps its hash, so that a repeat changes nothing.
 * @param passwords of the services, by name without `brink.`
 */
export function dynamicSecurity(
  now: DynamicSecurity | undefined,
  root: string,
  passwords: Readonly<Record<string, string>>,
): DynamicSecurity {
  const roles = serviceRoles(root);
  const foreign = now?.roles.find(({ rolename }) => rolename === FOREIGN_ROLE) ?? { rolename: FOREIGN_ROLE, acls: [] };
  const own = new Set([...roles, foreign].map((role) => role.rolename));
  const clients = Object.entries(passwords).map(([name, password]): Client => {
    const username = `brink.${name}`;
    const before = now?.clients.find((client) => client.username === username);
    const hashed = before !== undefined && fits(before, password) ? before : hash(password);
    const { salt, iterations } = hashed;
    const has = name === 'gateway' ? [username, FOREIGN_ROLE] : [username];
    const held = has.map((rolename) => ({ rolename, priority: 0 }));
    return { username, password: hashed.password, salt, iterations, roles: held };
  });
  return {
    defaultACLAccess: { publishClientSend: false, publishClientReceive: false, subscribe: false, unsubscribe: true },
    clients: [...(now?.clients ?? []).filter((client) => !own.has(client.username)), ...clients],
    groups: now?.groups ?? [],
    roles: [...(now?.roles ?? []).filter((role) => !own.has(role.rolename)), ...roles, foreign],
  };
}

function hash(password: string): Pick<Client, 'password' | 'salt' | 'iterations'> {
  const salt = randomBytes(SALT_BYTES);
  return {
    password: derive(password, salt, ITERATIONS).toString('base64'),
    salt: salt.toString('base64'),
    iterations: ITERATIONS,
  };
}

function fits(client: Client, password: string): boolean {
  if (typeof client.password !== 'string' || typeof client.salt !== 'string') return false;
  const stored = Buffer.from(client.password, 'base64');
  const derived = derive(password, Buffer.from(client.salt, 'base64'), client.iterations);
  return stored.length === derived.length && timingSafeEqual(stored, derived);
}

const derive = (password: string, salt: Buffer, iterations: number) =>
  pbkdf2Sync(password, salt, iterations, HASH_BYTES, 'sha512');
