import { BrinkError, type ErrorCode } from '@brink/protocol';
import type { ConnectPacket } from 'aedes';
import type { Reason } from './metrics.ts';
import { createRights, type Identity, type Rights } from './rights.ts';
import type { Sessions } from './sessions.ts';
import type { UserTable } from './users.ts';

// [MQTT-3.2.2.3] Return codes of CONNACK.
const IDENTIFIER_REJECTED = 2;
const SERVER_UNAVAILABLE = 3;
const NOT_AUTHORISED = 5;

const CLIENT_ID = /^[\x21-\x7e]{1,128}$/;

interface Refused {
  reason: Reason;
  returnCode: 2 | 3 | 5;
  error: BrinkError;
}
interface Admitted {
  identity: Identity;
  rights: Rights;
}

export interface Admission {
  admit(
    connect: ConnectPacket,
    from: { clientId: string; username: string | undefined; password: Uint8Array | undefined; loopback: boolean },
  ): Admitted | Refused;
}

/**
 * Who may come in, and as whom.
 *
 * - With a user name: the password must be right. A device's client id is its user name. Nobody takes the name of a user for
 *   a client id but that user.
 * - Without: only over loopback, and only where that is switched on. Whoever can reach loopback is at this box already, so
 *   it is an operator; its client id (`mosq-Ab3…` of mosquitto_pub) is only a name and gives no rights.
 * - A client id that is connected stays with the connection that has it: a newcomer is refused, also the same user. (The usual
 *   takeover lets anybody who guesses an id end that client and inherit its queue.) A process that was killed closes its
 *   sockets, so it can come back at once; a peer that vanished from the network is noticed after 1.5 keepalives.
 * - A stored session belongs to the user who opened it.
 */
export function createAdmission(
  o: { root: string; topicLevelsMax: number; anonymous: boolean },
  d: { users: () => UserTable; sessions: Sessions; isConnected: (clientId: string) => boolean },
): Admission {
  /** [MQTT-3.1.3-8] */
  function nameless(connect: ConnectPacket, clientId: string): Refused | undefined {
    if (connect.clientId === '' && connect.clean === false) {
      return refused('client_id', IDENTIFIER_REJECTED, 'E_NAME', 'an empty client id with clean session 0');
    }
    if (CLIENT_ID.test(clientId)) return undefined;
    return refused(
      'client_id',
      IDENTIFIER_REJECTED,
      'E_NAME',
      'client id; expected 1 to 128 printable ASCII characters',
    );
  }

  function taken(clientId: string, identity: Identity): Refused | undefined {
    const device = identity.role === 'device';
    const own = !identity.anonymous && clientId === identity.name;
    if ((device || d.users().has(clientId)) && !own) {
      const why = device ? 'a device uses its user name as client id' : 'it is the name of another user';
      return refused('client_id', NOT_AUTHORISED, 'E_UNAUTHORISED', `client id "${clientId}": ${why}`);
    }
    if (!d.isConnected(clientId)) return undefined;
    return refused(
      'client_id_taken',
      IDENTIFIER_REJECTED,
      'E_CONFLICT',
      `client id "${clientId}" is connected already`,
    );
  }

  function noSession(connect: ConnectPacket, clientId: string, identity: Identity): Refused | undefined {
    switch (d.sessions.claim(clientId, ownerOf(identity), connect.clean !== false)) {
      case 'session_foreign':
        return refused(
          'session_foreign',
          NOT_AUTHORISED,
          'E_UNAUTHORISED',
          `the session of client id "${clientId}" is another user's`,
        );
      case 'session_limit':
        return refused(
          'session_limit',
          SERVER_UNAVAILABLE,
          'E_BUSY',
          'no more sessions can be stored; use clean session 1',
        );
      case undefined:
        return undefined;
    }
  }

  return {
    admit(connect, from) {
      const identity = identify(from, d.users(), o.anonymous);
      if ('reason' in identity) return identity;
      const rights = createRights(identity, o);
      const refusal =
        nameless(connect, from.clientId) ??
        taken(from.clientId, identity) ??
        badWill(connect, rights) ??
        noSession(connect, from.clientId, identity);
      return refusal ?? { identity, rights };
    },
  };
}

function badWill(connect: ConnectPacket, rights: Rights): Refused | undefined {
  const refusal = connect.will && rights.publish(connect.will.topic, connect.will.retain === true);
  return refusal && { reason: 'acl_will', returnCode: NOT_AUTHORISED, error: refusal.error };
}

export const ownerOf = (identity: Identity) => (identity.anonymous ? 'anonymous' : `user ${identity.name}`);

function identify(
  from: { clientId: string; username: string | undefined; password: Uint8Array | undefined; loopback: boolean },
  users: UserTable,
  anonymous: boolean,
): Identity | Refused {
  if (from.username === undefined || from.username === '') {
    if (anonymous && from.loopback) return { role: 'operator', name: from.clientId, anonymous: true };
    return refused('auth_none', NOT_AUTHORISED, 'E_UNAUTHORISED', 'no user name; this broker asks for credentials');
  }
  const user = users.verify(from.username, from.password ?? new Uint8Array());
  if (user !== undefined) return { role: user.role, name: user.username, anonymous: false };
  return refused('auth_failed', NOT_AUTHORISED, 'E_UNAUTHORISED', 'unknown user or wrong password');
}

const refused = (reason: Reason, returnCode: 2 | 3 | 5, code: ErrorCode, detail: string): Refused => ({
  reason,
  returnCode,
  error: new BrinkError(code, detail),
});
