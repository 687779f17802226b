import { BrinkError, type ErrorCode } from '@brink/protocol';
import type { ConnectPacket } from 'aedes';
import type { Reason } from './metrics.ts';
import { createRights, type ForeignTopics, type Identity, type Rights } from './rights.ts';
import type { Sessions } from './sessions.ts';
import type { Throttle } from './throttle.ts';
import type { UserTable } from './users.ts';

// [MQTT-3.2.2.3] Return codes of CONNACK.
const IDENTIFIER_REJECTED = 2;
const SERVER_UNAVAILABLE = 3;
const NOT_AUTHORISED = 5;

const CLIENT_ID = /^[\x20-\x7e]{1,128}$/;

interface Refused {
  reason: Reason;
  returnCode: 2 | 3 | 5;
  error: BrinkError;
}
interface Admitted {
  identity: Identity;
  rights: Rights;
}
interface From {
  clientId: string;
  username: string | undefined;
  password: Uint8Array | undefined;
  loopback: boolean;
  address: string;
}

interface AdmissionOptions {
  root: string;
  topicLevelsMax: number;
  keepaliveSMax: number;
  anonymous: boolean;
  noSubscribe: readonly string[];
}
interface AdmissionDeps {
  users: () => UserTable;
  recheckUsers?: (() => void) | undefined;
  sessions: Sessions;
  throttle: Throttle;
  /** Who is connected under this client id. */
  holder: (clientId: string) => Identity | undefined;
  foreign: ForeignTopics;
}

export interface Admission {
  admit(connect: ConnectPacket, from: From): Admitted | Refused;
}

/**
 * Who may come in, and as whom.
 *
 * - With a user name: the password must be right. A device's client id is its user name. Nobody takes the name of a user for
 *   a client id but that user.
 * - Without: only over loopback, and only where that is switched on. Whoever can reach loopback is at this box already, so
 *   it is an operator; its client id (`mosq-Ab3…` of mosquitto_pub) is only a name and gives no rights.
 * - A client id that is connected is taken over by the same user only [MQTT-3.1.4-2]: a device that lost its power comes back at
 *   once, though its old connection looks alive until 1.5 keepalives are over. Anybody else is refused and the first one stays
 *   (the usual takeover lets whoever guesses an id end that client and inherit its queue).
 * - A keepalive of 0, or too long a one, is refused; not for anonymous clients of this box, whose sockets cannot break unseen.
 * - A source of too many wrong passwords is refused for a while. On this box that is per user name, so that a device with an
 *   old password does not shut out its services.
 * - A stored session belongs to the user who opened it.
 */
export function createAdmission(o: AdmissionOptions, d: AdmissionDeps): Admission {
  return {
    admit(connect, from) {
      const { clientId } = from;
      const identity = identify(from, { ...d, anonymous: o.anonymous });
      if ('reason' in identity) return identity;
      const rights = createRights(identity, { ...o, foreign: d.foreign });
      const refusal =
        nameless(connect, clientId) ??
        deaf(connect, identity, o.keepaliveSMax) ??
        taken(clientId, identity, d) ??
        badWill(connect, rights) ??
        noSession(connect, clientId, identity, d.sessions);
      return refusal ?? { identity, rights };
    },
  };
}

/** [MQTT-3.1.3-8] */
function nameless(connect: ConnectPacket, clientId: string): Refused | undefined {
  if (connect.clientId === '' && connect.clean === false) {
    return refused('client_id', IDENTIFIER_REJECTED, 'E_NAME', 'an empty client id with clean session 0');
  }
  if (CLIENT_ID.test(clientId)) return undefined;
  return refused('client_id', IDENTIFIER_REJECTED, 'E_NAME', 'client id; expected 1 to 128 printable ASCII characters');
}

function deaf(connect: ConnectPacket, identity: Identity, keepaliveSMax: number): Refused | undefined {
  const seconds = connect.keepalive ?? 0;
  if (identity.anonymous || (seconds > 0 && seconds <= keepaliveSMax)) return undefined;
  return refused(
    'keepalive_refused',
    NOT_AUTHORISED,
    'E_BAD_REQUEST',
    `keepalive of ${seconds} s; expected 1 to ${keepaliveSMax}`,
  );
}

function taken(clientId: string, identity: Identity, d: Pick<AdmissionDeps, 'users' | 'holder'>): Refused | undefined {
  const device = identity.role === 'device';
  const own = !identity.anonymous && clientId === identity.name;
  if ((device || d.users().has(clientId)) && !own) {
    const victim = d.users().has(clientId) || d.holder(clientId) !== undefined;
    const why = victim ? 'it is the name of another user' : 'a device uses its user name as client id';
    const reason = victim ? 'takeover_blocked' : 'client_id';
    return refused(reason, NOT_AUTHORISED, 'E_UNAUTHORISED', `client id "${clientId}": ${why}`);
  }
  const holder = d.holder(clientId);
  if (holder === undefined || ownerOf(holder) === ownerOf(identity)) return undefined;
  const detail = `client id "${clientId}" is connected as another user`;
  return refused('takeover_blocked', NOT_AUTHORISED, 'E_UNAUTHORISED', detail);
}

function badWill(connect: ConnectPacket, rights: Rights): Refused | undefined {
  const refusal = connect.will && rights.publish(connect.will.topic, connect.will.retain === true);
  return refusal && { reason: 'acl_will', returnCode: NOT_AUTHORISED, error: refusal.error };
}

function noSession(
  connect: ConnectPacket,
  clientId: string,
  identity: Identity,
  sessions: Sessions,
): Refused | undefined {
  switch (sessions.claim(clientId, ownerOf(identity), connect.clean !== false)) {
    case 'session_foreign': {
      const detail = `the session of client id "${clientId}" is another user's`;
      return refused('session_foreign', NOT_AUTHORISED, 'E_UNAUTHORISED', detail);
    }
    case 'session_limit': {
      const detail = 'no more sessions can be stored; use clean session 1';
      return refused('session_limit', SERVER_UNAVAILABLE, 'E_BUSY', detail);
    }
    case undefined:
      return undefined;
  }
}

export const ownerOf = (identity: Identity) => (identity.anonymous ? 'anonymous' : `user ${identity.name}`);

function identify(
  from: From,
  o: Pick<AdmissionDeps, 'users' | 'recheckUsers' | 'throttle'> & { anonymous: boolean },
): Identity | Refused {
  if (from.username === undefined || from.username === '') {
    if (o.anonymous && from.loopback) return { role: 'operator', name: from.clientId, anonymous: true };
    return refused('auth_none', NOT_AUTHORISED, 'E_UNAUTHORISED', 'no user name; this broker asks for credentials');
  }
  const source = from.loopback ? `${from.address} ${from.username.slice(0, 64)}` : from.address;
  if (o.throttle.isBlocked(source)) {
    return refused('auth_throttled', NOT_AUTHORISED, 'E_UNAUTHORISED', 'too many wrong passwords; try again later');
  }
  const { username, password = new Uint8Array() } = from;
  let user = o.users().verify(username, password);
  if (user === undefined && o.recheckUsers !== undefined) {
    o.recheckUsers();
    user = o.users().verify(username, password);
  }
  if (user !== undefined) return { role: user.role, name: user.username, anonymous: false };
  o.throttle.failed(source);
  return refused('auth_failed', NOT_AUTHORISED, 'E_UNAUTHORISED', 'unknown user or wrong password');
}

const refused = (reason: Reason, returnCode: 2 | 3 | 5, code: ErrorCode, detail: string): Refused => ({
  reason,
  returnCode,
  error: new BrinkError(code, detail),
});
