import { BrinkError } from '@brink/protocol';
import ipaddr from 'ipaddr.js';

// Where an HTTP request may go: https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
// An address is judged after it was looked up, and the connection goes to the very address that was judged.

export interface AddressRules {
  /** Addresses of this site's networks and of this machine, too. */
  readonly allowPrivate: boolean;
  /** Without TLS: then only to private addresses, since everyone on the way can read it. */
  readonly plain: boolean;
}

/** What `allow_private: true` adds. Link-local is not among them: that is where clouds keep their credentials. */
const PRIVATE = new Set(['private', 'uniqueLocal', 'loopback', 'carrierGradeNat']);

/** 2000::/3 is what IANA gives out as global unicast (RFC 4291 §2.4); all else is special, also what is not listed yet. */
const GLOBAL_V6 = ipaddr.IPv6.parseCIDR('2000::/3');

const SENTENCES: Readonly<Record<string, string>> = {
  private: 'a private address',
  uniqueLocal: 'a private address',
  carrierGradeNat: 'a private address',
  loopback: 'this machine itself',
  linkLocal: 'a link-local address, as those of cloud metadata are',
};

/**
 * @param address as the resolver gave it or as it stood in the URL, IPv6 without brackets
 * @param name of the host, for the message
 * @throws BrinkError E_SSRF_BLOCKED
 */
export function checkAddress(address: string, name: string, { allowPrivate, plain }: AddressRules): void {
  const range = rangeOf(address);
  if (PRIVATE.has(range) && allowPrivate) return;
  const subject = name === address ? address : `${name} is ${address}, which`;
  if (range !== 'unicast') {
    const what = SENTENCES[range] ?? `a special address (${range})`;
    const expected = PRIVATE.has(range)
      ? 'a public address, or in the configuration, beside the URL, the line `allow_private: true`'
      : 'a public address; `allow_private: true` does not allow this one';
    throw new BrinkError('E_SSRF_BLOCKED', `${subject} is ${what}; expected ${expected}`);
  }
  if (plain) throw new BrinkError('E_SSRF_BLOCKED', `${subject} is a public address; expected https:// to it`);
}

/**
 * What can be said of a URL before its name is looked up.
 * @throws BrinkError E_SSRF_BLOCKED
 */
export function checkUrl(url: string, allowPrivate: boolean): void {
  const { protocol, hostname } = new URL(url);
  const literal = hostname.replace(/^\[|\]$/g, '');
  const plain = protocol === 'http:';
  if (ipaddr.isValid(literal)) checkAddress(literal, literal, { allowPrivate, plain });
  else if (plain && !allowPrivate) {
    const expected = 'https://, or for a private address, beside the URL, the line `allow_private: true`';
    throw new BrinkError('E_SSRF_BLOCKED', `http:// to ${hostname}; expected ${expected}`);
  }
}

/** The name of its special range, or `unicast`. Forms that carry an IPv4 address inside are special ranges, too. */
function rangeOf(address: string): string {
  // A scope (fe80::1%eth0) says which network card: only link-local addresses have one.
  const plain = address.split('%', 1)[0] as string;
  if (!ipaddr.isValid(plain)) return 'no address';
  const parsed = ipaddr.parse(plain);
  const range = parsed.range();
  if (range !== 'unicast' || parsed.kind() === 'ipv4') return range;
  return parsed.match(GLOBAL_V6) ? range : 'reserved';
}
