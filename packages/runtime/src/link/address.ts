import { BrinkError } from '@brink/protocol/link';

export type LinkAddress = { path: string } | { host: string; port: number };

/** The longest path of a unix socket: sun_path has 108 bytes on Linux, 104 on macOS, the last is 0. */
const SOCKET_PATH_BYTES_MAX = process.platform === 'darwin' ? 103 : 107;

/**
 * `unix:/run/brink/inference.sock` or `tcp://host:port`.
 * @throws BrinkError E_SETTING
 */
export function parseLinkAddress(text: string): LinkAddress {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length).replace(/^\/\/(?=\/)/, '');
    if (path === '') throw bad(text, 'the path is missing');
    const bytes = Buffer.byteLength(path);
    if (bytes > SOCKET_PATH_BYTES_MAX) {
      throw bad(
        text,
        `the path has ${bytes} bytes, a unix socket's may have ${SOCKET_PATH_BYTES_MAX}; choose a shorter folder`,
      );
    }
    return { path };
  }
  const match = /^tcp:\/\/(\[[0-9a-fA-F:.]+\]|[^:/@[\]]+):(\d{1,5})\/?$/.exec(text);
  const port = Number(match?.[2]);
  if (match === null || port > 65_535) throw bad(text, 'it cannot be read');
  return { host: (match[1] as string).replace(/^\[|\]$/g, ''), port };
}

export function formatLinkAddress(address: LinkAddress): string {
  if ('path' in address) return `unix:${address.path}`;
  return `tcp://${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

const bad = (text: string, why: string) =>
  new BrinkError('E_SETTING', `link address "${text}": ${why}; expected unix:/path/to.sock or tcp://host:port`);
