import { createHash, timingSafeEqual } from 'node:crypto';
import { BrinkError, create, link, toBinary } from '@brink/protocol/link';
import { protocolError } from './frame.ts';
import type { LinkOptions, PeerInfo } from './messages.ts';

/** The link that this code speaks. N and N−1 interoperate: with version 2, the lowest stays 1. */
const LINK_VERSION = { highest: 1, lowest: 1 };
/** A peer may state more; we never have more in flight. */
const WINDOW_MAX = 65_536;

export function encodeHello(o: LinkOptions): Uint8Array {
  const { highest, lowest } = o.versions ?? LINK_VERSION;
  return toBinary(
    link.HelloSchema,
    create(link.HelloSchema, {
      version: highest,
      versionMin: lowest,
      service: o.service,
      instance: o.instance,
      token: o.token ?? '',
      window: o.window,
      frameBytesMax: BigInt(o.frameBytesMax),
    }),
  );
}

/**
 * Judges the peer's hello.
 * @throws BrinkError E_LINK_VERSION, E_LINK_TOKEN, E_LINK_PROTOCOL
 */
export function acceptHello(hello: link.Hello, o: LinkOptions): PeerInfo {
  const ours = o.versions ?? LINK_VERSION;
  if (hello.version < ours.lowest || hello.versionMin > ours.highest) {
    throw new BrinkError(
      'E_LINK_VERSION',
      `${clip(hello.service)} ${clip(hello.instance)} speaks link ${hello.versionMin} to ${hello.version}, ${o.service} ${o.instance} speaks ${ours.lowest} to ${ours.highest}`,
    );
  }
  if (o.expectToken !== undefined && !sameSecret(hello.token, o.expectToken)) {
    throw new BrinkError(
      'E_LINK_TOKEN',
      `${clip(hello.service)} ${clip(hello.instance)} presented ${hello.token === '' ? 'no token' : 'a wrong token'}`,
    );
  }
  const frameBytesMax = Number(hello.frameBytesMax);
  if (frameBytesMax < 1024)
    throw protocolError(`a hello with frame_bytes_max ${frameBytesMax}; expected at least 1024`);
  return {
    service: clip(hello.service),
    instance: clip(hello.instance),
    version: Math.min(hello.version, ours.highest),
    window: Math.min(hello.window, WINDOW_MAX),
    frameBytesMax: Math.min(frameBytesMax, 0x7fff_ffff),
  };
}

/** Constant time, whatever the lengths. */
function sameSecret(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

const clip = (text: string) => text.slice(0, 64);
